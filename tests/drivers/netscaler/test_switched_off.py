"""What of a Service is switched off on the device, all else being as it was: seen, told, and switched on again."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from isthmus.drivers.netscaler.objects import read
from isthmus.model.resources import Member, Partial, VirtualAddress, VirtualServer

from ..bench import by_identity, settle
from .test_ownership import opened
from .yard import Yard

NAME = "isth_main_203.0.113.5_80_tcp"


@pytest.mark.parametrize(("kind", "key"), [("lbvserver", "name"), ("servicegroup", "servicegroupname")])
async def test_what_is_switched_off_is_no_service(yard: Yard, kind: str, key: str) -> None:
    """A virtual server or its group out of service serves nobody: that is not what was wished for, and is one write."""
    driver = await opened(yard)
    address = ip_address("203.0.113.5")
    server = VirtualServer(address, "tcp", 80, (Member(ip_address("10.0.0.1"), 80),))
    wanted = by_identity(server, VirtualAddress(address, "*"))
    await settle(driver, wanted)
    yard.device.write("POST", kind, {kind: {key: NAME}}, "action=disable")
    seen = (await driver.observe()).resources[server.identity]
    assert isinstance(seen, Partial)
    assert f"{kind} state ENABLED" in seen.missing
    yard.device.faults.reset_counters()
    await settle(driver, wanted)
    assert {what: n for what, n in yard.device.faults.items.items() if what[0] != "get"} == {("enable", kind): 1}
    assert yard.rows(kind)[0]["state"] == "ENABLED"
    await driver.close()


def test_only_an_order_switches_off() -> None:
    """A virtual server whose members are down, or of which a device tells otherwise than we know, is left as it is."""
    place = {"name": NAME, "servicetype": "TCP", "ipv46": "203.0.113.5", "port": 80}
    for said in ({}, {"curstate": "DOWN"}, {"state": "UP"}, {"curstate": "DOWN (priority)", "state": "ENABLED"}):
        assert read("lbvserver", {**place, **said}).get("state") == "ENABLED"
    assert read("lbvserver", {**place, "curstate": "OUT OF SERVICE"}).get("state") == "DISABLED"
