"""A request to whichever node is the primary: sent again where that is safe, and never where nobody knows what it did.

What is asked again, and what is not: a read once more when no answer came or the node was away; a write only when the
answer proves that nothing was done (the session had ended, the node was the secondary), or there was no connection at all.

The one confusing thing: a new session may mean that another controller has ended ours before it began to write. So
``entered`` is called once in each session before its first write, and what it raises keeps that write from going out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import NamedTuple

from isthmus.drivers.netscaler.nitro.bodies import Answer, Body, item_meaning
from isthmus.drivers.netscaler.nitro.errors import Meaning, NitroError
from isthmus.drivers.netscaler.nitro.node import Node, OtherSession
from isthmus.drivers.netscaler.nitro.pace import KNOCK
from isthmus.drivers.netscaler.nitro.pair import Pair
from isthmus.drivers.netscaler.nitro.wire import NotSent, Request
from isthmus.errors import DeviceUnreachable

__all__ = ["Entered", "Exchange", "Said"]

Entered = Callable[[], Awaitable[None]]

_TRIES = 3
_BRIEFLY = 0.3
"""Seconds before a second try where the first met a connection or a role that had just ended."""
_entering: ContextVar[bool] = ContextVar("entering", default=False)


class Said(NamedTuple):
    """What a node said, and what must not be quoted from it."""

    answer: Answer
    body: Body
    secrets: frozenset[str]


class Exchange:
    """Requests to the primary of ``pair``."""

    def __init__(self, pair: Pair, sleep: Callable[[float], Awaitable[None]], entered: Entered | None) -> None:
        self._pair = pair
        self._sleep = sleep
        self._entered = entered
        self._greeted: tuple[Node, int] | None = None
        self._greeting = asyncio.Lock()

    async def send(self, request: Request, *, again: bool = False) -> Said:
        """Return the primary's answer; ``again`` allows a second try where nobody knows what the first one did.

        Raises ``DeviceUnreachable`` where no answer came (``NotSent`` where the request never left), and ``NitroError`` where
        session, role or pace of the device kept it from being carried out.
        """
        for left in reversed(range(_TRIES)):
            node, session = await self._pair.primary(), None
            if request.method != "GET":
                session = await self._enter(node)
            try:
                answer, body, token = await node.ask(request, session)
            except OtherSession:
                if not left:
                    raise NitroError("sessions end as fast as they begin", meaning=Meaning.SESSION) from None
                continue
            except DeviceUnreachable as error:
                self._pair.lost(node)
                if not left or not (again or isinstance(error, NotSent)):
                    raise
                again = False
                await self._sleep(_BRIEFLY)
                continue
            except NitroError as error:
                if not (again and left and _soon(error)):
                    raise
                again = False
                await self._sleep(error.retry_after or 0.0)
                continue
            if body.error is None:
                if any(item_meaning(item) is Meaning.SECONDARY for item in body.items or ()):
                    self._pair.lost(node)
                break
            match body.error.meaning:
                case Meaning.SESSION if left:
                    await node.session.renew(token)
                case Meaning.SECONDARY:
                    self._pair.lost(node)
                    if not left:
                        raise body.error
                    await self._sleep(_BRIEFLY)
                case Meaning.SESSION:
                    raise body.error
                case Meaning.UNAVAILABLE if again and left and _soon(body.error):
                    again = False
                    await self._sleep(body.error.retry_after or 0.0)
                case _:
                    break
        return Said(answer, body, node.session.secrets)

    async def _enter(self, node: Node) -> int:
        """Have ``entered`` called, once in a session, before anything is written in it; return the session's number."""
        met = (node, node.session.logins)
        if self._entered is None or _entering.get() or self._greeted == met:
            return met[1]
        async with self._greeting:
            if self._greeted == met:
                return met[1]
            mark = _entering.set(True)
            try:
                await self._entered()
            finally:
                _entering.reset(mark)
            self._greeted = met
            return met[1]


def _soon(error: NitroError) -> bool:
    """Return whether the device does not serve just now, and may be knocked at in a moment."""
    return error.meaning is Meaning.UNAVAILABLE and (error.retry_after or 0.0) <= 1.1 * KNOCK
