"""What an appliance that carries packets decides before it touches a kernel: places, ways, sources, whose turn it is."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from isthmus.lab.adc.choosing import Chooser
from isthmus.lab.adc.places import Places, places
from isthmus.lab.adc.plans import Member, probes, services
from isthmus.lab.adc.routing import Roads, roads, source
from isthmus.lab.adc.wiring import Cable, Wiring
from isthmus.lab.nitro import Appliance

WIRING = Wiring(
    "",
    (
        Cable("1/1", "front", "02:00:00:00:00:01", (ip_network("203.0.113.0/24"), ip_network("2001:db8:f::/64"))),
        Cable("1/2", "under", "02:00:00:00:00:02", (ip_network("192.0.2.0/24"), ip_network("2001:db8:1::/64")), 1400),
    ),
)
MANAGEMENT = ip_interface("192.0.2.241/24")


@pytest.fixture
def device() -> Appliance:
    """Return a device with load balancing on and an address towards the clients."""
    made = Appliance(address="192.0.2.241")
    made.write("POST", "nsfeature", {"nsfeature": {"feature": ["LB"]}}, "action=enable")
    add(made, "nsip", ipaddress="203.0.113.11", netmask="255.255.255.0")
    return made


def add(device: Appliance, kind: str, **fields: Any) -> None:
    device.write("POST", kind, {kind: fields})


def look(device: Appliance, *, primary: bool = True) -> tuple[Places, Roads]:
    where = places(device.running, WIRING, MANAGEMENT, primary=primary)
    return where, roads(device.running, WIRING, where)


def lines(found: Places | Roads) -> list[str]:
    return [line for thing in found.things.values() for line in thing.make]


def overlay(device: Appliance, *, mask: str = "255.255.255.0", bound: bool = True) -> None:
    add(device, "vxlan", id=200, port=8466)
    add(device, "vxlan_srcip_binding", id=200, srcip="192.0.2.241")
    add(device, "nsip", ipaddress="192.168.253.1", netmask=mask)
    if bound:
        add(device, "vxlan_nsip_binding", id=200, ipaddress="192.168.253.1")


def test_addresses_lie_where_their_segment_is(device: Appliance) -> None:
    """A subnet address has its mask on its cable, a virtual one is a host there, and one of no segment is on the loopback."""
    add(device, "nsip", ipaddress="203.0.113.130", netmask="255.255.255.255", type="VIP")
    add(device, "nsip", ipaddress="198.18.0.1", netmask="255.255.255.255", type="VIP")
    where, _ = look(device)
    found = {str(place.interface): place.link for place in where.addresses}
    assert found == {
        "192.0.2.241/24": "under",
        "203.0.113.11/24": "front",
        "203.0.113.130/32": "front",
        "198.18.0.1/32": "lo",
    }
    assert [str(p.interface) for p in look(device, primary=False)[0].addresses] == ["192.0.2.241/24"]


def test_a_vxlan_needs_a_source_and_takes_its_cables_mtu(device: Appliance) -> None:
    """Without a source address there is no link; with one it starts there, as wide as the narrowest cable allows."""
    add(device, "vxlan", id=7, port=4790)
    assert look(device)[0].tunnels == {}
    add(device, "vxlan_srcip_binding", id=7, srcip="192.0.2.241")
    [link] = [line for line in lines(look(device)[0]) if line.startswith("link add")]
    assert "vx7 address 02:00:00:00:00:01 mtu 1350 type vxlan id 7 local 192.0.2.241 dstport 4790" in link
    assert link.endswith("dev under")


@pytest.mark.parametrize("bound", [True, False])
def test_a_route_without_a_way_to_its_gateway_is_unreachable(device: Appliance, bound: bool) -> None:
    """A gateway in an overlay is reached if its subnet lies in the VXLAN; else packets are not left to the default route."""
    overlay(device, bound=bound)
    add(device, "route", network="10.244.1.0", netmask="255.255.255.0", gateway="192.168.253.101")
    where, ways = look(device)
    [line] = [line for line in lines(ways) if "10.244.1.0/24" in line]
    good = "route replace 10.244.1.0/24 src 192.168.253.1 via 192.168.253.101 dev vx200"
    assert line == (good if bound else "route replace unreachable 10.244.1.0/24")
    assert source(ip_address("10.244.1.9"), where, ways) == ip_address("192.168.253.1")


def test_a_static_neighbor_leads_into_a_vxlan_that_its_subnet_is_not_bound_to(device: Appliance) -> None:
    """Before there were bindings, an ARP entry with VXLAN and VTEP was enough; it is here, and only within a subnet."""
    overlay(device, bound=False)
    for address in ("192.168.253.101", "192.168.254.7"):
        add(device, "arp", ipaddress=address, mac="02:00:00:aa:00:01", vxlan="200", vtep="192.0.2.1")
    found = lines(look(device)[1])
    assert "route replace 192.168.253.101/32 dev vx200 scope link src 192.168.253.1" in found
    assert not any(line.startswith("route") and "192.168.254.7" in line for line in found)
    assert "fdb replace 02:00:00:aa:00:01 dev vx200 dst 192.0.2.1 self permanent" in found


def test_what_stands_on_a_link_is_made_anew_with_it(device: Appliance) -> None:
    """Another port makes another link of the same name; its addresses, routes and entries are other things, too."""
    overlay(device)
    add(device, "bridgetable", mac="00:00:00:00:00:00", vxlan="200", vtep="192.0.2.1")
    add(device, "route", network="10.244.1.0", netmask="255.255.255.0", gateway="192.168.253.101")
    before = look(device)
    device.write("PUT", "vxlan", {"vxlan": {"id": 200, "port": 8467}})
    after = look(device)
    for old, new in zip(before, after, strict=True):
        assert old.things.keys() == new.things.keys()
        for key, thing in old.things.items():
            on_it = "vx200" in " ".join(thing.make)
            assert (new.things[key] != thing) is on_it, key


def test_policy_routes_are_rules_of_what_was_applied(device: Appliance) -> None:
    """Nothing before `apply`; then a rule for each part of a range, and a table that leads to the next hop or nowhere."""
    add(device, "nsip", ipaddress="192.0.2.220", netmask="255.255.255.0")
    common = {"action": "ALLOW", "srcip": True, "srcipop": "=", "destip": True, "destipop": "=", "nexthop": True}
    add(
        device,
        "nspbr",
        name="a",
        srcipval="192.0.2.220",
        destipval="10.0.0.0-10.0.2.255",
        nexthopval="192.0.2.1",
        **common,
    )
    add(device, "nspbr", name="b", srcipval="192.0.2.220", destipval="10.9.0.1", nexthopval="172.16.0.1", **common)
    ported = {"action": "ALLOW", "nexthop": True, "nexthopval": "192.0.2.1", "destport": True, "destportval": "80"}
    add(device, "nspbr", name="c", **ported)
    assert not any("table" in line or "rule" in line for line in lines(look(device)[1]))
    device.write("POST", "nspbrs", {"nspbrs": {}}, "action=apply")
    ways = look(device)[1]
    assert [line for line in lines(ways) if "table" in line or "rule" in line] == [
        "route replace default via 192.0.2.1 dev under table 100010",
        "rule add pref 1010 from 192.0.2.220/32 to 10.0.0.0/23 lookup 100010",
        "rule add pref 1010 from 192.0.2.220/32 to 10.0.2.0/24 lookup 100010",
        "route replace unreachable default table 100020",
        "rule add pref 1020 from 192.0.2.220/32 to 10.9.0.1/32 lookup 100020",
    ]
    assert ways.unread == ["c"]


def test_sources_of_traffic_and_of_probes(device: Appliance) -> None:
    """The group's net profile counts for both; the virtual server's for its traffic alone; a monitor's for its probes."""
    for last in (220, 221, 222):
        add(device, "nsip", ipaddress=f"192.0.2.{last}", netmask="255.255.255.0")
        add(device, "netprofile", name=f"p{last}", srcip=f"192.0.2.{last}")
    add(device, "lbmonitor", monitorname="m", type="TCP", netprofile="p222", interval=500, units3="MSEC")
    for name, group, server in (
        ("a", {}, {"netprofile": "p221"}),
        ("b", {"netprofile": "p220"}, {"netprofile": "p221"}),
    ):
        add(device, "servicegroup", servicegroupname=name, servicetype="TCP", **group)
        add(device, "servicegroup_servicegroupmember_binding", servicegroupname=name, ip="192.0.2.9", port=80)
        number = {"a": 130, "b": 131}[name]
        given = {"servicetype": "TCP", "ipv46": f"203.0.113.{number}", "port": 80}
        add(device, "lbvserver", name=name, **given, **server)
        add(device, "lbvserver_servicegroup_binding", name=name, servicegroupname=name)
    add(device, "servicegroup_lbmonitor_binding", servicegroupname="b", monitor_name="m")
    where, ways = look(device)
    served = services(device.running, where, ways)
    assert [str(served[name].members[0].sources[0]) for name in "ab"] == ["192.0.2.221", "192.0.2.220"]
    asked = {name[0]: probe for name, [probe] in probes(device.running, where, ways).items()}
    assert (str(asked["a"].source), asked["a"].interval) == ("192.0.2.220", 5.0)
    assert (str(asked["b"].source), asked["b"].interval) == ("192.0.2.222", 0.5)


def member(name: str, weight: int = 1) -> Member:
    return Member((name, name, 80), ip_address("192.0.2.9"), 80, weight, (), True)


def test_round_robin_is_smooth_and_by_weight() -> None:
    """Weights 3 and 1 share four turns as they say and never leave the lighter one out of five in a row."""
    chooser, members = Chooser(), [member("a", 3), member("b")]
    turns = [chooser.choose("ROUNDROBIN", members, ip_address("203.0.113.20")) for _ in range(12)]
    names = "".join(str(chosen.name[0]) for chosen in turns if chosen is not None)
    assert names.count("b") == 3
    assert "aaaa" not in names
    assert chooser.choose("ROUNDROBIN", [], ip_address("203.0.113.20")) is None


def test_by_source_address_a_change_of_members_moves_few() -> None:
    """Every client keeps its member when another one goes, and those of the one that went are spread."""
    chooser, members = Chooser(), [member(name) for name in "abcd"]
    clients = [ip_address("198.51.100.0") + number for number in range(400)]
    before = {client: chooser.choose("SOURCEIPHASH", members, client) for client in clients}
    after = {client: chooser.choose("SOURCEIPHASH", members[1:], client) for client in clients}
    assert all(after[client] == kept for client, kept in before.items() if kept != members[0])
    assert min(Counter(str(kept) for kept in before.values()).values()) > 60


def test_least_connections_counts_by_weight() -> None:
    """Of weights 1 and 2 with one connection each, the heavier has room."""
    chooser, members = Chooser(), [member("a"), member("b", 2)]
    chooser.active.update({members[0].name: 1, members[1].name: 1})
    assert chooser.choose("LEASTCONNECTION", members, ip_address("203.0.113.20")) == members[1]


def test_a_client_stays_while_it_comes_back_in_time() -> None:
    """With persistence a client keeps its member for so long after its last visit."""
    chooser, members, client = Chooser(), [member("a"), member("b")], ip_address("203.0.113.20")
    first = chooser.choose("ROUNDROBIN", members, client, persistence=10, now=0)
    assert all(chooser.choose("ROUNDROBIN", members, client, persistence=10, now=9.0 * n) == first for n in range(3))
    assert chooser.choose("ROUNDROBIN", members, client, persistence=10, now=100) != first
