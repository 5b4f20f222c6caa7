"""A NetScaler that fails in every way it can: each change has an honest end, and one more pass makes all well."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from isthmus.drivers.netscaler.driver import NetScalerDriver
from isthmus.errors import DeviceError, DeviceFenced, DeviceUnsupported
from isthmus.lab.nitro import Appliance, serving
from isthmus.model.resources import Partial, Route

from ..bench import by_identity, changes_between, converge, outcomes, settle
from . import things
from .nitro.rig import appliance
from .yard import Yard, open_yard


async def opened(yard: Yard, **more: Any) -> NetScalerDriver:
    driver = yard.driver(**more)
    await driver.open()
    await driver.prepare()
    return driver


WRITES = (
    ("add", "vxlan"),
    ("add", "vxlan_nsip_binding"),
    ("add", "nsip"),
    ("add", "bridgetable"),
    ("add", "arp"),
    ("add", "route"),
    ("add", "nspbr"),
    ("apply", "nspbrs"),
    ("add", "servicegroup"),
    ("add", "servicegroup_servicegroupmember_binding"),
    ("add", "lbvserver"),
    ("add", "lbvserver_servicegroup_binding"),
    ("add", "netprofile"),
)


@pytest.mark.parametrize(("verb", "kind"), WRITES)
async def test_a_lost_reply_is_not_known_and_mended(yard: Yard, verb: str, kind: str) -> None:
    """What was done without an answer is told as unknown, never as done or refused; the next pass finds it and goes on."""
    driver = await opened(yard)
    wanted = by_identity(*things.everything())
    changes = changes_between({}, driver.adapt(wanted).resources)
    yard.device.faults.drop_replies(1, verb=verb, resource=kind)
    results = await outcomes(driver, changes)
    assert [one.change for one in results] == changes
    assert any(one.result == "unknown" for one in results)
    await settle(driver, wanted)
    assert await converge(driver, wanted) == []


@pytest.mark.parametrize("index", [0, 1, 3])
async def test_one_refused_row_hurts_its_own_change_only(yard: Yard, index: int) -> None:
    """Of a bulk request one row is refused: its change says so, all others stand."""
    driver = await opened(yard)
    wanted = by_identity(*things.overlay([11, 12, 13, 14]))
    await settle(driver, {k: v for k, v in wanted.items() if not k.startswith("fdb")})
    yard.device.faults.refuse_item(index)
    results = await converge(driver, wanted)
    refused = [one for one in results if one.result != "done"]
    assert len(refused) == 1
    assert "257" in refused[0].reason
    await settle(driver, wanted)


async def test_a_session_that_was_ended_is_taken_up_again(yard: Yard) -> None:
    """Somebody ends our session in the middle: a new one is opened, and all goes on."""
    driver = await opened(yard)
    await settle(driver, by_identity(*things.overlay([11])))
    yard.device.sessions.kill_all()
    await settle(driver, by_identity(*things.everything()))


async def test_a_reboot_without_a_save_is_the_state_of_before(yard: Yard) -> None:
    """Objects and their lines go back together, so all that is missing is simply made again."""
    driver = await opened(yard)
    await settle(driver, by_identity(*things.overlay([11])))
    await driver.nitro.save()
    await settle(driver, by_identity(*things.everything()))
    yard.device.reboot()
    await settle(driver, by_identity(*things.everything()))
    assert await converge(driver, by_identity(*things.everything())) == []


async def test_a_list_that_cannot_be_is_an_error(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of which the device says there is nothing, though there are bindings to it, is not believed."""
    driver = await opened(yard)
    await settle(driver, by_identity(*things.everything()))
    get = driver.nitro.get
    for kind in ("nsip", "vxlan", "servicegroup", "lbvserver"):

        async def answer(asked: str, *words: Any, kind: str = kind, **more: Any) -> Any:
            return [] if asked == kind else await get(asked, *words, **more)

        monkeypatch.setattr(driver.nitro, "get", answer)
        if kind == "nsip":
            monkeypatch.setattr(driver.nitro, "get", answer)
        with pytest.raises(DeviceError, match="cannot be whole"):
            await driver.observe()


async def test_a_row_that_does_not_read_hurts_itself_only(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that answers nonsense in one row of each kind shows the others; ours with nonsense in it is not whole."""
    driver = await opened(yard)
    wanted = by_identity(*things.everything())
    await settle(driver, wanted)
    get = driver.nitro.get

    async def answer(asked: str, *words: Any, **more: Any) -> Any:
        rows = await get(asked, *words, **more)
        if asked == "lbvserver":
            rows = [{**row, "port": "many"} if row["name"].endswith("_80_tcp") else row for row in rows]
        if asked in ("nsconfig", "policypatset"):
            return rows
        return [*rows, {"ipaddress": "nowhere", "network": 7, "mac": ["x"], "id": "??", "name": "isth_main_"}]

    monkeypatch.setattr(driver.nitro, "get", answer)
    seen = (await driver.observe()).resources
    assert seen.keys() == driver.adapt(wanted).resources.keys()
    odd = {identity for identity, one in seen.items() if isinstance(one, Partial)}
    assert odd == {"virtual-server 203.0.113.10:80/tcp", "virtual-server [2001:db8:cafe::10]:80/tcp"}


async def test_a_newer_writer_ends_the_older_ones_session(yard: Yard) -> None:
    """It waits one time-out before it writes; the older one may write no more, and says who does."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    old = await opened(yard, epoch=10)
    wanted = by_identity(*things.overlay([11]))
    await settle(old, wanted)
    person = yard.device.sessions.login("nsroot", "nsroot", None)
    new = await opened(yard, epoch=11, sleep=sleep)
    more = by_identity(*things.overlay([11, 12]))
    await settle(new, more)
    assert waited == [10.0]
    assert person.sid in {session.sid for session in yard.device.sessions.live()}, "a person's session is left alone"
    with pytest.raises(DeviceFenced, match="epoch 11"):
        await converge(old, wanted)
    assert await converge(new, more) == []
    lines = [row["string"] for row in yard.rows("policypatset_pattern_binding") if row["string"].startswith("writer")]
    assert len(lines) == 1


async def test_nothing_is_sent_once_the_term_is_over(yard: Yard) -> None:
    """The epoch is asked before each request: when it has moved on, what is left is not sent."""
    terms = [7]
    driver = yard.driver()
    driver._fence._epoch = lambda: terms[-1]
    await driver.open()
    await settle(driver, by_identity(*things.overlay([11])))
    terms.append(0)
    yard.device.faults.reset_counters()
    with pytest.raises(DeviceFenced):
        await converge(driver, by_identity(*things.overlay([11, 12])))
    assert yard.device.faults.writes == 0


async def test_probing_claims_nothing(yard: Yard) -> None:
    """A NetScaler cannot be asked whether a node answers it, and says what can be looked at instead."""
    driver = await opened(yard)
    with pytest.raises(DeviceUnsupported, match="monitors"):
        await driver.probe([])


async def test_load_balancing_is_switched_on_only_by_leave() -> None:
    """Without LB virtual servers are refused with the way out, and all else stands; with leave it is switched on."""
    async with open_yard() as yard:
        yard.device.write("POST", "nsfeature", {"nsfeature": {"feature": ["LB"]}}, "action=disable")
        driver = yard.driver()
        await driver.open()
        await driver.prepare()
        adapted = driver.adapt(by_identity(*things.everything()))
        assert {identity.partition(" ")[0] for identity in adapted.refused} <= {
            "virtual-server",
            "vip",
            "source-profile",
        }
        assert all("enableFeatures" in why for why in adapted.refused.values())
        assert adapted.refused
        allowed = yard.driver(enableFeatures=True, epoch=2)
        await allowed.open()
        await allowed.prepare()
        assert "LB" in yard.device.running.features


async def test_somebody_elses_work_is_no_drift(yard: Yard) -> None:
    """A person who works on what is none of ours is not mistaken for one who changes ours."""
    driver = await opened(yard)
    route = Route(ip_network("10.244.1.0/24"), ip_address("192.0.2.11"), "vlan1")
    await settle(driver, by_identity(route))
    drifting = asyncio.create_task(driver.drift())
    yard.device.write("POST", "netprofile", {"netprofile": {"name": "theirs"}})
    await asyncio.sleep(0.7)
    assert not drifting.done()
    yard.device.write("DELETE", "route", query="args=network:10.244.1.0,netmask:255.255.255.0,gateway:192.0.2.11")
    await asyncio.wait_for(drifting, 5)


async def test_a_pair_fails_over_without_losing_a_change() -> None:
    """After a fail-over the writes go to the other node, which holds what the first one did."""
    async with open_yard() as yard:
        second = appliance(address="192.0.2.11")
        pair = Appliance.paired(yard.device, second)
        async with serving(second) as endpoint:
            driver = yard.driver(urls=[yard.endpoint.url, endpoint.url])
            await driver.open()
            await driver.prepare()
            await settle(driver, by_identity(*things.overlay([11])))
            pair.fail_over()
            await settle(driver, by_identity(*things.everything()))
            assert second.faults.requests[("add", "lbvserver")] == 1
            await driver.close()
