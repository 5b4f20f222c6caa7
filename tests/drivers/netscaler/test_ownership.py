"""What is not ours is told and never touched: a person's objects, and those of another installation."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from isthmus.drivers.netscaler.driver import NetScalerDriver
from isthmus.drivers.netscaler.ledger import ROOM
from isthmus.model.plan import Change
from isthmus.model.resources import Partial, Route, SourceAddress, Tunnel, VirtualAddress, VirtualServer

from ..bench import adoptions, by_identity, changes_between, converge, outcomes, settle
from . import things
from .yard import AdcHand, Yard

PEOPLES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("vxlan", {"id": 7001, "port": 4789}),
    ("bridgetable", {"mac": "02:aa:00:00:00:01", "vxlan": 7001, "vtep": "192.0.2.200"}),
    ("arp", {"ipaddress": "192.0.2.130", "mac": "02:aa:00:00:00:02"}),
    ("route", {"network": "10.244.11.0", "netmask": "255.255.255.0", "gateway": "192.0.2.254"}),
    ("nsip", {"ipaddress": "198.18.0.1", "netmask": "255.255.255.0", "type": "SNIP"}),
    ("nsip", {"ipaddress": "203.0.113.10", "netmask": "255.255.255.255", "type": "VIP"}),
    ("servicegroup", {"servicegroupname": "old_app", "servicetype": "TCP"}),
    ("lbvserver", {"name": "old_app", "servicetype": "TCP", "ipv46": "203.0.113.11", "port": 80}),
    ("lbvserver_servicegroup_binding", {"name": "old_app", "servicegroupname": "old_app"}),
    ("netprofile", {"name": "isth_main_b_198.18.0.1", "srcip": "198.18.0.1"}),
    ("policypatset", {"name": "isth_main_b_ledger"}),
)


async def opened(yard: Yard, **more: Any) -> NetScalerDriver:
    driver = yard.driver(**more)
    await driver.open()
    await driver.prepare()
    return driver


def held(yard: Yard) -> dict[tuple[str, Any], dict[str, Any]]:
    tables = yard.device.running.tables
    return {(kind, key): dict(row) for kind, table in tables.items() for key, row in table.items()}


async def test_a_persons_objects_outlive_all_that_we_wish_for_in_their_place(yard: Yard) -> None:
    """Wishes at taken places are refused with what stands there; everybody's objects stay exactly as they are."""
    hand = AdcHand(yard.device)
    for kind, row in PEOPLES:
        hand.add(kind, **row)
    before = held(yard)
    driver = await opened(yard)
    wanted = driver.adapt(by_identity(*things.everything())).resources
    observed = await driver.observe()
    assert not observed.resources
    taken = {"tunnel isth7001", "source 198.18.0.1", "route 10.244.11.0/24", "vip 203.0.113.10"}
    assert taken <= set(observed.foreign)
    results = {one.change.identity: one for one in await outcomes(driver, changes_between({}, wanted))}
    for identity in taken:
        assert results[identity].result == "refused", identity
        assert "not ours" in results[identity].reason
    assert results["virtual-server 203.0.113.10:80/tcp"].result == "refused", "its VIP is a person's"
    await settle(driver, {})
    await driver.vacate()
    assert held(yard) == before
    await driver.close()


async def test_equal_is_not_ours(yard: Yard) -> None:
    """What stands exactly as wanted is a conflict all the same, until an order takes it over; no line is left of the try."""
    route = Route(ip_network("10.245.11.0/24"), ip_address("192.0.2.11"), "vlan1")
    AdcHand(yard.device).add_foreign_route(route)
    driver = await opened(yard)
    [result] = await outcomes(driver, [Change("create", route.identity, None, route)])
    assert result.result == "refused"
    await driver.close()
    again = await opened(yard, epoch=2)
    observed = await again.observe()
    assert route.identity in observed.foreign, "after a restart it is still theirs"
    results = await outcomes(again, adoptions(by_identity(route), observed.foreign))
    assert [one.result for one in results] == ["done"]
    assert dict((await again.observe()).resources) == by_identity(route)
    await again.close()


async def test_a_foreign_virtual_server_is_told_by_its_place(yard: Yard) -> None:
    """It is named at its address and port, is never taken over, and its VIP is not ours while it uses it."""
    hand = AdcHand(yard.device)
    hand.add("lbvserver", name="web", servicetype="HTTP", ipv46="203.0.113.10", port=80)
    driver = await opened(yard)
    server = VirtualServer(ip_address("203.0.113.10"), "tcp", 80)
    observed = await driver.observe()
    assert "lbvserver web HTTP" in observed.foreign[server.identity]
    [result] = await outcomes(driver, adoptions(by_identity(server), observed.foreign))
    assert result.result == "refused"
    assert "remove it on the device" in result.reason
    assert [row["name"] for row in yard.rows("lbvserver")] == ["web"]
    await driver.close()


async def test_without_its_ledger_a_new_process_guesses_nothing(yard: Yard) -> None:
    """A lost ledger is written again by who knows; after a restart what had its mark there is foreign."""
    driver = await opened(yard)
    wanted = by_identity(*things.everything())
    await settle(driver, wanted)
    yard.device.write("DELETE", "policypatset/isth_main_ledger")
    assert await converge(driver, wanted) == [], "it is still known whose these are"
    more = by_identity(*things.everything(), *things.node(13))
    await settle(driver, more)
    lines = {row["string"] for row in yard.rows("policypatset_pattern_binding")}
    assert {"vxlan 7001 isth7001", "route 10.245.11.0/24 192.0.2.11"} <= lines
    await driver.close()
    yard.device.write("DELETE", "policypatset/isth_main_ledger")
    again = await opened(yard, epoch=2)
    observed = await again.observe()
    assert {"tunnel isth7001", "route 10.245.11.0/24"} <= set(observed.foreign)
    await again.close()


async def test_a_line_without_its_object_marks_nothing(yard: Yard) -> None:
    """A crash between line and object leaves a line: the next write removes it, and nobody's route becomes ours by it."""
    driver = await opened(yard)
    await settle(driver, by_identity(things.tunnel()))
    await driver.close()
    hand = AdcHand(yard.device)
    hand.add("policypatset_pattern_binding", name="isth_main_ledger", string="route 10.9.0.0/16 192.0.2.9")
    again = await opened(yard, epoch=2)
    await settle(again, by_identity(things.tunnel(), SourceAddress(ip_interface("198.18.0.1/24"), "isth7001")))
    assert "route 10.9.0.0/16 192.0.2.9" not in {row["string"] for row in yard.rows("policypatset_pattern_binding")}
    await again.close()


async def test_what_lost_a_part_is_made_whole_or_goes(yard: Yard) -> None:
    """A missing binding, address or switch is seen as such, and mended by what lacks alone."""
    driver = await opened(yard)
    wanted = by_identity(*things.everything())
    await settle(driver, wanted)
    name = "isth_main_203.0.113.10_80_tcp"
    yard.device.write("DELETE", f"lbvserver_servicegroup_binding/{name}", query=f"args=servicegroupname:{name}")
    yard.device.write("PUT", "lbvserver", {"lbvserver": {"name": name, "lbmethod": "LEASTCONNECTION"}})
    yard.device.write("DELETE", "vxlan_nsip_binding/7001", query="args=ipaddress:198.18.0.1,netmask:255.255.255.0")
    yard.device.write("POST", "nspbrs", {"nspbrs": {}}, "action=clear")
    seen = (await driver.observe()).resources
    server = seen["virtual-server 203.0.113.10:80/tcp"]
    assert isinstance(server, Partial)
    assert "lbmethod ROUNDROBIN" in server.missing
    assert isinstance(seen["source 198.18.0.1"], Partial)
    yard.device.faults.reset_counters()
    await settle(driver, wanted)
    assert yard.device.faults.items[("add", "lbvserver_servicegroup_binding")] == 1
    assert yard.device.faults.items[("add", "servicegroup")] == 0
    yard.device.write("DELETE", f"lbvserver/{name}")
    await settle(driver, {})
    assert not yard.rows("servicegroup"), "a part goes, too"
    await driver.close()


async def test_a_vip_answers_only_where_it_is_wished_for(yard: Yard) -> None:
    """A virtual server without its VIP stands and answers nobody; both come and go in any order."""
    driver = await opened(yard)
    vip = VirtualAddress(ip_address("203.0.113.77"), "*")
    server = VirtualServer(vip.address, "tcp", 80)

    def answers() -> list[str]:
        return [str(row["arp"]) for row in yard.rows("nsip") if row["ipaddress"] == "203.0.113.77"]

    await settle(driver, by_identity(server))
    assert answers() == ["DISABLED"]
    await settle(driver, by_identity(server, vip))
    assert answers() == ["ENABLED"]
    await settle(driver, by_identity(server))
    assert answers() == ["DISABLED"]
    await settle(driver, by_identity(server, vip))
    await settle(driver, by_identity(vip))
    assert answers() == ["ENABLED"]
    await settle(driver, {})
    assert answers() == []
    await driver.close()


async def test_a_full_set_is_followed_by_the_next(yard: Yard) -> None:
    """More lines than one set takes go into a second one, are read from both, and go from both."""
    driver = await opened(yard)
    first = int(ip_address("10.0.0.0"))
    wanted = by_identity(
        *(Route(ip_network((first + 256 * n, 24)), ip_address("192.0.2.11"), "vlan1") for n in range(ROOM + 20))
    )
    await settle(driver, wanted)
    sets = [str(row["name"]) for row in yard.rows("policypatset_pattern_binding")]
    assert sets.count("isth_main_ledger") == ROOM
    assert sets.count("isth_main_ledger2") == 21, "with the writer's own line"
    await driver.close()
    again = await opened(yard, epoch=2)
    assert await converge(again, wanted) == []
    await settle(again, {})
    await again.vacate()
    assert not yard.rows("policypatset")
    await again.close()


async def test_a_vni_is_one_tunnel_and_the_ledger_never_names_two(yard: Yard) -> None:
    """A second tunnel with the VNI of ours is refused before anything is noted: a restart finds the first unchanged."""
    first = Tunnel("isthf1", 1, 8472, ip_address("192.0.2.10"), "02:00:00:00:00:01", 1450)
    second = Tunnel("isthf1v6", 1, 8472, ip_address("2001:db8::10"), "02:00:00:00:00:01", 1430)
    driver = await opened(yard)
    wanted = driver.adapt(by_identity(first, second)).resources
    together = {one.change.identity: one for one in await outcomes(driver, changes_between({}, wanted))}
    assert together["tunnel isthf1"].result == "done"
    assert together["tunnel isthf1v6"].result == "refused"
    assert "1 is that of isthf1" in together["tunnel isthf1v6"].reason
    [alone] = await outcomes(driver, changes_between({}, {"tunnel isthf1v6": wanted["tunnel isthf1v6"]}))
    assert alone.result == "refused"
    await driver.close()
    again = await opened(yard, epoch=2)
    assert set((await again.observe()).resources) == {"tunnel isthf1"}
    assert not any(
        "isthf1v6" in row["string"] for row in yard.device.running.table("policypatset_pattern_binding").values()
    )
    await again.close()


async def test_what_came_to_exist_meanwhile_is_looked_at(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What exists already is no success: what stands there then is made as it should be, or the change is not made."""
    driver = await opened(yard)
    real = yard.device.perform

    def somebody_first(method: str, asked: Any, body: Any, **more: Any) -> Any:
        if (method, asked.resource) == ("POST", "vxlan"):
            monkeypatch.setattr(yard.device, "perform", real)
            yard.device.write("POST", "vxlan", {"vxlan": {"id": 7001, "port": 9999}})
        return real(method, asked, body, **more)

    monkeypatch.setattr(yard.device, "perform", somebody_first)
    wished = dict(driver.adapt(by_identity(things.tunnel())).resources)
    [result] = await outcomes(driver, [Change("create", name, None, one) for name, one in wished.items()])
    stands = dict((await driver.observe()).resources) == wished
    assert stands is (result.result == "done")
    await driver.close()


async def test_a_route_through_a_subnet_that_a_person_put_into_ours_is_theirs(yard: Yard) -> None:
    """Their address with a longer prefix is how the gateway is reached: no look takes the route for ours."""
    driver = await opened(yard)
    wanted = by_identity(*things.overlay())
    await settle(driver, wanted)
    hand = AdcHand(yard.device)
    hand.add("nsip", ipaddress="198.18.0.129", netmask="255.255.255.128", type="SNIP")
    hand.add("route", network="10.77.0.0", netmask="255.255.0.0", gateway="198.18.0.200")
    observed = await driver.observe()
    assert "198.18.0.200" in observed.foreign["route 10.77.0.0/16"]
    assert set(observed.resources) == set(driver.adapt(wanted).resources), "what is ours stays ours"
    await settle(driver, {})
    assert [row["gateway"] for row in yard.rows("route") if row["network"] == "10.77.0.0"] == ["198.18.0.200"]
    await driver.close()
