"""Everything that may be wished for on a NetScaler, in both IP versions."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_interface, ip_network

from isthmus.model.resources import (
    ANYWHERE,
    ZERO_MAC,
    AnyResource,
    FdbEntry,
    IpTunnel,
    Neighbor,
    PolicyRoute,
    Route,
    SourceAddress,
    SourceProfile,
    Tunnel,
)

from ..bench import services

LOCAL = ip_address("192.0.2.1")
V4, V6 = ip_address("198.18.0.1"), ip_address("2001:db8:f::1")


def tunnel(vni: int = 7001) -> Tunnel:
    return Tunnel(f"isth{vni}", vni, 47001, LOCAL, "02:00:00:00:70:01", 1450, "vlan1")


def node(number: int, link: str = "isth7001") -> list[AnyResource]:
    """Return what one node needs, on all paths at once."""
    vtep, mac = ip_address(f"192.0.2.{number}"), f"02:00:00:00:71:{number:02x}"
    four, six = ip_address(f"198.18.0.{number}"), ip_address(f"2001:db8:f::{number:x}")
    return [
        FdbEntry(link, ZERO_MAC, vtep),
        FdbEntry(link, mac, vtep),
        Neighbor(link, four, mac, vtep),
        Neighbor(link, six, mac, vtep),
        Route(ip_network(f"10.244.{number}.0/24"), four, link),
        Route(ip_network(f"10.245.{number}.0/24"), vtep, "vlan1"),
        Route(ip_network(f"2001:db8:f{number:x}::/64"), six, link),
        Route(ip_network(f"2001:db8:e{number:x}::/64"), ip_address(f"2001:db8::{number:x}"), "vlan1"),
        PolicyRoute(V4, ip_network(f"10.246.{number}.0/24"), link, four),
        PolicyRoute(V6, ip_network(f"2001:db8:a{number:x}::/64"), link, six),
    ]


def overlay(numbers: Sequence[int] = (11, 12)) -> list[AnyResource]:
    """Return a tunnel with its addresses and nodes."""
    base: list[AnyResource] = [
        tunnel(),
        SourceAddress(ip_interface(f"{V4}/24"), "isth7001"),
        SourceAddress(ip_interface(f"{V6}/64"), "isth7001"),
        SourceProfile(V4),
        SourceProfile(V6),
        IpTunnel("isti1", LOCAL, ip_address("192.0.2.77")),
        SourceAddress(ip_interface("10.200.0.254/32"), ANYWHERE),
        PolicyRoute(LOCAL, ip_network("10.247.0.0/24"), "isti1"),
        PolicyRoute(ip_address("10.200.0.254"), ip_network("10.248.0.0/24"), "isti1"),
    ]
    return [*base, *(one for number in numbers for one in node(number))]


def balanced() -> list[AnyResource]:
    """Return virtual servers of every shape that a NetScaler has, and their addresses."""
    return [one for one in services() if getattr(one, "protocol", "") != "sctp"]


def everything() -> list[AnyResource]:
    return [*overlay(), *balanced()]
