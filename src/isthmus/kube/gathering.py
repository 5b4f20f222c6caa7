"""Reads a cluster once, for all that tells of its network: lists and single objects, nothing is watched.

What we may not read is said in ``unread`` and costs that kind only; a custom resource that is not defined there is no loss at
all. An API that does not answer is neither: it is raised, for nothing at all is known then.
"""

from __future__ import annotations

from collections.abc import Iterable
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
        for name, namespace in _named(source, found.get("daemon_sets", [])):
            try:
                if name:
                    made += facts(source, [await client.get(source.kind, name, namespace)])
                    continue
                async for page in client.list_pages(source.kind):
                    made += facts(source, page.items)
            except KubeForbidden:
                which = f" {namespace}/{name}" if namespace else f" {name}" if name else ""
                unread.append(f"{source.kind}{which}: we may not (it would tell {source.tells})")
            except KubeNotFound:
                continue  # a ConfigMap of another CNI, or custom resources that nobody defined there
    return Published(**{field: tuple(made) for field, made in found.items()}, unread=tuple(sorted(unread)))


def _named(source: Source, running: Iterable[DaemonSet]) -> list[tuple[str, str | None]]:
    """Return names and namespaces of the objects to get; one empty name where all are to be listed."""
    if source.kind == CONFIGMAPS:
        return [(name, namespace) for namespace, name in _config_maps(source, running)]
    return [(name, None) for name in source.names] or [("", None)]


def _config_maps(source: Source, running: Iterable[DaemonSet]) -> list[tuple[str, str]]:
    """Return where the ConfigMaps are: where a DaemonSet takes them from; the usual place where none is known to."""
    found = set()
    for one in running:
        said = {name for container in one.containers for name, _ in container.refs.values()} | set(one.config_maps)
        said |= {name for program, name in _UNMOUNTED.items() if one.container(program) is not None}
        found |= {(one.namespace, name) for name in said if source.wants(name)}
    known = {name for _, name in found}
    usual = {(_USUAL, name) for name in source.names if not any(one.startswith(name) for one in known)}
    return sorted(found | usual)
