"""Takes a configuration into the world: which objects count, which go on as they were, and what a link may name.

The confusing thing: an object that is not usable is left out only if it never worked. One that works and became unusable
(its cluster was removed, another object now wants the same) goes on standing, because a mistake must not take away what runs;
and one that is being deleted is always in, because its deletion is an order that somebody has to carry out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from isthmus.app.origins import Configuration
from isthmus.core.world import World
from isthmus.model.claims import object_of, vip_facts
from isthmus.model.kinds import AddressPool, ClusterLink, EdgeDevice, Key, Kind, KubeCluster, VirtualIP
from isthmus.model.plan import Scope
from isthmus.telemetry import get_logger

__all__ = ["WrittenClaims", "known", "take_kinds"]

K = TypeVar("K", bound=Kind)


def known(world: World, key: Key) -> Kind | None:
    """Return the object that the world works with already, or none."""
    if key[0] == "VirtualIP":
        claim = world.vips.get(key[1])
        return object_of(claim) if claim is not None else None
    held: dict[str, Mapping[str, Kind]] = {
        "KubeCluster": world.cluster_kinds,
        "EdgeDevice": world.devices,
        "ClusterLink": world.links,
        "AddressPool": world.pools,
    }
    return held.get(key[0], {}).get(key[1])


def take_kinds(world: World, configuration: Configuration) -> bool:
    """Put clusters, devices, links and pools into ``world``; say whether the pools moved. Claims are taken elsewhere."""
    usable: list[Kind] = []
    for key, kind in configuration.snapshot.objects.items():
        before = known(world, key)
        if key not in configuration.snapshot.unusable or (before is None and _ending(kind)):
            usable.append(kind)
        elif before is not None:
            usable.append(before.model_copy(update={"metadata": kind.metadata}))
    world.cluster_kinds = _kept(world.cluster_kinds, usable, KubeCluster)
    for name in world.cluster_kinds:
        world.tell_network(name)
    world.devices = _kept(world.devices, usable, EdgeDevice)
    links = [_with_known_devices(kind, world.devices) for kind in usable if isinstance(kind, ClusterLink)]
    world.links = _kept(world.links, links, ClusterLink)
    pools = _kept(world.pools, usable, AddressPool)
    moved, world.pools = pools != world.pools, pools
    return moved


def _ending(kind: Kind) -> bool:
    return kind.metadata.deletion_timestamp is not None


def _kept(before: Mapping[str, K], now: Iterable[Kind], kind: type[K]) -> dict[str, K]:
    """Return the objects of one kind by name; one that says what it said is the very one it was, so nobody looks twice."""
    found = {one.name: one for one in now if isinstance(one, kind)}
    return {name: before[name] if before.get(name) == one else one for name, one in found.items()}


def _with_known_devices(link: ClusterLink, devices: Mapping[str, EdgeDevice]) -> ClusterLink:
    """Return the link without devices that nobody has described: it serves the others, and its status names the problem."""
    named = tuple(device for device in link.spec.devices if device in devices)
    if len(named) == len(link.spec.devices):
        return link
    return link.model_copy(update={"spec": link.spec.model_copy(update={"devices": named})})


class WrittenClaims:
    """The VirtualIPs that a user wrote into files; those of a home cluster come one by one instead."""

    def __init__(self, world: World, *, kept_elsewhere: Callable[[str], bool] = lambda name: False) -> None:
        """``kept_elsewhere`` says whether a home cluster has a claim of that name, which then counts."""
        self._world = world
        self._kept_elsewhere = kept_elsewhere
        self._names: set[str] = set()
        self._log = get_logger("app")

    def take(self, written: Mapping[str, VirtualIP], touch: Callable[[Iterable[Scope]], None]) -> bool:
        """Take what is written now; one that a Service holds already stays with it. Say whether any went."""
        gone = [name for name in self._names - written.keys() if not self._kept_elsewhere(name)]
        for name in gone:
            touch(self._world.put_vip(name, None))
        kept = set()
        for name, vip in written.items():
            standing = self._world.vips.get(name)
            if standing is not None and name not in self._names and standing.holder != vip_facts(vip).holder:
                self._log.warning("a written VirtualIP is held already", address=name, holder=standing.whose)
                continue
            kept.add(name)
            if standing != vip_facts(vip):
                touch(self._world.put_vip(name, vip))
        self._names = kept
        return bool(gone)
