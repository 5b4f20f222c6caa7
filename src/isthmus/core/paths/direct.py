"""Device and nodes share a segment: a route per pod CIDR via the node itself, nothing else.

A next hop that is not on the device's own segment is refused, never forced: the kernel would take it with ``onlink`` and
then lose every packet in silence. With policy routes there is one per address that they lead from, and pod CIDR.
"""

from __future__ import annotations

from isthmus.core import policy
from isthmus.core.ground import Desired, Ground
from isthmus.model.facts import NodeFacts
from isthmus.model.resources import IPAddress, IPNetwork, PolicyRoute, Route

ETHERNET = 1500


def for_link(ground: Ground, desired: Desired) -> None:
    """Add nothing, since the segment is there already; say which addresses policy routes cannot lead from."""
    if ground.by_source and ground.traits.policy_routes:
        policy.complain(ground, desired)


def for_node(ground: Ground, node: NodeFacts, desired: Desired) -> None:
    """Add what leads to each pod CIDR via the node's address of the same family that is on the device's segment."""
    for prefix in node.pod_cidrs:
        ways = node.ways(prefix.version)
        if not ways:
            desired.refuse(
                "NoNodeAddress",
                f"node {node.name} has pod CIDR {prefix} and no IPv{prefix.version} InternalIP to route it via",
                "let the kubelet report one (--node-ip)",
            )
            continue
        found = ground.hop(node, prefix.version)
        if found is None:
            desired.refuse(
                "NotOnSegment",
                f"node {node.name} ({', '.join(map(str, ways))}) is on no segment of {ground.device_name}",
                "use path overlay, or connect the device to the nodes' segment",
            )
            continue
        address, own, interface = found
        if own == address:
            desired.refuse("SameAddress", f"node {node.name} and {ground.device_name} both have {address}")
            continue
        if ground.by_source:
            _by_source(ground, node, prefix, address, desired)
        else:
            desired.want(Route(prefix, address, interface.name))


def _by_source(ground: Ground, node: NodeFacts, prefix: IPNetwork, via: IPAddress, desired: Desired) -> None:
    """Add a policy route from each of the link's addresses that are on the node's segment."""
    found = policy.sources(ground, prefix.version)
    if not found:
        if not any(one.version == prefix.version for one in ground.found_sources):
            desired.refuse(
                "NoPolicySource",
                f"node {node.name}: pod CIDR {prefix} needs an IPv{prefix.version} address that policy routes lead from",
                "write one of the device's on the nodes' segment into spec.policyRoutes.sources",
            )
        return  # of those that do not count the link's own scope says why
    if via not in found[0].own.network:
        desired.refuse(
            "NotOnSegment",
            f"node {node.name} ({via}) is not on the segment of {found[0].own.ip}, from which Services are served",
            "write an address of the device on that node's segment first into spec.policyRoutes.sources, or use a link of "
            "its own for such nodes",
        )
        return
    desired.want(*(PolicyRoute(one.own.ip, prefix, one.link, via) for one in found if via in one.own.network))


def source(ground: Ground, version: int) -> IPAddress | None:
    """Return the device's own address on its nodes' segment; with policy routes, the first that they lead from."""
    if ground.by_source:
        return next((one.own.ip for one in policy.sources(ground, version)), None)
    end = ground.segment_end(version)
    return end[0] if end is not None else None


def mtu(ground: Ground, version: int) -> int | None:
    """Return the segment's MTU as the device sees it, but no more than Ethernet's own.

    Whether the nodes take jumbo frames, too, nobody has said: that they do not is no fault of the path.
    """
    end = ground.segment_end(version)
    return min(end[1].mtu, ETHERNET) if end is not None else None
