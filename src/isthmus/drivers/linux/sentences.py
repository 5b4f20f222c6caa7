"""Rows as resources where they are ours, as sentences for people where they are not.

A thing of ours that no resource can express (two next hops, a tunnel that is down) is spelled with a value that nobody
desires, an empty link or an MTU of 0, so that a diff always sees it as different and one update puts it right.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from isthmus.drivers.linux.kernel import Links
from isthmus.drivers.linux.links import AddressRow, LinkRow
from isthmus.drivers.linux.owner import protocol_name
from isthmus.drivers.linux.rtnetlink import DEFAULT_METRIC, ONLINK, UNICAST, mac_text
from isthmus.drivers.linux.tables import NeighborRow, RouteRow
from isthmus.model.resources import FdbEntry, IPAddress, IPNetwork, IpTunnel, Neighbor, Route, Tunnel

__all__ = [
    "fdb_of",
    "foreign_address",
    "foreign_link",
    "foreign_neighbor",
    "foreign_route",
    "neighbor_of",
    "prefix_of",
    "route_of",
    "tunnel_of",
]

_TYPES = {1: "", 6: "blackhole ", 7: "unreachable ", 8: "prohibit ", 9: "throw "}


def prefix_of(row: RouteRow) -> IPNetwork:
    """Return the row's prefix."""
    kind = IPv4Network if row.family == 2 else IPv6Network
    return kind((row.destination, row.length))


def _address(packed: bytes, family: int) -> IPAddress:
    if packed:
        return ip_address(packed)
    return IPv4Address(0) if family == 2 else IPv6Address(0)


def route_of(row: RouteRow, links: Links) -> Route:
    """Return a row of ours as a resource."""
    prefix = prefix_of(row)
    plain = (
        not row.hops and bool(row.gateway) and row.type == UNICAST and row.metric == DEFAULT_METRIC[prefix.version]
    )
    return Route(
        prefix,
        _address(row.gateway, row.family),
        links.name(row.link) if plain else "",
        bool(row.flags & ONLINK),
        ip_address(row.source) if row.source else None,
    )


def foreign_route(row: RouteRow, links: Links) -> str:
    """Return a row that is not ours as a sentence in the words of ``ip route``."""
    via = f" via {ip_address(row.gateway)}" if row.gateway else ""
    dev = f" dev {links.name(row.link)}" if row.link else ""
    several = " and more" if row.hops else ""
    metric = f" metric {row.metric}" if row.metric else ""
    return f"kernel {_TYPES.get(row.type, '')}route{via}{dev}{several} proto {protocol_name(row.protocol)}{metric}"


def tunnel_of(row: LinkRow, links: Links) -> Tunnel | IpTunnel:
    """Return a link of ours as a resource; one that is down has the MTU 0 or no ends, one that is no tunnel the VNI 0."""
    if row.ipip is not None:
        local, remote = row.ipip if row.up else (None, None)
        return IpTunnel(row.name, local or IPv4Address(0), remote or IPv4Address(0))
    vxlan = row.vxlan
    if vxlan is None:
        return Tunnel(row.name, 0, 0, IPv4Address(0), row.mac, row.mtu)
    return Tunnel(
        row.name,
        vxlan.vni,
        vxlan.port,
        vxlan.local or IPv4Address(0),
        row.mac,
        row.mtu if row.up else 0,
        links.name(vxlan.underlay) if vxlan.underlay else None,
    )


def foreign_address(row: AddressRow, links: Links) -> str:
    """Return an address that is not ours as a sentence."""
    return f"address {row.interface} dev {links.name(row.link)} (not ours)"


def foreign_link(row: LinkRow) -> str:
    """Return a link that is not ours as a sentence."""
    kind = f" {row.kind}" if row.kind else ""
    whose = f", alias {row.alias}" if row.alias else ""
    return f"link {row.name}{kind} (not ours{whose})"


def neighbor_of(row: NeighborRow, links: Links) -> Neighbor:
    """Return an ARP or NDP row as a resource."""
    return Neighbor(links.name(row.link), ip_address(row.destination), mac_text(row.mac))


def foreign_neighbor(row: NeighborRow, links: Links) -> str:
    """Return a permanent neighbor that is not ours as a sentence."""
    mac = f" lladdr {mac_text(row.mac)}" if row.mac else ""
    return (
        f"neighbor {ip_address(row.destination)}{mac} dev {links.name(row.link)} "
        f"proto {protocol_name(row.protocol)} permanent"
    )


def fdb_of(row: NeighborRow, links: Links) -> FdbEntry:
    """Return an FDB row as a resource."""
    return FdbEntry(links.name(row.link), mac_text(row.mac), ip_address(row.destination))
