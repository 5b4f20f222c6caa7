"""The Linux gateway behind its agent answers what every driver is asked, and keeps the laws over random lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from isthmus.drivers.linux import LinuxDriver
from isthmus.model.plan import Change
from isthmus.model.resources import VirtualAddress, VirtualServer

from ..bench import Bench, by_identity, converge, everything, outcomes, settle
from ..conformance import ConformanceSuite
from ..remote.rig import Rig, running
from .conftest import run
from .test_conformance import IpHand

pytestmark = pytest.mark.packets


class TestRemoteLinux(ConformanceSuite):
    @pytest.fixture
    async def bench(self, underlay: str, tmp_path: Path) -> AsyncIterator[Bench]:
        async with running(tmp_path, LinuxDriver()) as rig:
            driver = await rig.client()
            await driver.open()
            await driver.prepare()
            yield Bench(driver, IpHand(), underlay, lambda: LinuxDriver("other", 201))
            await driver.close()


async def restarted(rig: Rig) -> None:
    """Start the agent as after a power cut: another process would have another driver."""
    await rig.stop()
    rig.driver = LinuxDriver()
    await rig.start()


def flush() -> None:
    """Take from the host what a power cut takes."""
    run("ip", "link", "del", "isth0")
    for version in ("-4", "-6"):
        run("ip", version, "route", "flush", "proto", "200")
    run("ip", "address", "flush", "dev", "lo", "to", "203.0.113.0/24")
    run("ip", "address", "flush", "dev", "lo", "to", "2001:db8:cafe::/48")
    run("nft", "delete", "table", "inet", "isthmus_main")


async def test_a_gateway_comes_back_without_its_controller(underlay: str, tmp_path: Path) -> None:
    """After a power cut the agent puts back what was applied, and the controller finds nothing to do."""
    async with running(tmp_path, LinuxDriver()) as rig:
        driver = await rig.client()
        await driver.open()
        await driver.prepare()
        desired = everything(underlay)
        await settle(driver, desired)
        await driver.close()
        await rig.stop()
        flush()
        assert "10.244.11.0" not in run("ip", "route")
        rig.driver = LinuxDriver()
        await rig.start()
        assert "10.244.11.0/24 via 198.18.0.11 dev isth0 proto 200 onlink" in run("ip", "route")
        assert "203.0.113.10" in run("ip", "address", "show", "dev", "lo")
        await driver.open()
        assert await converge(driver, desired) == []
        await driver.close()


async def test_what_was_taken_back_stays_away_after_a_power_cut(underlay: str, tmp_path: Path) -> None:
    """The record forgets what a controller deleted."""
    async with running(tmp_path, LinuxDriver()) as rig:
        driver = await rig.client()
        await driver.open()
        await driver.prepare()
        await settle(driver, everything(underlay))
        await settle(driver, {})
        await driver.close()
        await restarted(rig)
        assert (await rig.driver.observe()).resources == {}


async def test_an_interface_that_comes_late_gets_its_things(underlay: str, tmp_path: Path) -> None:
    """An interface that is not there when the agent starts gets what stood on it once it comes."""
    async with running(tmp_path, LinuxDriver()) as rig:
        driver = await rig.client()
        await driver.open()
        await driver.prepare()
        vip = VirtualAddress(everything(underlay)["vip 203.0.113.10"].address, underlay)
        await settle(driver, by_identity(vip))
        await driver.close()
        await rig.stop()
        run("ip", "address", "del", "203.0.113.10/32", "dev", underlay)
        run("nft", "delete", "table", "inet", "isthmus_main")
        run("ip", "link", "set", underlay, "name", "later")
        rig.driver = LinuxDriver()
        await rig.start()
        assert "203.0.113.10" not in run("ip", "address")
        run("ip", "link", "set", "later", "name", underlay)
        for _ in range(60):
            if "203.0.113.10" in run("ip", "address", "show", "dev", underlay):
                break
            await asyncio.sleep(0.1)
        assert "203.0.113.10" in run("ip", "address", "show", "dev", underlay)


async def test_values_that_a_host_cannot_have_are_refused_by_the_agent(underlay: str, tmp_path: Path) -> None:
    """What a controller did not check is checked by the agent; nothing reaches the kernel or nft."""
    async with running(tmp_path, LinuxDriver()) as rig:
        driver = await rig.client()
        await driver.open()
        await driver.prepare()
        before = run("nft", "list", "ruleset") + run("ip", "address")
        bad = [
            VirtualAddress(everything(underlay)["vip 203.0.113.10"].address, "lo; flush ruleset"),
            VirtualServer(everything(underlay)["vip 203.0.113.10"].address, "tcp", 99999),
        ]
        results = await outcomes(driver, [Change("create", one.identity, None, one) for one in bad])
        assert [one.result for one in results] == ["refused", "refused"]
        assert "cannot be a link's name" in results[0].reason
        assert "99999" in results[1].reason
        assert run("ip", "address") in before
        await driver.close()
