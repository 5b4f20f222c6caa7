"""A device that listens on loopback, drivers for it, and somebody else who changes it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from isthmus.lab.nitro import Appliance

from .yard import Yard, open_yard


@pytest.fixture
async def yard() -> AsyncIterator[Yard]:
    async with open_yard() as opened:
        yield opened


@pytest.fixture
def device(yard: Yard) -> Appliance:
    return yard.device
