"""What a NetScaler can have, how it spells it, and what its names say."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isthmus.drivers.netscaler.adapt import Spelling, adapt
from isthmus.drivers.netscaler.facts import pick_mac
from isthmus.drivers.netscaler.intents import line_of, read_intents
from isthmus.drivers.netscaler.names import Names
from isthmus.drivers.netscaler.shapes import objects_of
from isthmus.model.resources import (
    AnyResource,
    FdbEntry,
    HealthCheck,
    IpTunnel,
    Member,
    MssClamp,
    Neighbor,
    Partial,
    PolicyRoute,
    PortFilter,
    Route,
    SourceAddress,
    Tunnel,
    VirtualAddress,
    VirtualServer,
)

V4, V6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
MAC = "02:00:00:00:00:01"
NAMES = Names("main")
BY = Spelling(NAMES, (14, 1, 29), MAC)
NET4, NET6 = ip_network("10.0.0.0/24"), ip_network("2001:db8:1::/64")


@pytest.mark.parametrize(
    ("resource", "word"),
    [
        (VirtualServer(V4, "sctp", 80), "does not balance sctp"),
        (VirtualServer(V4, "tcp", 0), "port 0"),
        (VirtualServer(V4, "tcp", 80, (Member(V6, 80),)), "different IP versions"),
        (VirtualServer(V4, "tcp", 80, (Member(V4, 80, 101),)), "weight 101"),
        (VirtualServer(V4, "tcp", 80, (Member(V4, 80), Member(V4, 80, 0))), "named twice"),
        (VirtualServer(V4, "tcp", 80, (), V6), "different IP versions"),
        (VirtualAddress(V4, "vlan1", lapses=True), "lapses by itself"),
        (MssClamp("isth0", 1450), "no MSS"),
        (PortFilter(4789, ()), "cannot be filtered"),
        (Neighbor("isth0", V4, MAC), "needs its tunnel end"),
        (Neighbor("isth0", V4, "x", V4), "not a MAC"),
        (FdbEntry("isth0", "02:00:00:00:00", V4), "not a MAC"),
        (Tunnel("isth0", 1 << 24, 4789, V4, MAC, 1450), "VNI"),
        (Tunnel("isth0", 1, 65535, V4, MAC, 1450), "port 65535"),
        (Tunnel("a name", 1, 4789, V4, MAC, 1450), "tunnel's name"),
        (IpTunnel("isti0", V6, V6), "IPv4 over IPv4"),
        (Route(NET4, V6, "vlan1"), "different IP versions"),
        (PolicyRoute(V6, NET4, "isth0", V4), "different IP versions"),
        (PolicyRoute(V6, NET6, "isti0"), "needs a next hop"),
        (Partial("vip 192.0.2.1", 70, "all of it"), "nobody can want"),
    ],
)
def test_what_it_cannot_have_is_refused_with_a_reason(resource: AnyResource, word: str) -> None:
    """By value alone, before anything is written."""
    adapted = adapt({resource.identity: resource}, BY)
    assert not adapted.resources
    assert word in adapted.refused[resource.identity]


def test_an_old_release_and_a_device_without_balancing_refuse_what_they_lack() -> None:
    """VXLAN came with 11.0; without LB there are no virtual servers."""
    tunnel = Tunnel("isth1", 1, 4789, V4, MAC, 1450)
    assert "no VXLAN" in adapt({"t": tunnel}, Spelling(NAMES, (10, 5, 1))).refused["t"]
    assert (
        "enable ns feature LB" in adapt({"v": VirtualAddress(V4, "*")}, Spelling(NAMES, balances=False)).refused["v"]
    )


def test_what_it_tells_less_of_is_spelled_as_it_reads() -> None:
    """Its own MAC and no MTU for tunnels, no link for VIPs, no sender for routes; members in order, with its check."""
    wished: list[AnyResource] = [
        Tunnel("isth1", 1, 4789, V4, "02:00:00:00:99:99", 9000, "vlan7"),
        VirtualAddress(V4, "vlan7"),
        Route(NET4, V4, "vlan1", onlink=True, source=V4),
        FdbEntry("isth1", "02-AA-00-00-00-01", V4),
        VirtualServer(V4, "tcp", 80, (Member(ip_address("10.0.0.2"), 80), Member(ip_address("10.0.0.1"), 80))),
    ]
    check = HealthCheck(7, 3, 2)
    spelled = adapt({one.identity: one for one in wished}, Spelling(NAMES, (14, 1, 1), MAC, check)).resources
    assert list(spelled.values()) == [
        Tunnel("isth1", 1, 4789, V4, MAC, 1450),
        VirtualAddress(V4, "*"),
        Route(NET4, V4, "vlan1"),
        FdbEntry("isth1", "02:aa:00:00:00:01", V4),
        VirtualServer(
            V4, "tcp", 80, (Member(ip_address("10.0.0.1"), 80), Member(ip_address("10.0.0.2"), 80)), check=check
        ),
    ]
    assert adapt(spelled, Spelling(NAMES, (14, 1, 1), MAC, check)).resources == spelled


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
installations = st.from_regex(r"[a-z0-9_]{1,24}", fullmatch=True)


@given(installations, addresses, st.integers(0, 65535), st.sampled_from(["tcp", "udp"]))
def test_a_name_says_what_it_stands_for(installation: str, address: object, port: int, protocol: str) -> None:
    """Each name reads back to what it was made from, is short enough, and needs no escaping."""
    names = Names(installation)
    server = VirtualServer(address, protocol, port)  # type: ignore[arg-type]
    name = names.server(server)
    assert names.read_server(name) == server
    assert len(name) <= 127
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789_.-")
    assert names.read_profile(names.profile(server.address)) == server.address
    check = HealthCheck(3600, 3599, 127)
    monitor = names.monitor(check, "udp")
    assert len(monitor) <= 31
    assert names.read_monitor(monitor) == check


@given(installations, installations, addresses, st.integers(1, 65535))
@example("a_b", "a", ip_address("203.0.113.10"), 80)
def test_no_installation_reads_anothers_names(one: str, other: str, address: object, port: int) -> None:
    """Whatever two installations are called, a name of the one is none of the other."""
    if one == other:
        return
    server = VirtualServer(address, "tcp", port)  # type: ignore[arg-type]
    assert Names(other).read_server(Names(one).server(server)) is None
    assert Names(other).read_profile(Names(one).profile(server.address)) is None


@given(st.text(max_size=60))
def test_no_text_breaks_the_reading_of_names_and_lines(text: str) -> None:
    """Names and lines that others have made are nobody's; reading them never fails."""
    for name in (text, f"isth_main_{text}"):
        NAMES.read_server(name)
        NAMES.read_profile(name)
        NAMES.read_policy_route(name)
        NAMES.read_ip_tunnel(name)
        NAMES.read_monitor(name)
    for kind in ("vxlan", "snip", "route", "vip", "writer"):
        read_intents([text, f"{kind} {text}", f"{kind} {text} {text}"])


def test_lines_say_what_they_mark() -> None:
    """A tunnel with its name, an address with its subnet and link, a route with its gateway."""
    things = [
        Tunnel("isth7", 7, 4789, V4, MAC, 1450),
        SourceAddress(ip_interface("198.18.0.1/24"), "isth7"),
        Route(NET6, V6, "vlan1"),
        VirtualAddress(V6, "*"),
    ]
    lines = [line_of(one) for one in things]
    assert lines == [
        "vxlan 7 isth7",
        "snip 198.18.0.1/24 isth7",
        "route 2001:db8:1::/64 2001:db8::1",
        "vip 2001:db8::1",
    ]
    intents = read_intents(line for line in lines if line)
    assert intents.vni("isth7") == 7
    assert intents.link_of(ip_address("198.18.0.77")) == "isth7"
    assert intents.link_of(ip_address("198.18.1.77")) is None


def test_policy_routes_are_told_a_range() -> None:
    """A prefix is its first and last address, one address is itself."""
    [wide] = objects_of(PolicyRoute(V4, NET4, "isth0", V4), NAMES, lambda link: 1)
    assert wide.get("destipval") == "10.0.0.0-10.0.0.255"
    [one] = objects_of(PolicyRoute(V4, ip_network("10.0.0.9/32"), "isth0", V4), NAMES, lambda link: 1)
    assert one.row()["destipval"] == "10.0.0.9"
    assert one.row()["action"] == "ALLOW"


def test_the_mac_is_that_of_the_first_data_port() -> None:
    """Not the management port's, nor the loopback's; of a device with nothing else, the management port's."""
    rows = [
        {"id": "LO/1", "mac": "00:00:00:00:00:00"},
        {"id": "0/1", "mac": "02:00:00:00:00:0A"},
        {"id": "10/1", "mac": "02:00:00:00:00:0B"},
        {"id": "1/2", "mac": "02:00:00:00:00:0C"},
    ]
    assert pick_mac(rows) == "02:00:00:00:00:0c"
    assert pick_mac(rows[:2]) == "02:00:00:00:00:0a"
    assert pick_mac(rows[:1]) == ""
