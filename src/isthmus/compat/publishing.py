"""Publishes the overlays that ask for it: each as one ConfigMap (and numbered ones where one is too small), kept current.

A link asks by an annotation that names the ConfigMap. What stands there is compared with what should, and only a difference
is written, as one merge patch that names the version it rests on: whoever reads sees the state before or the state after.
Keys of somebody else's stay. A restart writes nothing; a ConfigMap goes only when the link was ordered to go.

The one confusing thing is the order of several ConfigMaps: numbered ones first, then the first one that names them, so that
whoever follows the names finds what they promise, and so that whoever takes them away finds all of them after a crash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from isthmus.compat.exported import MOST, ours, overlay_of, parts_of, shards, standing_in
from isthmus.compat.exported import Known as NodesKnown
from isthmus.core.ground import Ground
from isthmus.core.world import World, path_of
from isthmus.errors import KubeConflict, KubeNotFound
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import CONFIGMAPS
from isthmus.model.kinds import ClusterLink
from isthmus.telemetry import get_logger

__all__ = ["EXPORT", "Publish", "asked_for"]

EXPORT = "isthmus.dev/export"
"""Annotation on a ClusterLink with an overlay: ``namespace/name`` of the ConfigMap that describes it to others."""

_PAUSE = 1.0
"""Seconds between two writes for one link; nodes that join together are one write."""
_SOON = 0.2
_TRUSTED = 300.0
"""Seconds after which what we wrote is read again: somebody may have changed it."""
_MANAGER = "isthmus-export"

ObjectName = tuple[str, str]


class Grounds(Protocol):
    """Where decisions for a link on a device stand, or none while the device was not observed yet."""

    def ground(self, link: str, device: str) -> Ground | None: ...


def asked_for(link: ClusterLink) -> ObjectName | None:
    """Return namespace and name of the ConfigMap that ``link`` asks for, none if it asks for none or says it wrongly."""
    namespace, _, name = link.metadata.annotations.get(EXPORT, "").strip().rpartition("/")
    return (namespace, name) if namespace and name and "/" not in namespace else None


@dataclass(slots=True)
class _Standing:
    """A ConfigMap as it stands: its version (empty: there is none), what of it is ours, and how big the rest is."""

    name: str
    version: str = ""
    data: dict[str, str] = field(default_factory=dict)
    foreign: int = 0


@dataclass(slots=True)
class _Known:
    maps: list[_Standing]
    read_at: float


class Publish:
    """Looks at one link: does its ConfigMap say what the overlay is?"""

    def __init__(
        self,
        world: World,
        cluster: str,
        client: KubeClient,
        grounds: Grounds,
        *,
        cni: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.monotonic,
        most: int = MOST,
    ) -> None:
        """``cni`` says which CNI the cluster has, empty if nobody knows; ``most`` is how many bytes a ConfigMap may hold."""
        self._world = world
        self._cluster = cluster
        self._client = client
        self._grounds = grounds
        self._cni = cni
        self._clock = clock
        self._most = most
        self._known: dict[ObjectName, _Known] = {}
        self._written: dict[str, float] = {}
        self._nodes: dict[str, NodesKnown] = {}
        self._log = get_logger("compat").bind(cluster=cluster)

    async def look(self, name: str) -> float | None:
        """Write what differs; return in how many seconds to look again."""
        link = self._world.links.get(name)
        if link is None or link.spec.cluster != self._cluster:
            return None
        where = asked_for(link)
        if where is None:
            if EXPORT in link.metadata.annotations:
                self._log.warning("export not understood", link=name, value=link.metadata.annotations[EXPORT][:200])
            return None
        if link.metadata.deletion_timestamp is not None:
            await self._remove(name, where)
            self._world.unexported.add(name)
            return None
        self._world.unexported.discard(name)
        rival = next(
            (other for other in self._world.links_of_cluster(self._cluster) if asked_for(other) == where), link
        )
        if rival.name < name:
            self._log.warning("export asked for twice", link=name, rival=rival.name, configmap="/".join(where))
            return None
        wait = self._written.get(name, float("-inf")) + _PAUSE - self._clock()
        if wait > 0:
            return wait
        return await self._publish(link, where)

    async def _publish(self, link: ClusterLink, where: ObjectName) -> float | None:
        if path_of(self._world, link) != "overlay" or self._world.view(self._cluster).doubt("nodes"):
            return None  # a cluster that is not known whole has no overlay to describe; what stands stays
        grounds = [self._grounds.ground(link.name, device) for device in link.spec.devices]
        whole = [ground for ground in grounds if ground is not None]
        overlay = (
            overlay_of(whole, self._cni(), self._nodes.setdefault(link.name, {}))
            if whole and len(whole) == len(grounds)
            else None
        )
        if overlay is None:
            return None  # looked at again when the device has been
        known = await self._look_up(where)
        wanted = shards(
            overlay,
            where[1],
            [standing_in(one.data) for one in known.maps],
            [one.foreign for one in known.maps],
            self._most,
        )
        # One that the first does not name yet may stand all the same: a process may have died between the two.
        more = [await self._read(where[0], f"{where[1]}-{number}") for number in range(len(known.maps), len(wanted))]
        maps = [*known.maps, *more]
        changed = False
        try:
            for index, one in reversed(list(enumerate(maps))):
                changed |= await self._write(where[0], one, wanted[index], link.name)
        except (KubeConflict, KubeNotFound):
            self._known.pop(where, None)  # somebody else wrote meanwhile: look again at what stands
            return _SOON
        except BaseException:
            self._known.pop(where, None)  # nobody knows whether it was written
            raise
        known.maps = maps
        if changed:
            self._written[link.name] = self._clock()
            self._log.info("overlay published", link=link.name, configmap="/".join(where), nodes=len(overlay.nodes))
        return _TRUSTED

    # --- what stands --------------------------------------------------------------------------------------------

    async def _look_up(self, where: ObjectName) -> _Known:
        known = self._known.get(where)
        if known is None or self._clock() - known.read_at >= _TRUSTED:
            first = await self._read(where[0], where[1])
            maps = [first, *[await self._read(where[0], name) for name in parts_of(first.data, where[1])]]
            known = self._known[where] = _Known(maps, self._clock())
        return known

    async def _read(self, namespace: str, name: str) -> _Standing:
        try:
            found = await self._client.get(CONFIGMAPS, name, namespace)
        except KubeNotFound:
            return _Standing(name)
        return _taken(name, found)

    async def _write(self, namespace: str, one: _Standing, wanted: Mapping[str, str], link: str) -> bool:
        if one.data == wanted:
            return False
        if not one.version:
            labels = {"app.kubernetes.io/managed-by": "isthmus"}
            made = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": one.name, "namespace": namespace, "labels": labels},
                "data": dict(wanted),
            }
            answer = await self._client.create(CONFIGMAPS, made, field_manager=_MANAGER)
        else:
            changes: dict[str, Any] = dict.fromkeys(one.data.keys() - wanted.keys())
            changes |= {key: text for key, text in wanted.items() if one.data.get(key) != text}
            patch = {"metadata": {"resourceVersion": one.version}, "data": changes}
            answer = await self._client.patch(CONFIGMAPS, one.name, patch, namespace, field_manager=_MANAGER)
        now = _taken(one.name, answer)
        one.version, one.data, one.foreign = now.version, now.data, now.foreign
        return True

    # --- the end ------------------------------------------------------------------------------------------------

    async def _remove(self, link: str, where: ObjectName) -> None:
        """Take away what is ours; a ConfigMap in which nothing else stands goes as a whole."""
        self._known.pop(where, None)
        known = await self._look_up(where)
        for one in reversed(known.maps):
            if not one.version:
                continue
            try:
                if one.foreign:
                    if one.data:
                        patch = {
                            "metadata": {"resourceVersion": one.version},
                            "data": dict.fromkeys(one.data),
                        }
                        await self._client.patch(CONFIGMAPS, one.name, patch, where[0], field_manager=_MANAGER)
                else:
                    await self._client.delete(CONFIGMAPS, one.name, where[0], resource_version=one.version)
            except KubeNotFound:
                pass
        self._known.pop(where, None)
        if any(one.version for one in known.maps):
            self._log.info("export removed", link=link, configmap="/".join(where))


def _taken(name: str, found: Mapping[str, Any]) -> _Standing:
    metadata, data = found.get("metadata") or {}, found.get("data") or {}
    binary = found.get("binaryData") or {}
    foreign = sum(len(key) + len(text.encode()) for key, text in data.items() if not ours(key))
    foreign += sum(len(key) + len(text) for key, text in binary.items())
    own = {key: text for key, text in data.items() if ours(key)}
    return _Standing(name, str(metadata.get("resourceVersion") or ""), own, foreign)
