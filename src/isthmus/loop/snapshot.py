"""Reads one cluster once, without following it: one kind, or all that tells of its network."""

from __future__ import annotations

from typing import TypeVar

from isthmus.core.world import World
from isthmus.errors import KubeForbidden
from isthmus.kube import wire
from isthmus.kube.client import KubeClient
from isthmus.kube.gathering import gather, offers
from isthmus.kube.parse import Projection
from isthmus.kube.publishing import HOMES
from isthmus.model.facts import ObjectKey

F = TypeVar("F")


async def list_facts(client: KubeClient, projection: Projection[F]) -> dict[ObjectKey, F]:
    """Return all facts of a kind by namespace and name; raises ``KubeError`` if any page cannot be read."""
    found: dict[ObjectKey, F] = {}
    async for page in client.list_pages(projection.kind, type=projection.wire):
        for item in page.items:
            meta = wire.meta_of(item)
            found[meta.namespace or "", meta.name] = projection.facts(item)
    return found


async def read_network(client: KubeClient, world: World, cluster: str) -> None:
    """Put all that is published of the cluster's network into ``world``. Raises a KubeError where the API does not answer.

    What we may not read leaves what rests on it unread, as it does in a controller.
    """
    for kind, projection in HOMES.items():
        try:
            if not await offers(client, projection.kind):
                world.put_home_state(cluster, kind, "absent")
                continue
            for (_, name), found in (await list_facts(client, projection)).items():
                world.put_home(cluster, kind, name, found)
        except KubeForbidden:
            world.put_home_state(cluster, kind, "forbidden")
            continue
        world.put_home_state(cluster, kind, "read")
    world.put_published(cluster, (await gather(client)).published)
