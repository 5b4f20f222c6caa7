"""What of a Service is switched off on the device, all else being as it was: seen, told, and switched on again."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest

from isthmus.drivers.netscaler.drift import Mark
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


@pytest.mark.parametrize("on_first", [True, False])
async def test_load_balancing_switched_by_hand_is_noticed(yard: Yard, on_first: bool) -> None:
    """Without it no virtual server serves, though each stands as it was: it is refused, or wished for again, at once."""
    first, then = ("enable", "disable") if on_first else ("disable", "enable")
    yard.device.write("POST", "nsfeature", {"nsfeature": {"feature": ["LB"]}}, f"action={first}")
    driver = await opened(yard)
    wanted = by_identity(VirtualServer(ip_address("203.0.113.5"), "tcp", 80))
    await driver.observe()
    assert bool(driver.adapt(wanted).refused) is not on_first
    await asyncio.sleep(1.1)  # the mark of changes counts whole seconds
    watch = asyncio.create_task(driver.drift())
    yard.device.write("POST", "nsfeature", {"nsfeature": {"feature": ["LB"]}}, f"action={then}")
    await asyncio.wait_for(watch, 10)
    assert bool(driver.adapt(wanted).refused) is on_first
    await driver.close()


async def test_load_balancing_comes_back_where_we_may(yard: Yard) -> None:
    """With leave it is switched on again, however long after our start it was switched off."""
    driver = await opened(yard, enableFeatures=True)
    await driver.observe()
    await asyncio.sleep(1.1)
    yard.device.write("POST", "nsfeature", {"nsfeature": {"feature": ["LB"]}}, "action=disable")
    await asyncio.wait_for(driver.drift(), 10)
    await driver.prepare()
    assert "LB" in yard.device.running.features
    await driver.close()


async def test_what_follows_within_the_second_of_a_change_is_found(yard: Yard) -> None:
    """A look between two changes of one second sees the first alone, and the mark stays: it is looked at once more."""
    now, said = 100.0, "Fri Nov 20 22:00:00 2026"

    class Told:
        async def get(self, kind: str, *, attrs: tuple[str, ...]) -> list[dict[str, str]]:
            return [{"lastconfigchangedtime": said}]

        async def count(self, kind: str) -> int:
            return 2

    mark = Mark(Told(), lambda: now)  # type: ignore[arg-type]
    mark.seen(await mark.read(), {"route": 1})
    assert await mark.moved(), "there is one more by now"
    mark.seen(await mark.read(), {"route": 2})
    now += 30
    assert not await mark.moved()
    assert not mark.doubtful
    now += 31
    assert mark.doubtful, "once more, for what no number tells"
    mark.seen(await mark.read(), {"route": 2})
    now += 120
    assert not mark.doubtful
