"""The device poses as one of flannel's nodes: every flanneld then programs its own node, no agent of ours runs there.

A Node object that stands for the device carries flannel's annotations; flanneld on each real node answers with FDB entry,
neighbor and route to the device. The device does the same towards each node, in flannel's own shape (network.md in words:
permanent neighbor ``podCIDR.0 -> VTEP MAC``, FDB ``MAC -> node IP``, route ``podCIDR via podCIDR.0 onlink``).

A device whose next hops must lie in a subnet of its own (an appliance) has its address with the length of flannel's whole
network instead, as Citrix's node controller did it: all nodes are on its segment then, and their routes need no ``onlink``.

Sources: flannel's backend/vxlan/vxlan_network.go and pkg/subnet/kube/annotations.go; flannel runs one VXLAN per family.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from typing import Any

import msgspec

from isthmus.core.attachment import is_station, mac_for
from isthmus.core.ground import DEVICE_LABEL, VXLAN_OVERHEAD, Desired, Ground
from isthmus.model.facts import NodeFacts
from isthmus.model.resources import (
    ZERO_MAC,
    FdbEntry,
    IPAddress,
    IPInterface,
    IPNetwork,
    MssClamp,
    Neighbor,
    PolicyRoute,
    Route,
    SourceAddress,
    Tunnel,
    overlap,
)

PREFIX = "flannel.alpha.coreos.com/"
_KEYS = {4: ("backend-data", "public-ip"), 6: ("backend-v6-data", "public-ipv6")}


@dataclass(frozen=True, slots=True)
class Vtep:
    """One node's tunnel end as flannel publishes it."""

    mac: str
    address: IPAddress


def vtep(node: NodeFacts, version: int) -> Vtep | str:
    """Return the node's VTEP of that IP version, or the sentence that says why there is none."""
    backend = node.annotations.get(f"{PREFIX}backend-type")
    if backend is None:
        return f"node {node.name} has no flannel annotations"
    if backend != "vxlan":
        return f"node {node.name}: flannel's backend is {backend!r}, not vxlan"
    data_key, address_key = (PREFIX + key for key in _KEYS[version])
    try:
        data = msgspec.json.decode(node.annotations.get(data_key, ""))
    except (msgspec.MsgspecError, RecursionError):
        data = None
    mac = data.get("VtepMAC") if isinstance(data, dict) else None
    if not isinstance(mac, str) or not is_station(mac.lower()):
        return f"node {node.name}: annotation {data_key} holds no VtepMAC"
    public = node.annotations.get(address_key, "")
    try:
        address = ip_address(public)
    except ValueError:
        return f"node {node.name}: annotation {address_key} is no address: {public!r}"
    if address.version != version or "%" in public:
        return f"node {node.name}: annotation {address_key} is no IPv{version} address: {public!r}"
    return Vtep(mac.lower(), address)


def node_name(ground: Ground) -> str:
    """Return the name of the Node object that stands for the device."""
    return ground.link.spec.flannel.node_name or f"isthmus-{ground.link_name}-{ground.device_name}"


def own_node(ground: Ground) -> NodeFacts | None:
    """Return the facts of the Node object that stands for the device, or none while there is none of ours."""
    node = ground.cluster.nodes.get(node_name(ground))
    return node if node is not None and DEVICE_LABEL in node.labels else None


def tunnel(ground: Ground, version: int) -> Tunnel | None:
    """Return the device's flannel tunnel of that IP version; none when the device has no address for it, or no second one."""
    end = ground.tunnel_end(version)
    if end is None or _has_no_second(ground, version):
        return None
    local, interface = end
    flannel = ground.link.spec.flannel
    return Tunnel(
        name=f"isthf{flannel.vni}" + ("v6" if version == 6 else ""),
        vni=flannel.vni,
        port=flannel.port,
        local=local,
        mac=ground.traits.tunnel_mac or mac_for("flannel", ground.link_name, ground.device_name, str(version)),
        mtu=interface.mtu - VXLAN_OVERHEAD[version],
        underlay=interface.name,
    )


def _has_no_second(ground: Ground, version: int) -> bool:
    """Say whether the device has but one tunnel for flannel's VNI, and the other IP version (IPv4 goes first) has it."""
    if version == 4 or ground.traits.shares_vni or ground.tunnel_end(4) is None:
        return False
    own = own_node(ground)
    return own is not None and any(prefix.version == 4 for prefix in own.pod_cidrs)


def node_annotations(ground: Ground, own: NodeFacts) -> dict[str, str]:
    """Return the annotations by which flanneld knows the device, with valid JSON in them.

    Only for the families in which ``own`` (the Node that stands for the device) has a pod CIDR: flanneld takes up a Node
    once, so annotations that come before the pod CIDR, or for another family, are not heard.
    """
    values = {f"{PREFIX}kube-subnet-manager": "true", f"{PREFIX}backend-type": "vxlan"}
    for version in sorted({prefix.version for prefix in own.pod_cidrs}):
        end = tunnel(ground, version)
        if end is None:
            continue
        data_key, address_key = _KEYS[version]
        data: dict[str, Any] = {"VNI": end.vni, "VtepMAC": end.mac}
        values[PREFIX + data_key] = msgspec.json.encode(data).decode()
        values[PREFIX + address_key] = str(end.local)
        values[f"{PREFIX}{address_key}-overwrite"] = str(end.local)
    return values


def networks(ground: Ground) -> tuple[IPNetwork, ...]:
    """Return the networks that flannel may give nodes parts of, as far as anybody says them."""
    known = ground.cluster.cni
    published = known.networks[0].ranges if known is not None and len(known.networks) == 1 else ()
    return (*ground.link.spec.pod_networks, *published)


def network(ground: Ground, prefix: IPNetwork) -> IPNetwork | None:
    """Return the network out of which flannel gave the device ``prefix``: as the link's ``podNetworks`` say, else flannel's
    own configuration.
    """
    return next(
        (
            one
            for one in networks(ground)
            if one.version == prefix.version and overlap(one, prefix) and one.prefixlen <= prefix.prefixlen
        ),
        None,
    )


def own_address(ground: Ground, prefix: IPNetwork) -> IPInterface | None:
    """Return the device's address on its tunnel, out of ``prefix``; none where its subnet holds all nodes and is unknown."""
    if ground.traits.onlink:
        return _interface(prefix.network_address, prefix.max_prefixlen)
    around = network(ground, prefix)
    return _interface(_first(prefix, around), around.prefixlen) if around is not None else None


def for_link(ground: Ground, desired: Desired) -> None:
    """Add a tunnel per family in which our own Node has a pod CIDR, with flannel's address on it."""
    own = own_node(ground)
    if own is None:
        desired.refuse("NoFlannelNode", f"Node {node_name(ground)}, which stands for the device, is not there yet")
        return
    if not own.pod_cidrs:
        desired.refuse("NoPodCIDR", f"Node {own.name}, which stands for the device, has no pod CIDR yet")
    for prefix in own.pod_cidrs:
        end = tunnel(ground, prefix.version)
        if _has_no_second(ground, prefix.version):
            desired.refuse(
                "OneTunnelPerVni",
                f"{ground.device_name} has one tunnel per VNI, and flannel uses {ground.link.spec.flannel.vni} for IPv4 and "
                "IPv6 alike: IPv4 has it",
                "use path overlay, which carries both",
            )
            continue
        if end is None:
            desired.refuse(
                "NoTunnelAddress", ground.missing_tunnel_end(), "set spec.tunnelAddresses of the EdgeDevice"
            )
            continue
        address = own_address(ground, prefix)
        if address is None:
            desired.refuse(
                "NoFlannelNetwork",
                f"{ground.device_name} has its nodes as neighbors in flannel's own network, and neither flannel's ConfigMap "
                f"nor spec.podNetworks of ClusterLink {ground.link_name} names one that holds {prefix}, its own part of it",
                "write the Network of flannel's net-conf.json into spec.podNetworks",
            )
            continue
        desired.want(end)
        if ground.traits.clamps:
            desired.want(MssClamp(end.name, end.mtu))
        desired.want(SourceAddress(address, end.name))


def for_node(ground: Ground, node: NodeFacts, desired: Desired) -> None:
    """Add what finds the node and a route per pod CIDR, as flanneld itself would for a peer."""
    own = own_node(ground)
    families = {prefix.version for prefix in own.pod_cidrs} if own is not None else set()
    found: set[int] = set()
    for prefix in node.pod_cidrs:
        if prefix.version not in families:
            if own is not None and own.pod_cidrs:
                desired.refuse("NoFlannelFamily", f"node {node.name}: {own.name} has no IPv{prefix.version} pod CIDR")
            continue
        end, peer, own_end = (
            tunnel(ground, prefix.version),
            vtep(node, prefix.version),
            _own_end(ground, prefix.version),
        )
        if end is None or own_end is None:
            continue  # the link's own scope says why
        if isinstance(peer, str):
            desired.refuse("NoFlannelVtep", peer, "see whether flannel runs on that node")
            continue
        hop = next_hop(ground, node, prefix.version)
        assert hop is not None, "the node has a pod CIDR of that family"
        if not ground.traits.onlink and hop not in own_end.network:
            desired.refuse(
                "OutsideFlannelNetwork",
                f"node {node.name}: pod CIDR {prefix} is outside {own_end.network}, in which {ground.device_name} has "
                "its nodes as neighbors",
                "see whether spec.podNetworks has flannel's whole Network, and who gave the node that pod CIDR",
            )
            continue
        if prefix.version not in found:
            _find(ground, end, hop, peer, desired)
            found.add(prefix.version)
        if ground.by_source:
            desired.want(PolicyRoute(own_end.ip, prefix, end.name, hop))
        else:
            desired.want(Route(prefix, hop, end.name, onlink=ground.traits.onlink))


def _find(ground: Ground, end: Tunnel, hop: IPAddress, peer: Vtep, desired: Desired) -> None:
    """Add what the device needs to know to find a node, in the way in which it keeps such things."""
    match ground.traits.neighbors:
        case "joined":
            desired.want(Neighbor(end.name, hop, peer.mac, peer.address))
        case "flooded":
            desired.want(FdbEntry(end.name, ZERO_MAC, peer.address))
        case "static":
            desired.want(FdbEntry(end.name, peer.mac, peer.address), Neighbor(end.name, hop, peer.mac))


def source(ground: Ground, version: int) -> IPAddress | None:
    """Return flannel's own address on the device's tunnel: the first of our Node's pod CIDR."""
    end = _own_end(ground, version)
    return end.ip if end is not None else None


def mtu(ground: Ground, version: int) -> int | None:
    """Return the tunnel's MTU, which flannel gives the pods, too."""
    end = tunnel(ground, version)
    return end.mtu if end is not None else None


def next_hop(ground: Ground, node: NodeFacts, version: int) -> IPAddress | None:
    """Return the node's own address in flannel's network, to which packets for its pods go, or none without a pod CIDR.

    Flannel itself knows one pod CIDR per family and node; further ones go the way of the first.
    """
    prefix = next((cidr for cidr in node.pod_cidrs if cidr.version == version), None)
    if prefix is None or ground.traits.onlink:
        return prefix.network_address if prefix is not None else None
    end = _own_end(ground, version)
    return _first(prefix, end.network) if end is not None else None


def _own_end(ground: Ground, version: int) -> IPInterface | None:
    own = own_node(ground) if not _has_no_second(ground, version) else None
    prefix = next((one for one in own.pod_cidrs if one.version == version), None) if own is not None else None
    return own_address(ground, prefix) if prefix is not None else None


def _first(prefix: IPNetwork, around: IPNetwork) -> IPAddress:
    # The first address of the whole network names the network (RFC 919) and is nobody's; the block's next one is the
    # node's, too: its bridge has it.
    first = prefix.network_address
    return first + 1 if first == around.network_address and prefix.num_addresses > 1 else first


def _interface(address: IPAddress, length: int) -> IPInterface:
    if address.version == 4:
        return IPv4Interface((int(address), length))
    return IPv6Interface((int(address), length))
