"""Reads one kind of one cluster once, without following it."""

from __future__ import annotations

from typing import TypeVar

from isthmus.kube.client import KubeClient
from isthmus.kube.parse import Projection
from isthmus.model.facts import ObjectKey

F = TypeVar("F")


async def list_facts(client: KubeClient, projection: Projection[F]) -> dict[ObjectKey, F]:
    """Return all facts of a kind by namespace and name; raises ``KubeError`` if any page cannot be read."""
    found: dict[ObjectKey, F] = {}
    async for page in client.list_pages(projection.kind, type=projection.wire):
        for item in page.items:
            found[item.metadata.namespace or "", item.metadata.name] = projection.facts(item)
    return found
