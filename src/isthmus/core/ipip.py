"""IP in IP between device and nodes (RFC 2003), where the overlay is not to be VXLAN: a tunnel per node, and no neighbors.

There is no address inside to route to, so the device routes by the sender's address *into* a tunnel, which takes a device
with policy routes. It carries IPv4 over IPv4 alone. A node has one tunnel per device, and a route to the device's address on
the overlay through it. The one confusing thing: a tunnel is named by its far end, so that links between the same two machines
share it; two of them could not stand side by side.

Not every kernel has ipip. A node whose kernel has none is told so by its agent, and its pods are no members.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Interface, ip_network

from isthmus.core.attachment import Attachment
from isthmus.core.ground import Desired, Ground
from isthmus.model.facts import NodeFacts
from isthmus.model.resources import (
    ANYWHERE,
    AnyResource,
    DirectReturn,
    IPAddress,
    IpTunnel,
    PolicyRoute,
    Route,
    SourceAddress,
)

__all__ = ["TROUBLE", "for_link", "for_node", "node_side", "tunnel_name"]

TROUBLE = "isthmus.dev/node-agent-trouble"
"""Annotation by which a node's agent says what its host cannot have."""


def tunnel_name(far: IPAddress) -> str:
    """Return the name of the tunnel to ``far``, 13 characters."""
    return f"isthi{int(far):08x}"


def for_link(ground: Ground, own: Iterable[IPAddress], desired: Desired) -> None:
    """Add the device's own addresses, which no tunnel has: packets to pods are sent from them."""
    if not ground.traits.policy_routes:
        return  # that was said already
    if ground.tunnel_end(4) is None:
        desired.refuse("NoTunnelAddress", ground.missing_tunnel_end(), "set spec.tunnelAddresses of the EdgeDevice")
        return
    for address in own:
        desired.want(SourceAddress(IPv4Interface(int(address)), ANYWHERE))


def for_node(ground: Ground, node: NodeFacts, sender: IPAddress | None, desired: Desired) -> None:
    """Add the tunnel to the node, and a route into it per pod CIDR for what is sent from ``sender``."""
    end = ground.tunnel_end(4)
    if end is None or sender is None:
        return  # the link's own scope says why
    trouble = node.annotations.get(TROUBLE)
    if trouble is not None:
        desired.refuse(
            "NodeCannot",
            f"node {node.name}: its agent says: {trouble[:200]}",
            "load the kernel module ipip there, or use encapsulation vxlan",
        )
        return
    far = node.address(4)
    if far is None:
        desired.refuse(
            "NoNodeAddress",
            f"node {node.name} has no IPv4 InternalIP, which an IP-in-IP tunnel needs",
            "let the kubelet report one (--node-ip), or use encapsulation vxlan",
        )
        return
    tunnel = IpTunnel(tunnel_name(far), end[0], far)
    for prefix in node.pod_cidrs:
        if prefix.version != 4:
            desired.refuse(
                "NoOverlayFamily",
                f"node {node.name}: pod CIDR {prefix} is IPv6, and IP-in-IP carries IPv4 alone",
                "use encapsulation vxlan, or a link of its own for IPv6",
            )
            continue
        desired.want(tunnel, PolicyRoute(sender, prefix, tunnel.name))


def node_side(attached: Attachment, local: IPAddress) -> list[AnyResource]:
    """Return what the node's agent puts on its node: a tunnel from ``local`` to each device, and the way back."""
    resources: list[AnyResource] = []
    for peer in attached.peers:
        tunnel = IpTunnel(tunnel_name(peer.vtep), local, peer.vtep)
        resources.append(tunnel)
        resources += [
            DirectReturn(network, tunnel.name) for network in attached.direct_return if network.version == 4
        ]
        # A tunnel with one other end asks nobody for a next hop; the route names one because every route of ours does.
        resources += [Route(ip_network(address), address, tunnel.name, onlink=True) for address in peer.addresses]
    return resources
