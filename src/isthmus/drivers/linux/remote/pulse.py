"""Whether the agent is there, and whether its host moved: one answer without an end, two lines of it a second.

The one confusing thing: silence is counted in turns of this loop, not in seconds. A controller that thinks for three seconds
about ten thousand Services has not heard the agent either, and must not take its own silence for the agent's.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from isthmus.drivers.linux.remote.exchange import Exchange
from isthmus.drivers.linux.remote.messages import BEAT, MOST_ANSWERED_ELSE, SILENT_BEATS, Beat, Hello
from isthmus.drivers.linux.remote.typed import BadMessage, Reader
from isthmus.errors import DeviceError, DeviceUnreachable

__all__ = ["Pulse"]

_beat = Reader(Beat)


class Pulse:
    """Follows one agent's signs of life from :meth:`start` to :meth:`stop`; when they end, the exchange is lost."""

    def __init__(self, exchange: Exchange, hello: Hello) -> None:
        self._exchange = exchange
        self._start = hello.start
        self._moves = hello.moves
        self._told = hello.moves
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._run(), name=f"pulse of {self._exchange.place}")

    async def follow(self, exchange: Exchange) -> None:
        """Listen by another exchange from now on."""
        await self.stop()
        self._exchange = exchange
        self.start()

    async def stop(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def moved(self) -> None:
        """Return when the host has moved since the last time this returned; raise when the agent is gone."""
        await self._exchange.unless_lost(self._wait())

    async def _wait(self) -> None:
        await self._moved.wait()
        self._moved.clear()
        self._told = self._moves

    async def _run(self) -> None:
        try:
            await self._listen()
        except DeviceError as error:
            self._exchange.lose(error)
        except BadMessage as error:
            self._exchange.lose(self._exchange.nonsense("/v1/drift", error))

    async def _listen(self) -> None:
        place = self._exchange.place
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(BEAT * SILENT_BEATS):
                    response = await stack.enter_async_context(self._exchange.answer("GET", "/v1/drift"))
            except TimeoutError as error:
                raise DeviceUnreachable(f"{place}: no sign of life") from error
            rest, silent = b"", 0
            while True:
                try:
                    async with asyncio.timeout(BEAT):
                        chunk = await response.content.readany()
                except TimeoutError as error:
                    silent += 1
                    if silent >= SILENT_BEATS:
                        raise DeviceUnreachable(f"{place}: no sign of life for {BEAT * SILENT_BEATS:g} s") from error
                    continue
                if not chunk:
                    raise DeviceUnreachable(f"{place}: the agent has ended")
                silent = 0
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > MOST_ANSWERED_ELSE:
                    raise BadMessage("is a line without an end")
                for line in lines:
                    self._take(_beat.read(line))

    def _take(self, beat: Beat) -> None:
        if beat.start != self._start:
            raise DeviceUnreachable(f"{self._exchange.place}: the agent has started anew")
        self._moves = beat.moves
        if self._moves != self._told:
            self._moved.set()
