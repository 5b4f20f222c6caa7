"""The device poses as one of flannel's nodes: every flanneld then programs its own node, no agent of ours runs there.

A Node object that stands for the device carries flannel's annotations; flanneld on each real node answers with FDB entry,
neighbor and route to the device. The device does the same towards each node, in flannel's own shape (network.md in words:
permanent neighbor ``podCIDR.0 -> VTEP MAC``, FDB ``MAC -> node IP``, route ``podCIDR via podCIDR.0 onlink``).

Sources: flannel's backend/vxlan/vxlan_network.go and pkg/subnet/kube/annotations.go; flannel runs one VXLAN per family.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Any

import msgspec

from isthmus.core.attachment import is_station, mac_for
from isthmus.core.ground import DEVICE_LABEL, VXLAN_OVERHEAD, Desired, Ground
from isthmus.model.facts import NodeFacts
from isthmus.model.resources import (
    FdbEntry,
    IPAddress,
    IPNetwork,
    MssClamp,
    Neighbor,
    Route,
    SourceAddress,
    Tunnel,
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
    """Return the device's flannel tunnel of that IP version, or none when the device has no address for it."""
    end = ground.tunnel_end(version)
    if end is None:
        return None
    local, interface = end
    flannel = ground.link.spec.flannel
    return Tunnel(
        name=f"isthf{flannel.vni}" + ("v6" if version == 6 else ""),
        vni=flannel.vni,
        port=flannel.port,
        local=local,
        mac=mac_for("flannel", ground.link_name, ground.device_name, str(version)),
        mtu=interface.mtu - VXLAN_OVERHEAD[version],
        underlay=interface.name,
    )


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
        if end is None:
            desired.refuse(
                "NoTunnelAddress", ground.missing_tunnel_end(), "set spec.tunnelAddresses of the EdgeDevice"
            )
            continue
        desired.want(end, MssClamp(end.name, end.mtu))
        desired.want(SourceAddress(ip_interface(prefix.network_address), end.name))


def for_node(ground: Ground, node: NodeFacts, desired: Desired) -> None:
    """Add neighbor, FDB entry and onlink route per pod CIDR, as flanneld itself would for a peer."""
    own = own_node(ground)
    families = {prefix.version for prefix in own.pod_cidrs} if own is not None else set()
    done: set[int] = set()
    for prefix in node.pod_cidrs:
        if prefix.version not in families:
            if own is not None and own.pod_cidrs:
                desired.refuse("NoFlannelFamily", f"node {node.name}: {own.name} has no IPv{prefix.version} pod CIDR")
            continue
        end, peer = tunnel(ground, prefix.version), vtep(node, prefix.version)
        if end is None:
            continue  # the link's own scope says why
        if isinstance(peer, str):
            desired.refuse("NoFlannelVtep", peer, "see whether flannel runs on that node")
            continue
        if prefix.version not in done:
            desired.want(FdbEntry(end.name, peer.mac, peer.address))
            done.add(prefix.version)
        hop = _hop(node, prefix)
        if hop == prefix.network_address:
            desired.want(Neighbor(end.name, hop, peer.mac))
        desired.want(Route(prefix, hop, end.name, onlink=True))


def source(ground: Ground, version: int) -> IPAddress | None:
    """Return flannel's own address on the device's tunnel: the first of our Node's pod CIDR."""
    own = own_node(ground)
    if own is None:
        return None
    return next((prefix.network_address for prefix in own.pod_cidrs if prefix.version == version), None)


def mtu(ground: Ground, version: int) -> int | None:
    """Return the tunnel's MTU, which flannel gives the pods, too."""
    end = tunnel(ground, version)
    return end.mtu if end is not None else None


def _hop(node: NodeFacts, prefix: IPNetwork) -> IPAddress:
    # Flannel itself knows one pod CIDR per family and node; further ones go the way of the first.
    return next(cidr for cidr in node.pod_cidrs if cidr.version == prefix.version).network_address
