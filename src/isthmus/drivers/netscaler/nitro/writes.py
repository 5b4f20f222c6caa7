"""Rows written: in pieces, each row with its own end, and what a fail-over left undone sent once more.

The one confusing thing: a removal of several has a bulk form (``POST <kind>?action=remove``) that a release may not know. It
is tried once per kind; a device that takes it for something else is asked to remove one by one from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from isthmus.drivers.netscaler.nitro.bodies import item_meaning, outcomes
from isthmus.drivers.netscaler.nitro.bulk import ITEM, body_of, pieces
from isthmus.drivers.netscaler.nitro.errors import Meaning
from isthmus.drivers.netscaler.nitro.exchange import Exchange
from isthmus.drivers.netscaler.nitro.kinds import identity
from isthmus.drivers.netscaler.nitro.queries import path
from isthmus.drivers.netscaler.nitro.results import Result, Row
from isthmus.drivers.netscaler.nitro.wire import NotSent, Request
from isthmus.errors import DeviceError, DeviceUnreachable

__all__ = ["Writes"]

_NOT_CONFIGURATION = frozenset({"systemsession", "nsconfig"})
_NO_SUCH_ACTION = (1232, 1240)


class Writes:
    """Writes over ``exchange``; ``changed`` is told of everything that may have changed the configuration."""

    def __init__(self, device: str, exchange: Exchange, changed: Callable[[], None], *, limit: float) -> None:
        self._device = device
        self._exchange = exchange
        self._changed = changed
        self._limit = limit
        self._one_by_one: set[str] = set()

    async def write(
        self, method: str, kind: str, rows: Sequence[Row], what: str, options: Mapping[str, str]
    ) -> list[Result]:
        """Send ``rows`` in pieces, in order; raise where not even the first could be sent.

        Where a later one cannot be, its rows and the rest are unknown.
        """
        results: list[Result] = []
        target = path(kind, options={**options, "warning": "yes"})
        for piece in pieces(rows):
            part = rows[piece.start : piece.stop]
            limit = self._limit + ITEM * (len(part) - 1)
            request = Request(method, target, what, limit, body_of(kind, part), continues=len(part) > 1)
            try:
                results += await self._carry_out(kind, part, request)
            except DeviceError as error:
                if not results:
                    raise
                return results + _unsent(rows[len(results) :], error)
        return results

    async def remove(self, kind: str, rows: Sequence[Row]) -> list[Result]:
        """Remove what ``rows`` identify; raises ValueError for a row that does not."""
        known = identity(kind)
        for row in rows:
            known.of(row)
        if len(rows) > 1 and kind not in self._one_by_one:
            told = [known.row(row) for row in rows]
            results = await self.write("POST", kind, told, f"POST {kind}?remove", {"action": "remove"})
            if not (
                any(_not_that_way(result) for result in results) or all(_as_a_whole(result) for result in results)
            ):
                return [result._replace(row=row) for row, result in zip(rows, results, strict=True)]
            self._one_by_one.add(kind)
        found = await asyncio.gather(*(self._remove_one(kind, row) for row in rows), return_exceptions=True)
        return _collected(rows, found)

    async def _remove_one(self, kind: str, row: Row) -> Result:
        name, args = identity(kind).of(row)
        target = path(kind, name, args=args)
        [result] = await self._carry_out(kind, [row], Request("DELETE", target, f"DELETE {kind}", self._limit))
        return result

    async def _carry_out(self, kind: str, rows: Sequence[Row], request: Request) -> list[Result]:
        """Return how each of ``rows`` ended; raise where the request was not carried out and is known not to be."""
        results, undone = await self._once(rows, request)
        if undone:
            part = [rows[index] for index in undone]
            request = replace(request, body=body_of(kind, part), continues=len(part) > 1)
            try:
                again, _ = await self._once(part, request)
            except DeviceError as error:
                again = _unsent(part, error)
            for index, result in zip(undone, again, strict=True):
                results[index] = result
        if kind not in _NOT_CONFIGURATION and any(result.done or result.unknown for result in results):
            self._changed()
        return results

    async def _once(self, rows: Sequence[Row], request: Request) -> tuple[list[Result], list[int]]:
        """Return how ``rows`` ended, and the places of those to which nothing was done since the node was no primary."""
        try:
            said = await self._exchange.send(request)
        except NotSent:
            raise
        except DeviceUnreachable as error:
            return [Result(row, unknown=True, why=str(error)) for row in rows], []
        place = f"{self._device}: {request.what}"
        results = outcomes(rows, said.body, said.answer.status, place, said.secrets)
        items = said.body.items or ()
        if len(items) > len(rows):
            return results, []  # whose answers they are cannot be told
        undone = (Meaning.SECONDARY, Meaning.SESSION)
        return results, [index for index, item in enumerate(items) if item_meaning(item) in undone]


def _unsent(rows: Sequence[Row], error: BaseException) -> list[Result]:
    return [Result(row, unknown=True, why=f"not sent: {error}") for row in rows]


def _not_that_way(result: Result) -> bool:
    """Return whether the device took the bulk form of a removal for something else: no such action, or an addition."""
    error = result.error
    return error is not None and (error.code in _NO_SUCH_ACTION or error.meaning is Meaning.EXISTS)


def _as_a_whole(result: Result) -> bool:
    """Return whether the request was refused as such: of a bulk form that is known, each item has its own answer (207)."""
    return result.error is not None and result.error.http != 207


def _collected(rows: Sequence[Row], found: Sequence[Result | BaseException]) -> list[Result]:
    """Return results in order; raise what kept them from being sent if it kept all of them."""
    failures = [one for one in found if isinstance(one, BaseException)]
    for failure in failures:
        if len(failures) == len(rows) or not isinstance(failure, DeviceError):
            raise failure
    return [
        _unsent([row], one)[0] if isinstance(one, BaseException) else one
        for row, one in zip(rows, found, strict=True)
    ]
