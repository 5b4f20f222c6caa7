"""The laws over random lives of a Linux gateway, in the kernel."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings

from isthmus.drivers.base import Driver
from isthmus.drivers.linux import LinuxDriver

from ..laws import FOREIGN, Step, live, lives, things
from .conftest import run
from .test_conformance import IpHand

pytestmark = pytest.mark.packets


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives(len(things("up0")[1])))
def test_every_life_ends_as_it_should(underlay: str, steps: list[Step]) -> None:
    """Whatever came before, the kernel holds what the present wish says, and what is not ours stands."""

    async def make() -> Driver:
        driver = LinuxDriver()
        await driver.open()
        await driver.prepare()
        return driver

    try:
        asyncio.run(live(steps, underlay, make, lambda driver: IpHand()))
    finally:
        run("ip", "route", "flush", str(FOREIGN.prefix))
