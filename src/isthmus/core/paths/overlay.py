"""Our own VXLAN between device and nodes, for any CNI: own VNI, own UDP port, static entries on both ends.

Where the user wants IP in IP instead, what differs is in :mod:`isthmus.core.ipip`.

The device's side is here (:func:`for_link`, :func:`for_node`); the node's side (:func:`node_side`) is what the node's
agent realises from its own annotation. Both ends come from the same attachment, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Interface

from isthmus.core import attachment, ipip
from isthmus.core.attachment import Attachment, mac_for
from isthmus.core.beside import IPV6_MTU, carried, port_taken
from isthmus.core.ground import IPIP_OVERHEAD, VXLAN_OVERHEAD, Desired, Ground
from isthmus.model.facts import DeviceFacts, Interface, NodeFacts
from isthmus.model.resources import (
    ZERO_MAC,
    AnyResource,
    DirectReturn,
    FdbEntry,
    IPAddress,
    IPInterface,
    MssClamp,
    Neighbor,
    PolicyRoute,
    PortFilter,
    Route,
    SourceAddress,
    Tunnel,
)


def tunnel_name(vni: int) -> str:
    """Return the name of our VXLAN link for ``vni``, the same on devices and nodes; 14 characters at most."""
    return f"isth{vni}"


def device_mac(ground: Ground) -> str:
    """Return the device's MAC on the overlay: its own where nobody can choose one."""
    return ground.traits.tunnel_mac or mac_for("overlay", ground.link_name, ground.device_name)


def device_tunnel(ground: Ground) -> Tunnel | None:
    """Return the device's tunnel end, or none while it has no address to end a tunnel on; IPv4 goes first."""
    if not ground.found_tunnel:
        ground.found_tunnel.append(_find_tunnel(ground))
    return ground.found_tunnel[0]


def _find_tunnel(ground: Ground) -> Tunnel | None:
    assert ground.link.spec.overlay is not None, "the path overlay needs its network; the configuration was checked"
    overlay = ground.link.spec.overlay
    end = ground.tunnel_end(4) or (ground.tunnel_end(6) if not ground.ipip else None)
    if end is None:
        return None
    local, interface = end
    return Tunnel(
        name=tunnel_name(overlay.vni),
        vni=overlay.vni,
        port=overlay.port,
        local=local,
        mac=device_mac(ground),
        mtu=overlay.mtu or _mtu(ground, interface, IPIP_OVERHEAD if ground.ipip else VXLAN_OVERHEAD[local.version]),
        underlay=interface.name,
    )


def _mtu(ground: Ground, interface: Interface, overhead: int) -> int:
    """Return what fits through the device's interface, and between nodes as far as their CNI tells that."""
    between = carried(ground.cluster)
    own = interface.mtu - overhead
    return own if between is None else min(own, max(between - overhead, IPV6_MTU))


def refused_port(ground: Ground) -> str | None:
    """Return why nothing new may be put on the overlay's UDP port: the cluster's CNI has it; or none."""
    overlay = ground.link.spec.overlay
    return port_taken(ground.cluster, overlay.port) if overlay is not None and not ground.ipip else None


def own_addresses(ground: Ground) -> tuple[IPInterface, ...]:
    """Return the device's addresses on the overlay, as they were assigned."""
    return ground.world.device_addresses.get((ground.link_name, ground.device_name), ())


def for_link(ground: Ground, desired: Desired) -> None:
    """Add the tunnel, the device's own addresses on it, and the TCP segment clamp where the device has such a thing."""
    if ground.link.spec.overlay is None:
        desired.refuse("NoOverlayNetwork", "the link has no spec.overlay", "write spec.overlay.networks")
        return
    taken = refused_port(ground)
    if taken is not None:
        desired.refuse("PortTaken", taken, "choose another spec.overlay.port; 7700 is the default")
        if not any(attachment.annotation(ground.link_name) in node.annotations for node in ground.nodes()):
            return  # what stands already stays: it must have worked when it was made
    tunnel = device_tunnel(ground)
    if tunnel is None:
        desired.refuse("NoTunnelAddress", ground.missing_tunnel_end(), "set spec.tunnelAddresses of the EdgeDevice")
        return
    addresses = own_addresses(ground)
    if not addresses:
        desired.refuse("NoOverlayAddress", f"{ground.device_name} has no address on the overlay yet")
        return
    if ground.ipip:
        ipip.for_link(ground, (address.ip for address in addresses if address.version == 4), desired)
        return
    desired.want(tunnel)
    if ground.traits.clamps:
        desired.want(MssClamp(tunnel.name, tunnel.mtu))
    desired.want(*(SourceAddress(address, tunnel.name) for address in addresses))


def for_node(ground: Ground, node: NodeFacts, desired: Desired) -> None:
    """Add what finds the node on the overlay, and a route per pod CIDR via its address there."""
    overlay = ground.link.spec.overlay
    tunnel = device_tunnel(ground) if overlay is not None and own_addresses(ground) else None
    if tunnel is None or overlay is None:
        return  # the link's own scope says why
    text = node.annotations.get(attachment.annotation(ground.link_name))
    if text is None:
        desired.refuse("NotAttached", f"node {node.name} has no overlay address yet")
        return
    try:
        attached = attachment.parse(text)
    except ValueError as error:
        desired.refuse("BadAttachment", f"node {node.name}: its overlay annotation does not parse: {error}")
        return
    if ground.ipip:
        ipip.for_node(ground, node, source(ground, 4), desired)
        return
    vtep = node.address(tunnel.local.version)
    if vtep is None:
        desired.refuse(
            "NoNodeAddress",
            f"node {node.name} has no IPv{tunnel.local.version} InternalIP, which the tunnel from {tunnel.local} needs",
            "let the kubelet report one (--node-ip), or set spec.tunnelAddresses of the EdgeDevice to the other family",
        )
        return
    hops: dict[int, IPAddress] = {}
    for address in attached.addresses:
        if address.network not in overlay.networks or address in own_addresses(ground):
            desired.refuse("BadAttachment", f"node {node.name}: {address} is no address for a node of this overlay")
            continue
        hops[address.version] = address.ip
    _find(ground, tunnel, hops, attached.mac, vtep, desired)
    for prefix in node.pod_cidrs:
        hop = hops.get(prefix.version)
        if hop is None and any(network.version == prefix.version for network in overlay.networks):
            desired.refuse("NotAttached", f"node {node.name} has no IPv{prefix.version} overlay address yet")
            continue
        if hop is None:
            desired.refuse(
                "NoOverlayFamily",
                f"node {node.name}: pod CIDR {prefix} needs an IPv{prefix.version} overlay network",
                "add one to spec.overlay.networks of the ClusterLink",
            )
            continue
        sender = source(ground, prefix.version)
        if ground.by_source and sender is not None:
            desired.want(PolicyRoute(sender, prefix, tunnel.name, hop))
        elif not ground.by_source:
            desired.want(Route(prefix, hop, tunnel.name))


def _find(
    ground: Ground, tunnel: Tunnel, hops: Mapping[int, IPAddress], mac: str, vtep: IPAddress, desired: Desired
) -> None:
    """Add what the device needs to know of a node's addresses in ``hops``, in the way in which it keeps such things."""
    match ground.traits.neighbors:
        case "joined":
            desired.want(*(Neighbor(tunnel.name, address, mac, vtep) for address in hops.values()))
        case "flooded":
            if hops:
                desired.want(FdbEntry(tunnel.name, ZERO_MAC, vtep))
        case "static":
            if hops:
                desired.want(FdbEntry(tunnel.name, mac, vtep))
            desired.want(*(Neighbor(tunnel.name, address, mac) for address in hops.values()))


def source(ground: Ground, version: int) -> IPAddress | None:
    """Return the device's address on the overlay."""
    addresses = own_addresses(ground)
    return next((address.ip for address in addresses if address.version == version), None)


def mtu(ground: Ground, version: int) -> int | None:
    """Return the tunnel's MTU, the same for both families in it."""
    tunnel = device_tunnel(ground) if ground.link.spec.overlay is not None else None
    return tunnel.mtu if tunnel is not None else None


def node_side(attached: Attachment, local: IPAddress, facts: DeviceFacts) -> list[AnyResource]:
    """Return what the node's agent puts on its node: tunnel, addresses, devices' entries, and the port's filter.

    ``local`` is the node's own InternalIP of the devices' family; ``facts`` the node's interfaces. The tunnel is no wider
    than what fits through the node's own card: a longer packet would be lost there without a word.
    """
    if attached.encapsulation == "ipip":
        return ipip.node_side(attached, local)
    interface = facts.holding(local)
    name = tunnel_name(attached.vni)
    resources: list[AnyResource] = [
        PortFilter(attached.port, tuple(sorted((peer.vtep for peer in attached.peers), key=int))),
        Tunnel(
            name=name,
            vni=attached.vni,
            port=attached.port,
            local=local,
            mac=attached.mac,
            mtu=min(attached.mtu, interface.mtu - VXLAN_OVERHEAD[local.version]) if interface else attached.mtu,
            underlay=interface.name if interface is not None else None,
        ),
        *(SourceAddress(address, name) for address in attached.addresses),
        *(DirectReturn(network, name) for network in attached.direct_return),
    ]
    for peer in attached.peers:
        # A peer whose MAC nobody knows is found by flooding: its answers to ARP and NDP say the rest.
        resources.append(FdbEntry(name, peer.mac, peer.vtep))
        if peer.mac != ZERO_MAC:
            resources += [Neighbor(name, address, peer.mac) for address in peer.addresses]
    if any(peer.mac == ZERO_MAC and address.version == 6 for peer in attached.peers for address in peer.addresses):
        # NDP for packets that are forwarded asks from a link-local address, and not at all without one (RFC 4861, 7.2.2).
        resources.append(SourceAddress(_link_local(attached.mac), name))
    return resources


def _link_local(mac: str) -> IPInterface:
    """Return the link-local address that goes with ``mac`` (modified EUI-64, RFC 4291 appendix A)."""
    numbers = bytes.fromhex(mac.replace(":", ""))
    low = bytes((numbers[0] ^ 2, *numbers[1:3], 0xFF, 0xFE, *numbers[3:]))
    return IPv6Interface((int.from_bytes(b"\xfe\x80" + bytes(6) + low), 64))
