"""Policy routes over a segment: from which of the device's own addresses they lead, and why one that is named does not count.

Clusters with the same pod CIDRs share a device if what is meant for one is never sent from the same address as what is meant
for the other. So each link with policy routes has addresses of its own: on a tunnel the device's own end of it, on a segment
those that the user names. The one confusing thing: a link without policy routes needs none named, it sends from the first
address on its segment; that one is not free for others while such a link is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.core.ground import Desired, Ground, Source
from isthmus.core.world import path_of
from isthmus.model.resources import IPAddress

__all__ = ["complain", "sources"]


def sources(ground: Ground, version: int) -> tuple[Source, ...]:
    """Return the addresses of that IP version that the link's policy routes lead from; Services are sent from the first."""
    return tuple(one for one in _judged(ground).values() if isinstance(one, Source) and one.own.version == version)


def complain(ground: Ground, desired: Desired) -> None:
    """Say of each named address that does not count why it does not."""
    named = ground.link.spec.policy_routes
    assert named is not None, "asked for a link with policy routes"
    found = _judged(ground)
    if not found:
        desired.refuse(
            "NoPolicySource",
            f"ClusterLink {ground.link_name} has policy routes over a segment, and no address that they lead from",
            "write addresses of the device on the nodes' segment into spec.policyRoutes.sources",
        )
    elsewhere = len(ground.link.spec.devices) > 1 and any(isinstance(one, Source) for one in found.values())
    for source, judged in found.items():
        if isinstance(judged, Source) or (elsewhere and judged == _absent(ground, source)):
            continue  # of several devices each has some of them
        desired.refuse(
            "BadPolicySource",
            f"policy routes cannot lead from {source}: {judged}",
            "give the device another address on the nodes' segment, and write it into spec.policyRoutes.sources",
        )


def _judged(ground: Ground) -> dict[IPAddress, Source | str]:
    if not ground.found_sources:
        named = ground.link.spec.policy_routes
        ground.found_sources.update(
            {one: _judge(ground, one) for one in (named.sources if named is not None else ())}
        )
    return ground.found_sources


def _judge(ground: Ground, source: IPAddress) -> Source | str:
    """Return where ``source`` is on the device, or why no policy route can lead from it."""
    found = next((Source(own, interface.name) for own, interface in ground.subnets if own.ip == source), None)
    if found is None:
        return _absent(ground, source)
    first = ground.segment_address(source)
    rival = next(_others_without(ground), None)
    if rival is not None and first is not None and first[0] == source:
        return f"{ground.device_name} sends from it for ClusterLink {rival}, which has no policy routes"
    return found


def _absent(ground: Ground, source: IPAddress) -> str:
    return f"{ground.device_name} has no {source} with a subnet around it"


def _others_without(ground: Ground) -> Iterator[str]:
    """Yield the links that send over a segment of the same device without policy routes."""
    for other in ground.world.links_of_device(ground.device_name):
        apart = other.name != ground.link_name and other.spec.policy_routes is None
        if apart and path_of(ground.world, other) == "direct":
            yield other.name
