"""Calico's own objects to published facts; see ``published``.

The one confusing thing: ``deleted`` of a BlockAffinity is a text, "true" or "false", because it was written before custom
resources had types.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from isthmus.kube.loose import Loose
from isthmus.model.published import CalicoBlock, CalicoFelix, CalicoInstallation, CalicoNode, CalicoPool
from isthmus.model.resources import IPAddress, IPNetwork

__all__ = ["calico_affinity", "calico_block", "calico_felix", "calico_installation", "calico_node", "calico_pool"]


def calico_pool(object: Any) -> CalicoPool:
    """Return what an IPPool says."""
    one = Loose(object)
    return CalicoPool(
        name=one.text("metadata", "name"),
        prefix=one.network(one.at("spec", "cidr"), "spec.cidr"),
        ipip=one.text("spec", "ipipMode"),
        vxlan=one.text("spec", "vxlanMode"),
        disabled=one.yes("spec", "disabled"),
        problems=tuple(one.problems),
    )


def calico_installation(object: Any) -> CalicoInstallation:
    """Return what the operator's Installation wishes."""
    one = Loose(object)
    pools = [
        (one.network(part.at("cidr"), "ipPools.cidr"), part.text("encapsulation"))
        for part in one.parts("spec", "calicoNetwork", "ipPools")
    ]
    return CalicoInstallation(
        name=one.text("metadata", "name"),
        cni=one.text("spec", "cni", "type"),
        ipam=one.text("spec", "cni", "ipam", "type"),
        bgp=one.text("spec", "calicoNetwork", "bgp"),
        mtu=one.whole("spec", "calicoNetwork", "mtu"),
        pools=tuple(pools),
        problems=tuple(one.problems),
    )


def calico_felix(object: Any) -> CalicoFelix:
    """Return what a FelixConfiguration says of tunnels."""
    one = Loose(object)
    return CalicoFelix(
        name=one.text("metadata", "name"),
        vxlan_port=one.whole("spec", "vxlanPort"),
        vxlan_vni=one.whole("spec", "vxlanVNI"),
        wireguard_port=one.whole("spec", "wireguardListeningPort"),
        problems=tuple(one.problems),
    )


def calico_affinity(object: Any) -> CalicoBlock:
    """Return whose block it is; one that is being given up is nobody's."""
    one = Loose(object)
    gone = one.yes("spec", "deleted")
    return CalicoBlock(
        source="BlockAffinity",
        name=one.text("metadata", "name"),
        prefix=_prefix(one),
        node="" if gone else one.text("spec", "node"),
        state=one.text("spec", "state") or "confirmed",
        problems=tuple(one.problems),
    )


def calico_block(object: Any) -> CalicoBlock:
    """Return whose block it is, and which of its addresses pods on other nodes have.

    A block that its node gave up, or is giving up, is nobody's; pods that still have addresses of it are named one by one.
    """
    one = Loose(object)
    kind, _, node = one.text("spec", "affinity").partition(":")
    node = node if kind == "host" and not one.yes("spec", "deleted") else ""
    prefix = _prefix(one)
    return CalicoBlock(
        source="IPAMBlock",
        name=one.text("metadata", "name"),
        prefix=prefix,
        node=node,
        borrowed=_borrowed(one, prefix, node),
        problems=tuple(one.problems),
    )


def calico_node(object: Any) -> CalicoNode:
    """Return what Calico's own Node object tells."""
    one = Loose(object)
    internal = [
        one.address(part.at("address"), "InternalIP")
        for part in one.parts("spec", "addresses")
        if part.text("type") == "InternalIP"
    ]
    addresses = [one.interface("spec", "bgp", key) for key in ("ipv4Address", "ipv6Address")]
    return CalicoNode(
        name=one.text("metadata", "name"),
        internal=tuple(dict.fromkeys(address for address in internal if address is not None)),
        addresses=tuple(address for address in addresses if address is not None),
        ipip=one.optional_address("spec", "bgp", "ipv4IPIPTunnelAddr"),
        vxlan=one.optional_address("spec", "ipv4VXLANTunnelAddr"),
        vxlan_mac=one.text("spec", "vxlanTunnelMACAddr").lower(),
        wireguard=one.optional_address("spec", "wireguard", "interfaceIPv4Address"),
        wireguard_key=bool(one.text("status", "wireguardPublicKey")),
        problems=tuple(one.problems),
    )


def _prefix(one: Loose) -> IPNetwork | None:
    said = one.at("spec", "cidr")
    if said not in (None, ""):
        return one.network(said, "spec.cidr")
    # Calico names a block after its network, with dashes for what a name cannot hold.
    *parts, length = one.text("metadata", "name").split("-")
    for separator in ".:":
        try:
            found = ip_network(f"{separator.join(parts)}/{length}")
        except ValueError:
            continue
        one.problems.append(f"spec.cidr is missing, read from its name: {found}")
        return found
    one.problems.append("spec.cidr is missing")
    return None


def _borrowed(one: Loose, prefix: IPNetwork | None, owner: str) -> tuple[tuple[IPAddress, str], ...]:
    attributes = [part.text("secondary", "node") for part in one.parts("spec", "attributes")]
    found: list[tuple[IPAddress, str]] = []
    if prefix is None:
        return ()
    for offset, index in enumerate(one.items("spec", "allocations")):
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(attributes):
            continue
        if attributes[index] and attributes[index] != owner and offset < prefix.num_addresses:
            found.append((prefix[offset], attributes[index]))
    return tuple(found)
