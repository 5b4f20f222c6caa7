"""A gateway away from the controller answers what every driver is asked, over TLS, and keeps the laws."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from isthmus.drivers.base import Driver

from ..bench import Bench
from ..conformance import ConformanceSuite
from ..laws import Step, live, lives, things
from ..test_memory import MemoryHand
from .rig import running


class TestRemote(ConformanceSuite):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        async with running(tmp_path) as rig:
            driver = await rig.client()
            await driver.open()
            await driver.prepare()
            yield Bench(driver, MemoryHand(rig.memory), "eth0")
            await driver.close()


_number = itertools.count()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=lives(len(things("eth0")[1])))
def test_the_laws_hold_over_random_lives(tmp_path: Path, steps: list[Step]) -> None:
    """Whatever was wished before, and however often the agent started anew: the gateway is what it should be now."""

    async def main() -> None:
        async with running(tmp_path / str(next(_number))) as rig:

            async def make() -> Driver:
                await rig.stop()
                await rig.start()
                driver = await rig.client()
                await driver.open()
                return driver

            await live(steps, "eth0", make, lambda driver: MemoryHand(rig.memory))

    asyncio.run(main())
