"""A client and the appliance it talks to over HTTP on loopback, with clocks that a test moves."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from isthmus.drivers.netscaler.nitro.client import Nitro
from isthmus.drivers.netscaler.nitro.credentials import Credential
from isthmus.lab.nitro import Appliance, Endpoint, serving
from isthmus.model.kinds.netscaler import NetScalerOptions

PASSWORD = "planted-Passw0rd-4711"
USER = "isthmus"


@dataclass
class Given:
    """Credentials that a test writes."""

    username: str = USER
    password: str = PASSWORD
    reads: int = 0

    async def current(self) -> Credential:
        self.reads += 1
        return Credential(self.username, self.password)

    async def renewed(self, refused: Credential) -> Credential:
        return await self.current()


@dataclass
class Hand:
    """Time that a test moves: ``sleep`` ends when it has been moved far enough."""

    now: float = 1000.0
    _waiting: list[tuple[float, asyncio.Future[None]]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self.now + seconds, done))
        await done

    async def move(self, seconds: float) -> None:
        """Move by ``seconds``, and give whoever wakes the time to do what it does."""
        self.now += seconds
        due, self._waiting = (
            [one for one in self._waiting if one[0] <= self.now],
            [one for one in self._waiting if one[0] > self.now],
        )
        for _, done in due:
            if not done.done():
                done.set_result(None)
        await asyncio.sleep(0.05)


def options(*urls: str, **more: Any) -> NetScalerOptions:
    """Return what a user writes for a device at ``urls``."""
    said = {"urls": urls, "plainHttp": True, "credentials": {"directory": "/nowhere"}, **more}
    return NetScalerOptions.model_validate(said)


def appliance(**more: Any) -> Appliance:
    """Return a device with our user."""
    return Appliance(users={USER: PASSWORD, "nsroot": "nsroot"}, **more)


@dataclass
class Rig:
    """One client and its device."""

    device: Appliance
    endpoint: Endpoint
    nitro: Nitro
    given: Given

    def asked(self, verb: str, kind: str) -> int:
        """Return how many requests of one sort the device has counted."""
        return self.device.faults.requests[(verb, kind)]

    @property
    def sessions(self) -> int:
        return len(self.device.sessions.live())


@contextlib.asynccontextmanager
async def talking(
    device: Appliance | None = None,
    *,
    clock: Callable[[], float] | None = None,
    sleep: Callable[[float], Awaitable[None]] | None = None,
    entered: Callable[[], Awaitable[None]] | None = None,
    opened: bool = True,
    **more: Any,
) -> AsyncIterator[Rig]:
    """Let a client talk to ``device`` while the block runs; ``more`` is what a user writes besides."""
    device = device or appliance()
    given = Given()
    timing: dict[str, Any] = {}
    if clock is not None:
        timing["clock"] = clock
    if sleep is not None:
        timing["sleep"] = sleep
    async with serving(device) as endpoint:
        said = options(endpoint.url, **more)
        nitro = Nitro("adc1", said, given, entered=entered, source=random.Random(7), **timing)
        try:
            if opened:
                await nitro.open()
            yield Rig(device, endpoint, nitro, given)
        finally:
            await nitro.close()
