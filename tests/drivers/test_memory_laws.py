"""The laws over random lives of the device in memory."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings

from isthmus.drivers.base import Driver
from isthmus.drivers.memory import MemoryDriver

from .laws import Step, live, lives, things
from .test_memory import FACTS, MemoryHand


@settings(max_examples=60, deadline=None)
@given(lives(len(things("eth0")[1])))
def test_every_life_ends_as_it_should(steps: list[Step]) -> None:
    """Whatever came before, the device is what the present wish says, and what is not ours stands."""
    memory = MemoryDriver(facts=FACTS)

    async def make() -> Driver:
        await memory.open()
        return memory

    asyncio.run(live(steps, "eth0", make, lambda driver: MemoryHand(memory)))
