"""Where Calico's pods are: blocks by affinity, addresses that one node borrowed from another's block, and tunnel ends.

A block may lie within a larger one of another node, after its pool's block size was changed; the longer prefix wins, as
in any routing table. A borrowed address is a route of its own, to the node that has the pod.
"""

from __future__ import annotations

from isthmus.core.cni.evidence import Evidence, address, interface
from isthmus.core.cni.finding import Finding, NodeNetwork, Vtep
from isthmus.model.published import CalicoNode, PublishedNode
from isthmus.model.resources import IPAddress, IPInterface, IPNetwork

ADDRESS_KEYS = {4: "projectcalico.org/IPv4Address", 6: "projectcalico.org/IPv6Address"}
_TUNNEL_KEYS = {
    "projectcalico.org/IPv4IPIPTunnelAddr": "ipip",
    "projectcalico.org/IPv4VXLANTunnelAddr": "vxlan",
    "projectcalico.org/IPv6VXLANTunnelAddr": "vxlan",
}
_INTERFACES = {"vxlan": "vxlan.calico", "ipip": "tunl0"}


def network(evidence: Evidence, finding: Finding, name: str, *, from_assigned: bool) -> NodeNetwork:
    """Return what Calico publishes of one node; ``from_assigned`` says that pods live in ``spec.podCIDRs``."""
    node, own = evidence.node_by_name.get(name), evidence.calico_nodes.get(name)
    oddities: list[str] = []
    endpoints = _endpoints(node, own, oddities)
    tunnel = [kind for kind in finding.tunnels if kind in _INTERFACES]
    mac = own.vxlan_mac if own is not None and own.vxlan_mac else None
    return NodeNetwork(
        name,
        addresses=own.internal if own is not None else (),
        pod_cidrs=_pod_cidrs(evidence, name, from_assigned, oddities),
        borrowed=tuple(dict.fromkeys(evidence.borrowed_by_node.get(name, ()))),
        endpoints=endpoints,
        vteps=tuple(Vtep(end, mac) for end in endpoints),
        tunnel_addresses=_tunnel_addresses(node, own, oddities),
        interface=_INTERFACES[tunnel[0]] if len(tunnel) == 1 else "",
        mtu=finding.mtu,
        oddities=tuple(oddities),
    )


def tunnel_kinds(evidence: Evidence, name: str) -> list[str]:
    """Return for which tunnels Calico gave the node an address: it does so only while some pool has them."""
    node, own = evidence.node_by_name.get(name), evidence.calico_nodes.get(name)
    found = {kind for key, kind in _TUNNEL_KEYS.items() if node is not None and node.annotations.get(key)}
    if own is not None:
        found |= {kind for kind, end in (("ipip", own.ipip), ("vxlan", own.vxlan)) if end is not None}
    return sorted(found)


def _pod_cidrs(
    evidence: Evidence, name: str, from_assigned: bool, oddities: list[str]
) -> tuple[IPNetwork, ...] | None:
    node = evidence.node_by_name.get(name)
    assigned = node.assigned if node is not None else ()
    if from_assigned:
        return assigned or None
    blocks = [block for block in evidence.blocks_by_node.get(name, ()) if block.state == "confirmed"]
    prefixes = tuple(dict.fromkeys(block.prefix for block in blocks if block.prefix is not None))
    for prefix in prefixes:
        _overlaps(evidence, name, prefix, oddities)
    if prefixes:
        return prefixes
    if evidence.blocks:
        return ()  # Calico gives blocks here, and gave this node none yet
    if assigned:
        listed = ", ".join(map(str, assigned))
        oddities.append(
            f"its podCIDR {listed} proves nothing: unless told otherwise, Calico gives pods addresses from blocks of its own"
        )
    return None


def _overlaps(evidence: Evidence, name: str, prefix: IPNetwork, oddities: list[str]) -> None:
    inner = {(str(one), owner) for one, owner in evidence.inner_blocks.get(prefix, ()) if owner != name}
    if inner:
        listed = ", ".join(f"{one} of node {owner}" for one, owner in sorted(inner))
        oddities.append(f"its block {prefix} contains {listed}: the longer prefix wins there")


def _endpoints(node: PublishedNode | None, own: CalicoNode | None, oddities: list[str]) -> tuple[IPAddress, ...]:
    found: list[IPInterface] = list(own.addresses) if own is not None else []
    for key in ADDRESS_KEYS.values():
        text = node.annotations.get(key) if node is not None else None
        if text is None:
            continue
        try:
            found.append(interface(text))
        except ValueError:
            oddities.append(f"annotation {key} is no address: {text!r}")
    internal = [*(node.internal if node is not None else ()), *(own.internal if own is not None else ())]
    for one in dict.fromkeys(found):
        if one.network.prefixlen == one.max_prefixlen:
            oddities.append(f"Calico knows its address as {one}: in CrossSubnet mode every peer is in another subnet")
        same_family = [str(other) for other in dict.fromkeys(internal) if other.version == one.version]
        if same_family and str(one.ip) not in same_family:
            listed = ", ".join(same_family)
            oddities.append(f"Calico reaches it at {one.ip}, which is none of its InternalIPs ({listed})")
    return tuple(dict.fromkeys(one.ip for one in found))


def _tunnel_addresses(
    node: PublishedNode | None, own: CalicoNode | None, oddities: list[str]
) -> tuple[IPAddress, ...]:
    found = [end for end in (own.ipip, own.vxlan) if end is not None] if own is not None else []
    if own is not None and own.wireguard is not None and not own.wireguard_key:
        oddities.append(
            f"it has the WireGuard address {own.wireguard} but no key, so that WireGuard runs is not shown"
        )
    for key in _TUNNEL_KEYS:
        text = node.annotations.get(key) if node is not None else None
        if text is None:
            continue
        try:
            found.append(address(text))
        except ValueError:
            oddities.append(f"annotation {key} is no address: {text!r}")
    return tuple(dict.fromkeys(found))
