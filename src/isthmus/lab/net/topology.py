"""What a lab's network looks like: names, addresses, MACs, MTUs, all computed, none of it touched.

This module knows how many of what there are and derives every name and address from that, so the same description gives
the same network each time. It refuses to know namespaces' insides, processes and Kubernetes. The confusing thing is who
sits where::

                          control (the sandbox's root: the Kubernetes API listens here)
                             │
    node1 … nodeN ─────── br-under ─────── gw1, gw2 ─────── br-front ─────── client-near
      │ cni0              192.0.2.0/24                      203.0.113.0/24
    pod1-1 …              2001:db8:1::/64                   2001:db8:f::/64
                                                               │
                                                             router ─────── client-far
                                                                 198.51.100.0/24, 2001:db8:c::/64

With ``device="netscaler"`` the gateways are called adc1, adc2, …: the same two legs, but their addresses are the
appliance's to configure (see `isthmus.lab.adc`). Both bridges live in the namespace ``fabric``. VIPs come from two
ranges: one on the front segment itself, where somebody has to answer ARP for them, and one that the router sends to
gw1. All ranges are for documentation or benchmarks (RFC 5737, RFC 3849, RFC 2544, RFC 6598), so a leak never reaches
anybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from typing import Literal

from isthmus.errors import InputError

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Cidr = IPv4Network | IPv6Network
Family = Literal["ipv4", "ipv6"]
Cni = Literal["flannel", "none"]
Device = Literal["linux", "netscaler"]

FABRIC = "fabric"
ROUTER = "router"
CLIENT_NEAR = "client-near"
CLIENT_FAR = "client-far"
CONTROL_LINK = "control"
MAX_NODES = 400
# Above this many nodes an underlay of /24 is full: .201 and up are gateways and the control address.
_SMALL_UNDERLAY = 200
_SECOND_MAX = 90
_VXLAN_OVERHEAD = 50


@dataclass(frozen=True, slots=True)
class Leg:
    """One network interface: where it is, what it is called there, the fabric port it ends in, its MAC and addresses."""

    namespace: str
    name: str
    port: str
    mac: str
    addresses: tuple[Interface, ...]

    def address(self, family: Family) -> Address:
        """Return the first address of ``family``; KeyError if the lab does not have that family."""
        return first(self.addresses, family).ip


@dataclass(frozen=True, slots=True)
class PodPlan:
    """One pod: its namespace is called like the pod."""

    name: str
    node: str
    number: int
    host_link: str
    mac: str
    addresses: tuple[Interface, ...]

    def address(self, family: Family) -> Address:
        """Return the pod's first address of ``family``."""
        return first(self.addresses, family).ip


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node: its underlay leg, its pod CIDRs (all first CIDRs, then all second ones) and its pods."""

    index: int
    name: str
    leg: Leg
    pod_cidrs: tuple[Cidr, ...]
    bridge_mac: str
    pods: tuple[PodPlan, ...]

    def pod_cidr(self, family: Family) -> Cidr:
        """Return the first pod CIDR of ``family``: the one a Node object can carry."""
        for cidr in self.pod_cidrs:
            if family_of(cidr) == family:
                return cidr
        raise KeyError(family)

    @property
    def bridge_addresses(self) -> tuple[Interface, ...]:
        """Return what cni0 has: the first host address of each pod CIDR."""
        return tuple(ip_interface(f"{cidr.network_address + 1}/{cidr.prefixlen}") for cidr in self.pod_cidrs)


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """One gateway: a leg on the front segment and one on the underlay."""

    name: str
    front: Leg
    under: Leg


def family_of(thing: Address | Interface | Cidr) -> Family:
    """Return ``ipv4`` or ``ipv6``."""
    return "ipv4" if thing.version == 4 else "ipv6"


def first(addresses: tuple[Interface, ...], family: Family) -> Interface:
    """Return the first of ``addresses`` with ``family``; KeyError if there is none."""
    for address in addresses:
        if family_of(address) == family:
            return address
    raise KeyError(family)


@dataclass(frozen=True, kw_only=True)
class Topology:
    """The description of one lab; every plan below is derived from these few numbers.

    ``cni="flannel"`` only reserves the tunnel's share of the MTU: the tunnels themselves are `flanneld`'s work.
    ``node_gateway`` gives the nodes a default route through gw1, which keeps clients' addresses alive on the way back.
    ``offloads`` leaves segmentation and checksum offloads on: faster, but captured frames look wrong.
    """

    nodes: int = 3
    pods_per_node: int = 1
    families: tuple[Family, ...] = ("ipv4", "ipv6")
    pod_cidrs_per_node: int = 1
    gateways: int = 1
    underlay_mtu: int = 1500
    cni: Cni = "flannel"
    node_gateway: bool = False
    offloads: bool = False
    device: Device = "linux"
    cluster: int = 1

    def __post_init__(self) -> None:
        _within("nodes", self.nodes, 0, MAX_NODES)
        # A second cluster's nodes share the first one's segment, from .101 on, and have the same pod CIDRs.
        _within("cluster", self.cluster, 1, 2)
        _within("nodes", self.nodes, 0, MAX_NODES if self.cluster == 1 else _SECOND_MAX)
        _within("pods_per_node", self.pods_per_node, 0, 50)
        _within("pod_cidrs_per_node", self.pod_cidrs_per_node, 1, 2)
        _within("gateways", self.gateways, 0, 8)
        _within("underlay_mtu", self.underlay_mtu, 1280 + _VXLAN_OVERHEAD + 20, 9000)
        if not self.families or len(set(self.families)) != len(self.families):
            raise InputError("families", f"{self.families!r} is not one or two different families", "use ipv4, ipv6")

    # --- segments ------------------------------------------------------------------------------------------------

    @cached_property
    def underlay(self) -> tuple[Cidr, ...]:
        """Return the underlay's networks; the IPv4 one grows to a /16 above 200 nodes."""
        wide = self.nodes > _SMALL_UNDERLAY
        return self._only(ip_network("100.64.0.0/16" if wide else "192.0.2.0/24"), ip_network("2001:db8:1::/64"))

    @cached_property
    def front(self) -> tuple[Cidr, ...]:
        """Return the networks of the segment that gateways and the near client share."""
        return self._only(ip_network("203.0.113.0/24"), ip_network("2001:db8:f::/64"))

    @cached_property
    def far(self) -> tuple[Cidr, ...]:
        """Return the networks behind the router."""
        return self._only(ip_network("198.51.100.0/24"), ip_network("2001:db8:c::/64"))

    @cached_property
    def segment_vips(self) -> tuple[Cidr, ...]:
        """Return the VIP ranges that lie on the front segment itself: somebody has to answer ARP or NDP for them."""
        return self._only(ip_network("203.0.113.128/25"), ip_network("2001:db8:f::1:0/112"))

    @cached_property
    def routed_vips(self) -> tuple[Cidr, ...]:
        """Return the VIP ranges that the router sends to gw1."""
        return self._only(ip_network("198.18.0.0/24"), ip_network("2001:db8:beef::/64"))

    @cached_property
    def pod_ranges(self) -> tuple[Cidr, ...]:
        """Return the cluster's pod ranges, wide enough for every node there can be."""
        return self._only(ip_network("10.244.0.0/14"), ip_network("fd00:10:244::/47"))

    @property
    def pod_mtu(self) -> int:
        """Return what flannel writes into subnet.env as FLANNEL_MTU: 50 below the underlay, for IPv6 too (its own rule)."""
        return self.underlay_mtu - (_VXLAN_OVERHEAD if self.cni == "flannel" else 0)

    @property
    def prefix(self) -> str:
        """Return how the names of a further cluster's nodes and pods begin."""
        return "" if self.cluster == 1 else f"c{self.cluster}-"

    # --- things --------------------------------------------------------------------------------------------------

    @cached_property
    def control(self) -> Leg:
        """Return the leg of the sandbox's root namespace on the underlay; the lab's Kubernetes API listens there."""
        v4 = "100.64.255.254/16" if self.nodes > _SMALL_UNDERLAY else "192.0.2.254/24"
        return Leg("", CONTROL_LINK, "p-control", _mac(0, 0), self._both(v4, "2001:db8:1::ffff/64"))

    @cached_property
    def router_front(self) -> Leg:
        """Return the router's leg on the front segment: everybody's default gateway there."""
        return Leg(ROUTER, "front", "p-router", _mac(1, 1), self._both("203.0.113.1/24", "2001:db8:f::1/64"))

    @cached_property
    def router_far(self) -> Leg:
        """Return the router's leg towards the far client (a plain cable, no bridge)."""
        return Leg(ROUTER, "far", "eth0", _mac(1, 2), self._both("198.51.100.1/24", "2001:db8:c::1/64"))

    @cached_property
    def client_near(self) -> Leg:
        """Return the leg of the client on the VIPs' own segment."""
        return Leg(CLIENT_NEAR, "eth0", "p-near", _mac(2, 1), self._both("203.0.113.20/24", "2001:db8:f::20/64"))

    @cached_property
    def client_far(self) -> Leg:
        """Return the leg of the client behind the router."""
        return Leg(CLIENT_FAR, "eth0", "far", _mac(2, 2), self._both("198.51.100.20/24", "2001:db8:c::20/64"))

    @cached_property
    def gateway_plans(self) -> tuple[GatewayPlan, ...]:
        """Return the gateways gw1, gw2, …"""
        return tuple(self._gateway(number) for number in range(1, self.gateways + 1))

    @cached_property
    def node_plans(self) -> tuple[NodePlan, ...]:
        """Return the nodes that exist from the start: node1 … nodeN."""
        return tuple(self.node(index) for index in range(1, self.nodes + 1))

    def node(self, index: int) -> NodePlan:
        """Return node number ``index`` (from 1), also one that joins later; InputError when the range has no room."""
        _within("node", index, 1, MAX_NODES if self.nodes > _SMALL_UNDERLAY else _SMALL_UNDERLAY)
        name = f"{self.prefix}node{index}"
        place = index + 100 * (self.cluster - 1)
        v4 = f"100.64.{place >> 8}.{place & 255}/16" if self.nodes > _SMALL_UNDERLAY else f"192.0.2.{place}/24"
        leg = Leg(name, "eth0", f"p-{name}", _mac(0x10, place), self._both(v4, f"2001:db8:1::{place:x}/64"))
        cidrs: list[Cidr] = []
        for block in range(self.pod_cidrs_per_node):
            second = 244 + (index >> 8) * self.pod_cidrs_per_node + block
            v6 = ip_network(f"fd00:10:{0x244 + block:x}:{index:x}::/64")
            cidrs += self._only(ip_network(f"10.{second}.{index & 255}.0/24"), v6)
        pods = tuple(self._pod(name, index, number, cidrs) for number in range(1, self.pods_per_node + 1))
        return NodePlan(index, name, leg, tuple(cidrs), _mac(0x20, place), pods)

    def vip(self, number: int, family: Family = "ipv4", *, routed: bool = False) -> Address:
        """Return the ``number``-th VIP (from 1) of the on-segment range, or of the routed one."""
        for network in self.routed_vips if routed else self.segment_vips:
            if family_of(network) == family:
                return network.network_address + number
        raise KeyError(family)

    def _pod(self, node: str, index: int, number: int, cidrs: list[Cidr]) -> PodPlan:
        addresses = tuple(ip_interface(f"{cidr.network_address + 9 + number}/{cidr.prefixlen}") for cidr in cidrs)
        mac = _mac(0x30 + number, index)
        return PodPlan(f"{self.prefix}pod{index}-{number}", node, number, f"veth{number}", mac, addresses)

    def _gateway(self, number: int) -> GatewayPlan:
        name = f"{'adc' if self.device == 'netscaler' else 'gw'}{number}"
        front = self._both(f"203.0.113.{10 + number}/24", f"2001:db8:f::{0x10 + number:x}/64")
        wide = self.nodes > _SMALL_UNDERLAY
        v4 = f"100.64.255.{240 + number}/16" if wide else f"192.0.2.{240 + number}/24"
        under = self._both(v4, f"2001:db8:1::1:{number:x}/64")
        return GatewayPlan(
            name,
            Leg(name, "front", f"p-{name}-front", _mac(3, number), front),
            Leg(name, "under", f"p-{name}-under", _mac(4, number), under),
        )

    def _only(self, v4: Cidr, v6: Cidr) -> tuple[Cidr, ...]:
        chosen = {"ipv4": v4, "ipv6": v6}
        return tuple(chosen[family] for family in self.families)

    def _both(self, v4: str, v6: str) -> tuple[Interface, ...]:
        chosen = {"ipv4": v4, "ipv6": v6}
        return tuple(ip_interface(chosen[family]) for family in self.families)


def vtep_mac(index: int, family: Family = "ipv4") -> str:
    """Return the MAC that node ``index`` gives its flannel device at first."""
    return _mac(0x70 if family == "ipv4" else 0x76, index)


def _mac(kind: int, number: int) -> str:
    # 02: locally administered, unicast.
    return f"02:00:00:{kind:02x}:{number >> 8:02x}:{number & 255:02x}"


def _within(place: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(place, f"{value} is not within {low} to {high}")
