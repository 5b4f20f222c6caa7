"""Everything we change on a device, as typed, frozen values.

A resource has an *identity* (what it is: ``route 10.244.1.0/24``) and a value (how it should be). Two resources with one
identity cannot stand side by side on a device; that is how conflicts, updates and shared wishes are found. This module
knows nothing of devices, clusters or how anything is written; drivers spell these values in their own language.

The one confusing thing: ``rank`` orders changes inside a plan (make before break), it says nothing about importance.
"""

from __future__ import annotations

import re
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from typing import ClassVar, Literal, TypeAlias

import msgspec

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network
IPInterface: TypeAlias = IPv4Interface | IPv6Interface
Protocol: TypeAlias = Literal["tcp", "udp", "sctp"]
Algorithm: TypeAlias = Literal["round-robin", "source-hash"]

ZERO_MAC = "00:00:00:00:00:00"
ANYWHERE = "*"
"""The link of an address that is the device's as a whole (a NetScaler's VIPs are), on devices that know such addresses."""


class Resource(msgspec.Struct, frozen=True, tag_field="kind", gc=False):
    """The common shape: an identity, a rank, a sentence for people."""

    rank: ClassVar[int] = 0

    @property
    def identity(self) -> str:
        """Return the text that names this thing on a device, whatever its value."""
        raise AssertionError("every resource defines its identity")

    def describe(self) -> str:
        """Return the value as one line, in the words of ``ip`` and ``bridge`` where they have one."""
        raise AssertionError("every resource describes itself")


class Tunnel(Resource, frozen=True, tag="Tunnel", gc=False):
    """A VXLAN tunnel end of ours (RFC 7348). ``name`` is at most 15 characters; ``underlay`` the interface it is bound to."""

    rank: ClassVar[int] = 10
    name: str
    vni: int
    port: int
    local: IPAddress
    mac: str
    mtu: int
    underlay: str | None = None

    @property
    def identity(self) -> str:
        return f"tunnel {self.name}"

    def describe(self) -> str:
        dev = f" dev {self.underlay}" if self.underlay else ""
        return (
            f"tunnel {self.name} vxlan id {self.vni} local {self.local}{dev} dstport {self.port} "
            f"address {self.mac} mtu {self.mtu}"
        )


class IpTunnel(Resource, frozen=True, tag="IpTunnel", gc=False):
    """An IP-in-IP tunnel of ours to one other end (RFC 2003): without neighbors, what is routed into it comes out there."""

    rank: ClassVar[int] = 10
    name: str
    local: IPAddress
    remote: IPAddress

    @property
    def identity(self) -> str:
        return f"tunnel {self.name}"

    def describe(self) -> str:
        return f"tunnel {self.name} ipip local {self.local} remote {self.remote}"


class SourceAddress(Resource, frozen=True, tag="SourceAddress", gc=False):
    """An address of the device on one of our tunnels: what pods see as the sender, and reply to.

    One that serves several tunnels with one other end each is on :data:`ANYWHERE`, and the device's as a whole.
    """

    rank: ClassVar[int] = 20
    address: IPInterface
    link: str

    @property
    def identity(self) -> str:
        return f"source {self.address.ip}"

    def describe(self) -> str:
        return f"source {self.address} dev {self.link}"


class MssClamp(Resource, frozen=True, tag="MssClamp", gc=False):
    """TCP segments through ``link`` are kept within ``mtu`` bytes, in both directions."""

    rank: ClassVar[int] = 25
    link: str
    mtu: int

    @property
    def identity(self) -> str:
        return f"mss-clamp {self.link}"

    def describe(self) -> str:
        return f"mss-clamp {self.link} mtu {self.mtu}"


class PortFilter(Resource, frozen=True, tag="PortFilter", gc=False):
    """The UDP ``port`` is accepted from ``sources`` alone; everybody else's packets to it are dropped."""

    rank: ClassVar[int] = 5
    port: int
    sources: tuple[IPAddress, ...]

    @property
    def identity(self) -> str:
        return f"port-filter udp/{self.port}"

    def describe(self) -> str:
        return f"port-filter udp/{self.port} from {', '.join(str(source) for source in self.sources) or 'nobody'}"


class DirectReturn(Resource, frozen=True, tag="DirectReturn", gc=False):
    """Packets for VIPs in ``network`` that come in on ``link`` are answered from here or not at all, never passed on.

    For nodes to which a device hands packets as the client sent them (direct server return).
    """

    rank: ClassVar[int] = 25
    network: IPNetwork
    link: str

    @property
    def identity(self) -> str:
        return f"direct-return {self.link} {self.network}"

    def describe(self) -> str:
        return f"direct-return {self.network} dev {self.link}"


class FdbEntry(Resource, frozen=True, tag="FdbEntry", gc=False):
    """Frames for ``mac`` leave ``tunnel`` towards the VTEP ``destination``; the zero MAC floods, one entry per VTEP."""

    rank: ClassVar[int] = 30
    tunnel: str
    mac: str
    destination: IPAddress

    @property
    def identity(self) -> str:
        if self.mac == ZERO_MAC:
            return f"fdb {self.tunnel} {self.mac} {self.destination}"
        return f"fdb {self.tunnel} {self.mac}"

    def describe(self) -> str:
        return f"fdb {self.mac} dev {self.tunnel} dst {self.destination}"


class Neighbor(Resource, frozen=True, tag="Neighbor", gc=False):
    """A permanent ARP (RFC 826) or NDP (RFC 4861) entry: ``address`` has ``mac`` on ``link``.

    ``vtep`` is where frames for it go on devices that keep neighbor and tunnel end in one entry; others have an FDB entry.
    """

    rank: ClassVar[int] = 30
    link: str
    address: IPAddress
    mac: str
    vtep: IPAddress | None = None

    @property
    def identity(self) -> str:
        return f"neighbor {self.link} {self.address}"

    def describe(self) -> str:
        behind = f" dst {self.vtep}" if self.vtep else ""
        return f"neighbor {self.address} lladdr {self.mac} dev {self.link}{behind}"


class Route(Resource, frozen=True, tag="Route", gc=False):
    """A route in the main table. ``onlink`` lets a next hop outside any subnet stand; ``source`` is the preferred source."""

    rank: ClassVar[int] = 40
    prefix: IPNetwork
    via: IPAddress
    link: str
    onlink: bool = False
    source: IPAddress | None = None

    @property
    def identity(self) -> str:
        return f"route {self.prefix}"

    def describe(self) -> str:
        source = f" src {self.source}" if self.source else ""
        return f"route {self.prefix} via {self.via} dev {self.link}{source}" + (" onlink" if self.onlink else "")


class PolicyRoute(Resource, frozen=True, tag="PolicyRoute", gc=False):
    """A route for packets that are sent from ``source`` alone, so that clusters with the same pod CIDRs can share a device.

    ``via`` is none where ``link`` is a tunnel with one other end.
    """

    rank: ClassVar[int] = 40
    source: IPAddress
    prefix: IPNetwork
    link: str
    via: IPAddress | None = None

    @property
    def identity(self) -> str:
        return f"policy-route {self.source} {self.prefix}"

    def describe(self) -> str:
        via = f" via {self.via}" if self.via else ""
        return f"policy-route {self.prefix} from {self.source}{via} dev {self.link}"


class SourceProfile(Resource, frozen=True, tag="SourceProfile", gc=False):
    """What virtual servers refer to in order to send from ``address``, on devices that cannot be told an address directly."""

    rank: ClassVar[int] = 50
    address: IPAddress

    @property
    def identity(self) -> str:
        return f"source-profile {self.address}"

    def describe(self) -> str:
        return self.identity


class HealthCheck(msgspec.Struct, frozen=True, gc=False):
    """How a device asks each member whether it lives: every ``interval`` seconds, each answer within ``timeout``.

    So many ``failures`` in a row take a member out.
    """

    interval: int = 5
    timeout: int = 2
    failures: int = 3

    def __str__(self) -> str:
        return f"every {self.interval} s, {self.failures} misses of {self.timeout} s"


class Member(msgspec.Struct, frozen=True, order=True, gc=False):
    """One pod behind a virtual server. ``weight`` 0 means it drains: open connections stay, new ones go elsewhere."""

    address: IPAddress
    port: int
    weight: int = 1

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        suffix = "" if self.weight == 1 else (" draining" if self.weight == 0 else f" weight {self.weight}")
        return f"{host}:{self.port}{suffix}"


class VirtualServer(Resource, frozen=True, tag="VirtualServer"):
    """What a VIP serves on one port: ``members`` sorted; packets to them leave with ``source`` as their sender.

    Without ``source`` the client's own address is kept, and pods must find the way back by themselves. Without ``check``
    the device asks members as it does by default.
    """

    rank: ClassVar[int] = 60
    address: IPAddress
    protocol: Protocol
    port: int
    members: tuple[Member, ...] = ()
    source: IPAddress | None = None
    algorithm: Algorithm = "round-robin"
    check: HealthCheck | None = None

    @property
    def identity(self) -> str:
        return f"virtual-server {endpoint_text(self.address, self.port)}/{self.protocol}"

    def describe(self) -> str:
        source = f" snat {self.source}" if self.source else ""
        members = ", ".join(str(member) for member in self.members) or "no members"
        check = f" check {self.check}" if self.check else ""
        return f"{self.identity} {self.algorithm}{source}{check} -> {members}"


class VirtualAddress(Resource, frozen=True, tag="VirtualAddress", gc=False):
    """A VIP that the device answers for on ``link`` (ARP, NDP, announced at take-over); ``lo`` where it is routed to us.

    One that ``lapses`` may stand on one device at a time: whoever programs the device must refresh it all the time, or it
    goes by itself; and it is only put up where nobody else on the segment answers for it.
    """

    rank: ClassVar[int] = 70
    address: IPAddress
    link: str
    lapses: bool = False

    @property
    def identity(self) -> str:
        return f"vip {self.address}"

    def describe(self) -> str:
        return f"vip {self.address} dev {self.link}" + (" lapses" if self.lapses else "")


class Partial(Resource, frozen=True, tag="Partial", gc=False):
    """Something of ours that is not whole: only observed, never wanted.

    A device may hold one thing of ours as several objects, and lose one of them. ``of`` is the identity of what it is a part
    of, ``position`` its rank, ``missing`` what lacks, in words. It equals nothing that is wanted: it is made whole, or goes.
    """

    of: str
    position: int
    missing: str

    @property
    def rank(self) -> int:  # type: ignore[override]
        return self.position

    @property
    def identity(self) -> str:
        return self.of

    def describe(self) -> str:
        return f"{self.of} without {self.missing}"


AnyResource: TypeAlias = (
    Tunnel
    | IpTunnel
    | SourceAddress
    | MssClamp
    | PortFilter
    | DirectReturn
    | FdbEntry
    | Neighbor
    | Route
    | PolicyRoute
    | SourceProfile
    | VirtualServer
    | VirtualAddress
    | Partial
)


_ON_A_LINK = (Neighbor, Route, PolicyRoute, SourceAddress)


def goes_with(resource: AnyResource) -> str | None:
    """Return the link that takes ``resource`` along when the link goes; none for what stays."""
    if isinstance(resource, FdbEntry):
        return resource.tunnel
    if isinstance(resource, _ON_A_LINK):
        return resource.link
    return None


_SERVED = re.compile(r"(?:vip |virtual-server \[?)([0-9a-fA-F.:]+?)(?:\]?:\d+/\w+)?")


def served_address(resource: AnyResource) -> IPAddress | None:
    """Return the VIP that ``resource`` is or serves a port of, none for anything else; a part is known by its identity."""
    if isinstance(resource, VirtualServer | VirtualAddress):
        return resource.address
    found = _SERVED.fullmatch(resource.of) if isinstance(resource, Partial) else None
    return ip_address(found[1]) if found is not None else None


def overlap(one: IPNetwork, other: IPNetwork) -> bool:
    """Say whether the networks share an address; as ``overlaps``, without making the addresses at their ends."""
    if one.version != other.version:
        return False
    free = one.max_prefixlen - min(one.prefixlen, other.prefixlen)
    return int(one.network_address) >> free == int(other.network_address) >> free


def endpoint_text(address: IPAddress, port: int) -> str:
    """Return ``address:port`` with IPv6 in brackets (RFC 3986)."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
