"""The laws over random lives of a NetScaler."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings

from isthmus.drivers.base import Driver

from ..laws import Step, live, lives, things
from .yard import UNDERLAY, AdcHand, fit, open_yard


@settings(max_examples=15, deadline=None)
@given(lives(len(things(UNDERLAY)[1])))
def test_every_life_ends_as_it_should(steps: list[Step]) -> None:
    """Whatever came before, the device holds what the present wish says, and what is not ours stands."""

    async def life() -> None:
        async with open_yard() as yard:
            epochs = iter(range(1, 100))

            async def make() -> Driver:
                driver = yard.driver(epoch=next(epochs))
                await driver.open()
                await driver.prepare()
                return driver

            await live(steps, UNDERLAY, make, lambda driver: AdcHand(yard.device), fit)

    asyncio.run(life())
