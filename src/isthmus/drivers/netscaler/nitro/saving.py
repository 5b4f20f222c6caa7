"""When the running configuration is saved: once it is calm, not too late if it never is, and again if it could not be.

A device that starts anew has what was saved. Each save writes the whole configuration to a small flash disk, so there is one
for many changes. Nothing here knows how to save; it knows when, and that two saves at once are refused (293).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from isthmus.drivers.netscaler.nitro.errors import Meaning, NitroError
from isthmus.errors import DeviceError
from isthmus.metrics import NITRO_SAVES
from isthmus.telemetry import get_logger

__all__ = ["Saver"]

_LATEST = 10
"""Under changes that never end there is a save after so many times the calm that is waited for."""
_BUSY = (1.0, 30.0)
_FAILED = (30.0, 600.0)
_UNREACHABLE = (5.0, 60.0)
"""First and longest pause before another attempt: while somebody else saves, when it was refused, when nobody answered."""


class Saver:
    """Saves by ``save`` once nothing has changed for ``after`` seconds."""

    def __init__(
        self,
        device: str,
        save: Callable[[], Awaitable[None]],
        after: float,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.trouble = ""
        """Why the configuration is not saved though it should be; empty while all is well."""
        self._device = device
        self._save = save
        self._after = after
        self._clock = clock
        self._sleep = sleep
        self._first: float | None = None
        self._last = 0.0
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._log = get_logger("drivers").bind(device=device)

    @property
    def unsaved(self) -> bool:
        """Return whether something has changed since the last save."""
        return self._first is not None

    def changed(self) -> None:
        """Note a change, and see to it that it is saved."""
        self._last = self._clock()
        if self._first is None:
            self._first = self._last
        self.resume()

    def resume(self) -> None:
        """Go on after a pause: what is not saved will be."""
        if self.unsaved and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._when_calm())

    async def now(self) -> None:
        """Save now; raise ``DeviceError`` if it cannot be."""
        async with self._lock:
            first, last = self._first, self._last
            try:
                await self._save()
            except DeviceError as error:
                meaning = error.meaning.value if isinstance(error, NitroError) else "unreachable"
                NITRO_SAVES.labels(self._device, meaning).inc()
                raise
            NITRO_SAVES.labels(self._device, "ok").inc()
            if (first, last) == (self._first, self._last):
                self._first = None
            else:
                self._first = self._last  # something changed meanwhile
            if self.trouble:
                self._log.info("configuration saved again")
            self.trouble = ""

    async def stop(self) -> None:
        """End the waiting; what is not saved stays in mind."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and (bug := task.exception()) is not None:
                raise bug

    async def _when_calm(self) -> None:
        pauses: dict[tuple[float, float], float] = {}
        while self._first is not None:
            due = min(self._last + self._after, self._first + _LATEST * self._after)
            if (left := due - self._clock()) > 0:
                await self._sleep(left)
                continue
            try:
                await self.now()
                pauses.clear()
            except DeviceError as error:
                kind = self._kind(error)
                pause = pauses.get(kind, kind[0])
                pauses[kind] = min(2 * pause, kind[1])
                await self._sleep(pause)

    def _kind(self, error: DeviceError) -> tuple[float, float]:
        """Return how long to pause after ``error``, and say once what is wrong if it is more than bad timing."""
        if not isinstance(error, NitroError) or error.meaning in (Meaning.UNAVAILABLE, Meaning.SECONDARY):
            return _UNREACHABLE
        if error.meaning is Meaning.BUSY:
            return _BUSY
        if not self.trouble:
            self._log.warning("configuration not saved", error=str(error))
        self.trouble = str(error)
        return _FAILED
