"""A NetScaler answers the same questions as every other device."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ..bench import Bench
from ..conformance import ConformanceSuite
from .yard import UNDERLAY, AdcHand, Yard, fit


class TestNetScaler(ConformanceSuite):
    @pytest.fixture
    async def bench(self, yard: Yard) -> AsyncIterator[Bench]:
        driver = yard.driver()
        await driver.open()
        await driver.prepare()
        yield Bench(
            driver,
            AdcHand(yard.device),
            UNDERLAY,
            lambda: yard.driver(installation="other"),
            fit,
            frozenset({"tunnel isth7001", "route 10.244.11.0/24", "vip 203.0.113.10"}),
        )
        await driver.close()
