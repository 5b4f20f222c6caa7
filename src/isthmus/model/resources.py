"""Everything we change on a device, as typed, frozen values.

A resource has an *identity* (what it is: ``route 10.244.1.0/24``) and a value (how it should be). Two resources with one
identity cannot stand side by side on a device; that is how conflicts, updates and shared wishes are found. This module
knows nothing of devices, clusters or how anything is written; drivers spell these values in their own language.

The one confusing thing: ``rank`` orders changes inside a plan (make before break), it says nothing about importance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network
IPInterface: TypeAlias = IPv4Interface | IPv6Interface
Protocol: TypeAlias = Literal["tcp", "udp", "sctp"]
Algorithm: TypeAlias = Literal["round-robin", "source-hash"]

ZERO_MAC = "00:00:00:00:00:00"


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


class SourceAddress(Resource, frozen=True, tag="SourceAddress", gc=False):
    """An address of the device on one of our tunnels: what pods see as the sender, and reply to."""

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
    """A permanent ARP (RFC 826) or NDP (RFC 4861) entry: ``address`` has ``mac`` on ``link``."""

    rank: ClassVar[int] = 30
    link: str
    address: IPAddress
    mac: str

    @property
    def identity(self) -> str:
        return f"neighbor {self.link} {self.address}"

    def describe(self) -> str:
        return f"neighbor {self.address} lladdr {self.mac} dev {self.link}"


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

    Without ``source`` the client's own address is kept, and pods must find the way back by themselves.
    """

    rank: ClassVar[int] = 60
    address: IPAddress
    protocol: Protocol
    port: int
    members: tuple[Member, ...] = ()
    source: IPAddress | None = None
    algorithm: Algorithm = "round-robin"

    @property
    def identity(self) -> str:
        return f"virtual-server {endpoint_text(self.address, self.port)}/{self.protocol}"

    def describe(self) -> str:
        source = f" snat {self.source}" if self.source else ""
        members = ", ".join(str(member) for member in self.members) or "no members"
        return f"{self.identity} {self.algorithm}{source} -> {members}"


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


AnyResource: TypeAlias = (
    Tunnel | SourceAddress | MssClamp | PortFilter | FdbEntry | Neighbor | Route | VirtualServer | VirtualAddress
)


_ON_A_LINK = (Neighbor, Route, SourceAddress)


def goes_with(resource: AnyResource) -> str | None:
    """Return the link that takes ``resource`` along when the link goes; none for what stays."""
    if isinstance(resource, FdbEntry):
        return resource.tunnel
    if isinstance(resource, _ON_A_LINK):
        return resource.link
    return None


def overlap(one: IPNetwork, other: IPNetwork) -> bool:
    """Say whether the networks share an address; as ``overlaps``, without making the addresses at their ends."""
    if one.version != other.version:
        return False
    free = one.max_prefixlen - min(one.prefixlen, other.prefixlen)
    return int(one.network_address) >> free == int(other.network_address) >> free


def endpoint_text(address: IPAddress, port: int) -> str:
    """Return ``address:port`` with IPv6 in brackets (RFC 3986)."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def encode_value(value: Any) -> Any:
    """Spell the types that JSON lacks (``ipaddress`` objects) as text; for ``msgspec`` encoders."""
    if isinstance(value, (IPv4Address, IPv6Address, IPv4Network, IPv6Network, IPv4Interface, IPv6Interface)):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def to_builtins(value: Any) -> Any:
    """Return ``value`` (a resource, change, plan or fact) as plain dicts, lists and strings."""
    return msgspec.to_builtins(value, enc_hook=encode_value)


def to_json(value: Any) -> bytes:
    """Return what :func:`to_builtins` returns as JSON text, without building it first: of a whole device it is large."""
    return msgspec.json.encode(value, enc_hook=encode_value)


_KINDS: dict[str, type[Resource]] = {
    kind.__name__: kind
    for kind in (
        Tunnel,
        SourceAddress,
        MssClamp,
        PortFilter,
        FdbEntry,
        Neighbor,
        Route,
        VirtualServer,
        VirtualAddress,
    )
}


def _optional_address(value: str | None) -> IPAddress | None:
    return None if value is None else ip_address(value)


def _members(values: list[Mapping[str, Any]]) -> tuple[Member, ...]:
    return tuple(Member(ip_address(v["address"]), int(v["port"]), int(v.get("weight", 1))) for v in values)


_FIELDS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("Tunnel", "local"): ip_address,
    ("SourceAddress", "address"): ip_interface,
    ("PortFilter", "sources"): lambda values: tuple(ip_address(value) for value in values),
    ("FdbEntry", "destination"): ip_address,
    ("Neighbor", "address"): ip_address,
    ("Route", "prefix"): ip_network,
    ("Route", "via"): ip_address,
    ("Route", "source"): _optional_address,
    ("VirtualServer", "address"): ip_address,
    ("VirtualServer", "source"): _optional_address,
    ("VirtualServer", "members"): _members,
    ("VirtualAddress", "address"): ip_address,
}


def from_builtins(data: Mapping[str, Any]) -> AnyResource:
    """Return the resource that :func:`to_builtins` spelled as ``data``.

    Raises ``ValueError`` for an unknown kind, a missing field or a value that does not parse.
    """
    fields = dict(data)
    name = fields.pop("kind", None)
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"no resource is of kind {name!r}")
    try:
        values = {
            field: _FIELDS[name, field](value) if (name, field) in _FIELDS else value
            for field, value in fields.items()
        }
        return kind(**values)  # type: ignore[return-value]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{name}: {error}") from error
