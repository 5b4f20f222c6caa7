"""A device that listens on loopback, and a client of it, for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from isthmus.lab.nitro import Appliance, serving
from lab.nitro.talking import Nitro


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def device(clock: Clock) -> Appliance:
    return Appliance(clock=clock)


@pytest.fixture
async def nitro(device: Appliance) -> AsyncIterator[Nitro]:
    async with (
        serving(device) as endpoint,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        yield Nitro(session, endpoint.url)
