"""One node of the device: its URL, our session there, its pace. What is sent goes through the gate and is counted.

The one confusing thing: a node is a URL. Where that is a SNIP with management access, another box answers there after a
fail-over; it does not know our session, says so, and is logged in to like any other.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from isthmus.drivers.netscaler.nitro.bodies import Answer, Body, item_code, read_body
from isthmus.drivers.netscaler.nitro.credentials import Credentials
from isthmus.drivers.netscaler.nitro.errors import AWAY, Meaning, NitroError
from isthmus.drivers.netscaler.nitro.pace import Gate, retry_after
from isthmus.drivers.netscaler.nitro.queries import path
from isthmus.drivers.netscaler.nitro.sessions import Session
from isthmus.drivers.netscaler.nitro.wire import Request, Wire
from isthmus.metrics import NITRO_ERRORS, NITRO_REQUESTS

__all__ = ["Node", "OtherSession", "Tools"]

_KNOCKED = "knock"
_LONG = 256 << 10
"""Bytes of a body that is not read between two turns of the event loop."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What all nodes of one device share: who it is, the ways there, clock and chance, the counters."""

    device: str
    credentials: Credentials
    wire: Callable[[], Wire]
    turns: asyncio.Semaphore
    clock: Callable[[], float]
    source: random.Random
    requests: Counter[str]
    limit: float


class OtherSession(Exception):
    """There is another session by now than the one that was meant; nothing was sent. Never leaves the package."""


class Node:
    """One node at the URL ``root``."""

    def __init__(self, root: str, tools: Tools) -> None:
        self.root = root
        self.place = f"{tools.device} ({root})"
        self.gate = Gate(tools.clock, tools.source)
        self.session = Session(
            tools.device,
            self.place,
            tools.credentials,
            self._pass,
            tools.clock,
            limit=tools.limit,
            pause=self.gate.wait,
        )
        self._tools = tools
        self._knocking = asyncio.Lock()

    async def ask(self, request: Request, session: int | None = None) -> tuple[Answer, Body, str]:
        """Return the answer to ``request`` in our session, as it came and as it was read, and the token that was shown.

        Raises ``DeviceUnreachable`` where none came, ``NitroError`` where login or pace forbid to ask, and ``OtherSession``
        where the session is not the one of number ``session``.
        """
        token = await self.session.token()
        if session is not None and session != self.session.logins:
            raise OtherSession
        answer = await self._pass(replace(request, token=token))
        place = f"{self.place}: {request.what}"
        if len(answer.body) > _LONG:  # other devices are waiting for the event loop
            body = await asyncio.to_thread(read_body, answer, place, self.session.secrets)
        else:
            body = read_body(answer, place, self.session.secrets)
        if body.error is not None:
            if body.error.meaning is Meaning.UNAVAILABLE:
                body.error.retry_after = self.gate.wait()
            self._count_error(body.error.code or answer.status)
        for item in body.items or ():
            if (code := item_code(item)) is not None:
                self._count_error(code)
        return answer, body, token

    def _count_error(self, code: int) -> None:
        # What claims to be a device must not make as many series as it likes.
        NITRO_ERRORS.labels(self._tools.device, str(code) if -1 <= code < 10_000 else "other").inc()

    async def _pass(self, request: Request) -> Answer:
        """Send ``request`` if the node serves, as far as we know."""
        if self.gate.shut:
            await self._knock()
        return await self._send(request)

    async def _knock(self) -> None:
        async with self._knocking:
            if self.gate.shut and (left := self.gate.wait()) > 0:
                raise self._away(left)
            if self.gate.knocks():
                # Without a session it says 401 if it serves, and nothing was done.
                answer = await self._send(Request("GET", path("nsversion"), _KNOCKED, min(self._tools.limit, 5.0)))
                if answer.status in AWAY:
                    raise self._away(self.gate.wait())

    def _away(self, left: float) -> NitroError:
        return NitroError(
            "does not serve now (503)",
            http=503,
            meaning=Meaning.UNAVAILABLE,
            retry_after=left,
            place=self.place,
        )

    async def _send(self, request: Request) -> Answer:
        async with self._tools.turns:
            self._tools.requests[request.what] += 1
            method, _, kind = ("GET", "", _KNOCKED) if request.what == _KNOCKED else request.what.partition(" ")
            NITRO_REQUESTS.labels(self._tools.device, method, kind).inc()
            answer = await self._tools.wire().send(self.root, request)
        if answer.status in AWAY:
            self.gate.declines(retry_after(answer.retry_after))
        else:
            self.gate.serves()
        return answer
