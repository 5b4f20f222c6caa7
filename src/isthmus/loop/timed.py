"""A driver with a stopwatch: how long each request to a device took, and whether it ended well.

What is no request (``adapt``) or waits on purpose (``drift``) goes through untouched, as does whatever else a driver offers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, cast

from isthmus.drivers.base import Driver, Observation, Outcome, ProbeResult, ProbeTarget
from isthmus.metrics import device_request
from isthmus.model.plan import Change

__all__ = ["timed"]


def timed(driver: Driver, device: str) -> Driver:
    """Return ``driver`` with its requests timed under the name of ``device``."""
    return cast("Driver", _Timed(driver, device))


class _Timed:
    def __init__(self, inner: Driver, device: str) -> None:
        self._inner = inner
        self._device = device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def open(self) -> None:
        with device_request(self._device, "open"):
            await self._inner.open()

    async def prepare(self) -> None:
        with device_request(self._device, "prepare"):
            await self._inner.prepare()

    async def observe(self, identities: Collection[str] | None = None) -> Observation:
        with device_request(self._device, "observe" if identities is None else "look"):
            return await self._inner.observe(identities)

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        with device_request(self._device, "apply"):
            async for outcome in self._inner.apply(changes):
                yield outcome

    async def probe(self, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        with device_request(self._device, "probe"):
            return await self._inner.probe(targets)
