"""Reads a cluster once, for all that tells of its network: lists and single objects, nothing is watched.

What we may not read is said in ``unread`` and costs that kind only; a custom resource that is not defined there is no loss at
all. An API that does not answer is neither: it is raised, for nothing at all is known then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from isthmus.errors import KubeForbidden, KubeNotFound
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import CONFIGMAPS
from isthmus.kube.publishing import SOURCES, Source, facts
from isthmus.model.published import DaemonSet, Published

__all__ = ["gather"]

_USUAL = "kube-system"
_UNMOUNTED = {"cilium-agent": "cilium-config"}
"""ConfigMaps that a container reads over the API, so that nothing in its DaemonSet names them."""


async def gather(client: KubeClient) -> Published:
    """Return what the cluster publishes of its network. Raises a KubeError where the API does not answer."""
    found: dict[str, list[Any]] = {}
    unread: list[str] = []
    for source in SOURCES:
        made = found.setdefault(source.field, [])
        try:
            async for objects in _read(client, source, found.get("daemon_sets", [])):
                made += facts(source, objects)
        except KubeForbidden:
            unread.append(f"{source.kind}: we may not (it would tell {source.tells})")
        except KubeNotFound:
            if not source.optional:
                unread.append(f"{source.kind}: the API does not have them")
    return Published(**{field: tuple(made) for field, made in found.items()}, unread=tuple(sorted(unread)))


async def _read(client: KubeClient, source: Source, running: Iterable[DaemonSet]) -> AsyncIterator[list[Any]]:
    if not source.names:
        async for page in client.list_pages(source.kind):
            yield page.items
        return
    named = [(None, name) for name in source.names]
    for namespace, name in _config_maps(source, running) if source.kind == CONFIGMAPS else named:
        try:
            yield [await client.get(source.kind, name, namespace)]
        except KubeNotFound:
            continue


def _config_maps(source: Source, running: Iterable[DaemonSet]) -> list[tuple[str | None, str]]:
    """Return where the ConfigMaps are: where a DaemonSet takes them from; the usual place where none is known to."""
    found = set()
    for one in running:
        said = {name for container in one.containers for name, _ in container.refs.values()} | set(one.config_maps)
        said |= {name for program, name in _UNMOUNTED.items() if one.container(program) is not None}
        found |= {(one.namespace, name) for name in said if source.wants(name)}
    known = {name for _, name in found}
    usual = {(_USUAL, name) for name in source.names if not any(one.startswith(name) for one in known)}
    return sorted(found | usual)
