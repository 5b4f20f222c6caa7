"""Reads a cluster once, for what tells of its network: what there is once per cluster, whatever the number of nodes.

What we may not read is said in ``unread`` and costs that kind only; a custom resource that is not defined there is no loss at
all. What could not be read for another reason is in ``failed``: it may be there the next time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from isthmus.errors import KubeError, KubeForbidden, KubeNotFound
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import CONFIGMAPS, KindRef
from isthmus.kube.publishing import SOURCES, Source, facts
from isthmus.model.published import DaemonSet, Published

__all__ = ["Gathered", "gather", "offers"]

_USUAL = "kube-system"
_UNMOUNTED = {"cilium-agent": "cilium-config"}
"""ConfigMaps that a container reads over the API, so that nothing in its DaemonSet names them."""


class Gathered(msgspec.Struct, frozen=True):
    """What was read; ``failed`` says what could not be, though nobody forbids it. It is in ``published.unread``, too."""

    published: Published
    failed: tuple[str, ...] = ()


async def gather(client: KubeClient) -> Gathered:
    """Return what the cluster publishes of its network, without what there is per node; raises nothing of the API's."""
    found: dict[str, list[Any]] = {}
    unread: list[str] = []
    failed: list[str] = []
    for source in SOURCES:
        if source.per_node:
            continue
        made = found.setdefault(source.field, [])
        for name, namespace in _named(source, found.get("daemon_sets", [])):
            try:
                if name:
                    made += facts(source, [await client.get(source.kind, name, namespace)])
                    continue
                async for page in client.list_pages(source.kind):
                    made += facts(source, page.items)
            except KubeForbidden:
                which, verb = f"{source.kind}{_which(name, namespace)}", "get" if name else "list"
                unread.append(
                    f"{which}: we may not {verb} it (it would tell {source.tells}); the role lacks that rule"
                )
            except KubeNotFound:
                continue  # a ConfigMap of another CNI, or custom resources that nobody defined there
            except KubeError as error:
                failed.append(f"{source.kind}{_which(name, namespace)}: {error}")
    return Gathered(
        Published(**{field: tuple(made) for field, made in found.items()}, unread=tuple(sorted([*unread, *failed]))),
        tuple(failed),
    )


def _which(name: str, namespace: str | None) -> str:
    return f" {namespace}/{name}" if namespace else f" {name}" if name else ""


async def offers(client: KubeClient, kind: KindRef) -> bool:
    """Say whether the API has such objects at all, whether we may read them or not. Raises a KubeError."""
    return kind.plural in {one.plural for one in await client.discover(kind.group)}


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
