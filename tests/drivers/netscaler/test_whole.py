"""All kinds of things on one device: what is written is read back, by itself and in part, and goes without a trace."""

from __future__ import annotations

from isthmus.drivers.netscaler.driver import NetScalerDriver

from ..bench import by_identity, converge, settle
from . import things
from .yard import Yard


async def opened(yard: Yard, **more: object) -> NetScalerDriver:
    driver = yard.driver(**more)
    await driver.open()
    await driver.prepare()
    return driver


async def test_each_kind_is_read_back_as_it_was_spelled(yard: Yard) -> None:
    """After one pass all stands; a second look and a new process find nothing to do, each identity reads alone."""
    driver = await opened(yard, check={"interval": "5s"})
    wanted = by_identity(*things.everything())
    await settle(driver, wanted)
    assert await converge(driver, wanted) == []
    adapted = driver.adapt(wanted).resources
    for identity in adapted:
        assert dict((await driver.observe([identity])).resources) == {identity: adapted[identity]}
    await driver.close()
    again = await opened(yard, epoch=2, check={"interval": "5s"})
    assert await converge(again, wanted) == []
    await again.close()


async def test_nothing_stays_behind(yard: Yard) -> None:
    """What is no longer wished for goes, and with the last of it the ledger and the monitors."""
    before = {kind: len(table) for kind, table in yard.device.running.tables.items() if table}
    driver = await opened(yard, check={"interval": "5s"})
    await settle(driver, by_identity(*things.everything()))
    await driver.vacate()
    assert yard.rows("policypatset"), "the ledger stays while something of ours does"
    await settle(driver, {})
    await driver.vacate()
    assert {kind: len(table) for kind, table in yard.device.running.tables.items() if table} == before
    await driver.close()
