"""Device and nodes share a segment: a route per pod CIDR via the node itself, nothing else.

A next hop that is not on the device's own segment is refused, never forced: the kernel would take it with ``onlink`` and
then lose every packet in silence.
"""

from __future__ import annotations

from isthmus.core.ground import Desired, Ground
from isthmus.model.facts import NodeFacts
from isthmus.model.resources import IPAddress, Route

ETHERNET = 1500


def for_link(ground: Ground, desired: Desired) -> None:
    """Add nothing: the segment is there already."""


def for_node(ground: Ground, node: NodeFacts, desired: Desired) -> None:
    """Add a route per pod CIDR via the node's address of the same family that is on the device's segment."""
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
        desired.want(Route(prefix, address, interface.name))


def source(ground: Ground, version: int) -> IPAddress | None:
    """Return the device's own address on its nodes' segment."""
    end = ground.segment_end(version)
    return end[0] if end is not None else None


def mtu(ground: Ground, version: int) -> int | None:
    """Return the segment's MTU as the device sees it, but no more than Ethernet's own.

    Whether the nodes take jumbo frames, too, nobody has said: that they do not is no fault of the path.
    """
    end = ground.segment_end(version)
    return min(end[1].mtu, ETHERNET) if end is not None else None
