"""What a Linux host keeps after everything of ours was removed: nothing."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from isthmus.drivers.linux import LinuxDriver
from isthmus.model.resources import PortFilter

from ..bench import by_identity, settle
from .conftest import run

pytestmark = pytest.mark.packets

FILTER = PortFilter(7700, (ip_address("192.0.2.1"),))


async def test_an_empty_table_is_removed_on_request_only(underlay: str) -> None:
    """The table goes when it holds nothing and somebody asks; while it holds anything, asking does nothing."""
    driver = LinuxDriver()
    await driver.open()
    try:
        await settle(driver, by_identity(FILTER))
        await driver.vacate()
        assert (await driver.observe()).resources.keys() == {FILTER.identity}
        await settle(driver, {})
        assert "isthmus_main" in run("nft", "list", "tables")
        await driver.vacate()
        assert "isthmus_main" not in run("nft", "list", "tables")
        await driver.vacate()
        await settle(driver, by_identity(FILTER))
        assert (await driver.observe()).resources.keys() == {FILTER.identity}
    finally:
        await driver.close()
