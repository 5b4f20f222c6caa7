"""What only shows when all objects are seen together: names that lead nowhere, addresses and VNIs wanted twice.

Of two objects that cannot both stand, the later one by name is unusable and the earlier works on; an object is only
held against *usable* ones, so one bad object never takes others down in a chain. The confusing thing: unusable is not
gone. Whoever programs devices must hold what an unusable object has made, not delete it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from isthmus.model.kinds.addresses import Family, Interval, IPAddress, IPNetwork, address_of
from isthmus.model.kinds.cluster import KubeCluster
from isthmus.model.kinds.device import EdgeDevice
from isthmus.model.kinds.kind import Key, Kind
from isthmus.model.kinds.link import ClusterLink
from isthmus.model.kinds.parse import FieldProblem, field_text
from isthmus.model.kinds.pool import AddressPool, shared
from isthmus.model.kinds.vip import VirtualIP
from isthmus.model.kinds.wrong import closest

__all__ = ["Checked", "Finding", "check"]

K = TypeVar("K", bound=Kind)


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of the object ``key``; it cannot be used when ``fatal``, and works in spite of it when ``warning``."""

    key: Key
    problem: FieldProblem
    warning: bool = False
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """All findings, sorted, and the objects that cannot be used, with the reason."""

    findings: tuple[Finding, ...]
    unusable: Mapping[Key, str]


def check(objects: Iterable[Kind], broken: Collection[Key] = ()) -> Checked:
    """Return what is wrong among ``objects`` taken together; ``broken`` are written too, but could not be read."""
    every = sorted(objects, key=lambda one: one.key)
    clusters, devices = _of(every, KubeCluster), _of(every, EdgeDevice)
    links, pools = _of(every, ClusterLink), _of(every, AddressPool)
    findings = [found for link in links.values() for found in _references(link, clusters, devices, broken)]
    findings += _links_apart(_usable(links.values(), findings))
    findings += _pools_apart(list(pools.values()))
    standing = _usable(links.values(), findings)
    for pool in pools.values():
        findings += _off_overlays(pool, standing)
        findings += _known_clusters(pool, clusters, broken)
    for vip in _of(every, VirtualIP).values():
        findings += _in_a_pool(vip, pools, broken)
    findings.sort(key=lambda found: (found.key, field_text(found.problem.path), found.problem.reason))
    unusable = {found.key: str(found.problem) for found in reversed(findings) if found.fatal}
    return Checked(tuple(findings), dict(sorted(unusable.items())))


def _of(objects: Iterable[Kind], model: type[K]) -> dict[str, K]:
    return {one.name: one for one in objects if isinstance(one, model)}


def _usable(objects: Iterable[K], findings: Iterable[Finding]) -> list[K]:
    broken = {found.key for found in findings if found.fatal}
    return [one for one in objects if one.key not in broken]


def _unknown(kind: str, name: str, known: Iterable[str], broken: Collection[Key]) -> tuple[str, str]:
    if (kind, name) in broken:
        return f"{kind} {name} is wrong itself", "mend that first"
    names = sorted(known)
    meant = closest(name, names)
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    remedy = f'did you mean "{meant}"?' if meant else f"known: {listed}" if names else f"there is no {kind} at all"
    return f'no {kind} is called "{name}"', remedy


def _references(
    link: ClusterLink, clusters: Mapping[str, KubeCluster], devices: Mapping[str, EdgeDevice], broken: Collection[Key]
) -> Iterator[Finding]:
    """A link without its cluster is unusable; one with an unknown device serves the devices that are known."""
    if link.spec.cluster not in clusters:
        reason, remedy = _unknown("KubeCluster", link.spec.cluster, clusters, broken)
        yield Finding(link.key, FieldProblem(("spec", "cluster"), reason, remedy), fatal=True)
    alone = not any(name in devices for name in link.spec.devices)
    for index, name in enumerate(link.spec.devices):
        if name not in devices:
            reason, remedy = _unknown("EdgeDevice", name, devices, broken)
            yield Finding(link.key, FieldProblem(("spec", "devices", index), reason, remedy), fatal=alone)


def _meeting(link: ClusterLink, other: ClusterLink) -> str | None:
    """Return what two links share, and so where they can be in each other's way."""
    devices = sorted(set(link.spec.devices) & set(other.spec.devices))
    if devices:
        return f"EdgeDevice {devices[0]}"
    return f"KubeCluster {link.spec.cluster}" if link.spec.cluster == other.spec.cluster else None


def _tunnel(link: ClusterLink) -> tuple[str, int, int] | None:
    """Return block, VNI and port of the VXLAN device that this link may make on its hosts."""
    if link.spec.path in ("auto", "overlay") and link.spec.overlay is not None:
        if link.spec.overlay.encapsulation == "ipip":
            return None
        return "overlay", link.spec.overlay.vni, link.spec.overlay.port
    if link.spec.path == "flannel":
        return "flannel", link.spec.flannel.vni, link.spec.flannel.port
    return None


def _links_apart(links: Sequence[ClusterLink]) -> Iterator[Finding]:
    """Two links that share a device or a cluster need their own networks and their own VXLAN."""
    accepted: list[ClusterLink] = []
    for link in links:
        found = [finding for other in accepted for finding in _collisions(link, other)]
        yield from found
        if not found:
            accepted.append(link)


def _collisions(link: ClusterLink, other: ClusterLink) -> Iterator[Finding]:
    where = _meeting(link, other)
    if where is None:
        return
    for index, network in enumerate(_networks(link)):
        for theirs in _networks(other):
            if network.version == theirs.version and network.overlaps(theirs):
                place = ("spec", "overlay", "networks", index)
                reason = f"{network} overlaps {theirs} of ClusterLink {other.name}; both meet on {where}"
                yield Finding(
                    link.key, FieldProblem(place, reason, "give each link a network of its own"), fatal=True
                )
    for index, source in enumerate(_sources(link)):
        if source in _sources(other) and not set(link.spec.devices).isdisjoint(other.spec.devices):
            place = ("spec", "policyRoutes", "sources", index)
            reason = f"{source} is also a source of ClusterLink {other.name}; both meet on {where}"
            remedy = "give each link addresses of its own, or packets to pods could go to either cluster"
            yield Finding(link.key, FieldProblem(place, reason, remedy), fatal=True)
    ours, others = _tunnel(link), _tunnel(other)
    # On one cluster's nodes, two flannel links use the cluster's one flannel device, which is what both mean.
    shared_flannel = ours is not None and ours[0] == "flannel" and link.spec.cluster == other.spec.cluster
    if ours is not None and others is not None and ours[1:] == others[1:] and not shared_flannel:
        reason = f"VNI {ours[1]} on UDP port {ours[2]} is also used by ClusterLink {other.name}; both meet on {where}"
        remedy = "give each link a VNI of its own" if ours[0] == "overlay" else "give the link devices of its own"
        yield Finding(link.key, FieldProblem(("spec", ours[0], "vni"), reason, remedy), fatal=True)


def _sources(link: ClusterLink) -> tuple[IPAddress, ...]:
    return link.spec.policy_routes.sources if link.spec.policy_routes is not None else ()


def _networks(link: ClusterLink) -> tuple[IPNetwork, ...]:
    return link.spec.overlay.networks if link.spec.overlay is not None else ()


def _span(interval: Interval, family: Family) -> str:
    first, last = address_of(interval[0], family), address_of(interval[1], family)
    return str(first) if first == last else f"{first} - {last}"


def _pools_apart(pools: Sequence[AddressPool]) -> Iterator[Finding]:
    """No address is in two pools: nobody could say whose rules hold for it."""
    meetings: dict[str, dict[str, str]] = {}
    families: tuple[Family, ...] = (4, 6)
    for family in families:
        for one, other, interval in _overlaps(pools, family):
            # Sorted by address, so what is kept per pair is the lowest overlapping part.
            meetings.setdefault(max(one, other), {}).setdefault(min(one, other), _span(interval, family))
    broken: set[str] = set()
    for pool in pools:
        for earlier, part in sorted(meetings.get(pool.name, {}).items()):
            if earlier in broken:
                continue
            broken.add(pool.name)
            reason = f"overlaps AddressPool {earlier} in {part}"
            yield Finding(
                pool.key, FieldProblem(("spec", "ranges"), reason, "exclude that part in one of them"), fatal=True
            )


def _overlaps(pools: Sequence[AddressPool], family: Family) -> Iterator[tuple[str, str, Interval]]:
    """Yield pairs of pool names and what they share, in one sweep over all intervals by address."""
    active: list[tuple[int, str]] = []
    for (first, last), name in sorted(
        (interval, pool.name) for pool in pools for interval in pool.spec.addresses(family)
    ):
        active = [(end, other) for end, other in active if end >= first]
        for end, other in active:
            yield name, other, (first, min(last, end))
        active.append((last, name))


def _off_overlays(pool: AddressPool, links: Sequence[ClusterLink]) -> Iterator[Finding]:
    """An overlay's addresses belong to devices and nodes; a VIP among them would be a second owner of one."""
    for link in links:
        for network in _networks(link):
            family: Family = 4 if network.version == 4 else 6
            both = shared(pool.spec.addresses(family), ((int(network[0]), int(network[-1])),))
            if both:
                reason = f"overlaps the overlay {network} of ClusterLink {link.name} in {_span(both[0], family)}"
                remedy = "an overlay's network is for nothing else: exclude that part here, or move the overlay"
                yield Finding(pool.key, FieldProblem(("spec", "ranges"), reason, remedy), fatal=True)


def _known_clusters(
    pool: AddressPool, clusters: Mapping[str, KubeCluster], broken: Collection[Key]
) -> Iterator[Finding]:
    for index, name in enumerate(pool.spec.clusters):
        if name not in clusters:
            reason, remedy = _unknown("KubeCluster", name, clusters, broken)
            yield Finding(pool.key, FieldProblem(("spec", "clusters", index), reason, remedy), warning=True)


def _in_a_pool(vip: VirtualIP, pools: Mapping[str, AddressPool], broken: Collection[Key]) -> Iterator[Finding]:
    """A claim outlives its pool, since an address never moves unasked; a reservation may stand outside all pools."""
    if vip.spec.pool is not None:
        pool = pools.get(vip.spec.pool)
        if pool is None:
            reason, remedy = _unknown("AddressPool", vip.spec.pool, pools, broken)
        elif not pool.spec.contains(vip.spec.address):
            reason, remedy = f"{vip.spec.address} is not in AddressPool {pool.name}", "the claim stays as it is"
        else:
            return
        yield Finding(vip.key, FieldProblem(("spec", "pool"), reason, remedy), warning=True)
    elif not vip.spec.reservation and not any(pool.spec.contains(vip.spec.address) for pool in pools.values()):
        reason = f"{vip.spec.address} is in no AddressPool"
        yield Finding(vip.key, FieldProblem(("spec", "address"), reason, "the claim stays as it is"), warning=True)
