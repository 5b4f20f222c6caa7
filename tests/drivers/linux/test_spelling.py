"""What the Linux gateway cannot have is declined by value, with a sentence, before anything is written."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from isthmus.drivers.linux.spelling import adapt, replaces
from isthmus.model.resources import (
    AnyResource,
    FdbEntry,
    IpTunnel,
    Member,
    MssClamp,
    Neighbor,
    Partial,
    PolicyRoute,
    PortFilter,
    Route,
    SourceAddress,
    SourceProfile,
    Tunnel,
    VirtualAddress,
    VirtualServer,
)

from ..bench import by_identity, everything

V4, V6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
MAC = "02:00:00:00:00:01"
POD = Member(ip_address("10.0.0.1"), 80)


def test_what_the_kernel_cannot_change_in_place_is_said() -> None:
    """A VXLAN link keeps VNI, port, local address and underlay for life; IPv6 knows an address once per link."""
    tunnel = Tunnel("isth0", 1, 4789, V4, MAC, 1450)
    assert replaces(tunnel, Tunnel("isth0", 2, 4790, V4, MAC, 1450)) == "its VNI and its port"
    assert replaces(tunnel, Tunnel("isth0", 1, 4789, V6, MAC, 1450, "eth0")) == "its local address and its underlay"
    assert replaces(tunnel, Tunnel("isth0", 1, 4789, V4, "02:00:00:00:00:02", 1400)) == ""

    def moved(before: str, after: str, link: str = "isth0") -> str:
        return replaces(SourceAddress(ip_interface(before), "isth0"), SourceAddress(ip_interface(after), link))

    assert moved("2001:db8::1/64", "2001:db8::1/60") == "its prefix length"
    assert moved("2001:db8::1/64", "2001:db8::1/60", "isth1") == moved("10.0.0.1/24", "10.0.0.1/16") == ""
    ends = IpTunnel("isth0", V4, POD.address)
    assert (replaces(ends, IpTunnel("isth0", V4, V4)), replaces(ends, tunnel)) == ("its ends", "its kind")
    route = Route(ip_network("10.0.0.0/24"), V4, "isth0")
    assert replaces(route, Route(ip_network("10.0.0.0/24"), V4, "eth0")) == ""


@pytest.mark.parametrize(
    ("resource", "word"),
    [
        (Tunnel("a-name-too-long-", 1, 4789, V4, MAC, 1450), "link's name"),
        (Tunnel("", 1, 4789, V4, MAC, 1450), "link's name"),
        (Tunnel("a/b", 1, 4789, V4, MAC, 1450), "link's name"),
        (Tunnel("..", 1, 4789, V4, MAC, 1450), "link's name"),
        (Tunnel("isth0", 0, 4789, V4, MAC, 1450), "VNI 0"),
        (Tunnel("isth0", 1 << 24, 4789, V4, MAC, 1450), "VNI"),
        (Tunnel("isth0", 1, 70000, V4, MAC, 1450), "port 70000"),
        (Tunnel("isth0", 1, 4789, V4, MAC, 100), "MTU 100"),
        (Tunnel("isth0", 1, 4789, V4, "02:00", 1450), "not a MAC"),
        (Tunnel("isth0", 1, 4789, V4, "01:00:5e:00:00:01", 1450), "group"),
        (Tunnel("isth0", 1, 4789, V4, MAC, 1450, "no such link"), "link's name"),
        (SourceAddress(ip_interface("10.0.0.1/24"), "a b"), "link's name"),
        (MssClamp("isth0", 70000), "MTU 70000"),
        (PortFilter(0, ()), "port 0"),
        (FdbEntry("isth0", "x", V4), "not a MAC"),
        (Neighbor("isth0", V4, ""), "not a MAC"),
        (Neighbor("isth0", V4, MAC, V4), "FDB entry of its own"),
        (PolicyRoute(V4, ip_network("10.0.0.0/24"), "eth0", V4), "no policy routes"),
        (SourceProfile(V4), "no profiles"),
        (IpTunnel("isth0", V4, V4), "needs two ends"),
        (IpTunnel("isth0", V6, V4), "IPv4 ends"),
        (IpTunnel("a/b", V4, POD.address), "link's name"),
        (Partial("route 10.0.0.0/24", 40, "a half"), "only observed"),
        (Route(ip_network("10.0.0.0/24"), V6, "isth0"), "different IP versions"),
        (Route(ip_network("10.0.0.0/24"), V4, "isth0", source=V6), "different IP versions"),
        (VirtualServer(V4, "tcp", 0, (POD,)), "port 0"),
        (VirtualServer(V6, "tcp", 80, (POD,)), "different IP versions"),
        (VirtualServer(V4, "tcp", 80, (POD,), V6), "different IP versions"),
        (VirtualServer(V4, "tcp", 80, (Member(POD.address, 0),)), "member port 0"),
        (VirtualServer(V4, "tcp", 80, (Member(POD.address, 80, -1),)), "weight -1"),
        (VirtualServer(V4, "tcp", 80, (POD, Member(POD.address, 80, 2))), "twice"),
        (
            VirtualServer(V4, "tcp", 80, tuple(Member(ip_address(0x0A000000 + n), 80) for n in range(421))),
            "421 members, and this gateway has 420 slots",
        ),
    ],
)
def test_what_cannot_be_is_declined(resource: AnyResource, word: str) -> None:
    """The reason says what is wrong, and the rest of the wish stands."""
    good = Route(ip_network("10.9.0.0/24"), V4, "isth0")
    adapted = adapt(by_identity(resource, good), ipv6=True)
    assert list(adapted.refused) == [resource.identity]
    assert word in adapted.refused[resource.identity]
    assert list(adapted.resources) == [good.identity]


def test_a_host_without_ipv6_declines_what_needs_it() -> None:
    """On such a host the IPv4 half of everything stands and the IPv6 half says why not."""
    desired = everything("up0")
    adapted = adapt(desired, ipv6=False)
    assert set(adapted.resources) | set(adapted.refused) == set(desired)
    assert {"route 10.244.11.0/24", "vip 203.0.113.10"} <= set(adapted.resources)
    assert {"route 2001:db8:fb::/64", "vip 2001:db8:cafe::10", "source 2001:db8:f::1"} <= set(adapted.refused)


def test_spelling_is_one() -> None:
    """Case of a MAC and order of members and senders do not matter; spelling what is spelled changes nothing."""
    other = Member(ip_address("10.0.0.2"), 80)
    wanted = by_identity(
        Neighbor("isth0", V4, "02:00:00:AA:BB:CC"),
        VirtualServer(V4, "tcp", 80, (other, POD, other)),
        PortFilter(4789, (V6, V4, V4)),
        VirtualAddress(V4, "lo"),
    )
    adapted = adapt(wanted, ipv6=True)
    assert adapted.resources["neighbor isth0 192.0.2.1"] == Neighbor("isth0", V4, "02:00:00:aa:bb:cc")
    assert adapted.resources["virtual-server 192.0.2.1:80/tcp"] == VirtualServer(V4, "tcp", 80, (POD, other))
    assert adapted.resources["port-filter udp/4789"] == PortFilter(4789, (V4, V6))
    assert adapt(adapted.resources, ipv6=True) == adapted
