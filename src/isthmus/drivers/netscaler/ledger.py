"""The ledger: lines of ours in pattern sets on the device, read, written, and written again where they got lost.

A set takes ``ROOM`` lines, then the next is begun. The vendor states no limit of its sets, only that indices end at
4294967290; a thousand short strings is what sets in daily use hold. What this process has written or read and finds missing
is believed as long as the thing that it marks still stands, and is written again with the next change. A process that starts
anew on a device without a ledger knows nothing, and guesses nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from isthmus.drivers.netscaler.canon import text_of
from isthmus.drivers.netscaler.intents import Intents, Writer, read_intents
from isthmus.drivers.netscaler.names import Names
from isthmus.drivers.netscaler.nitro import Meaning, Nitro, Result, Row
from isthmus.errors import DeviceUnreachable

__all__ = ["ROOM", "Ledger"]

ROOM = 1000
_SET = "policypatset"
_LINES = "policypatset_pattern_binding"


class Ledger:
    """The lines of one installation on one device."""

    def __init__(self, nitro: Nitro, names: Names) -> None:
        self._nitro = nitro
        self._names = names
        self._lines: dict[str, int] = {}  # line -> the set that it is in, on the device
        self._sets: set[int] = set()
        self._lost: set[str] = set()  # lines that we know of and that the device no longer has
        self.was_read = False
        self.intents = Intents()

    @property
    def lines(self) -> Collection[str]:
        """Return the lines that are believed."""
        return {*self._lines, *self._lost}

    async def read(self) -> None:
        """Read all sets; what was known and is gone stays believed until :meth:`forget` or :meth:`add`."""
        named = {self._names.ledger(number): number for number in range(1, 1000)}
        sets = {
            named[name]
            for name in (text_of(row, "name") for row in await self._nitro.get(_SET, attrs=("name",)))
            if name in named
        }
        found: dict[str, int] = {}
        for number in sorted(sets):
            for row in await self._nitro.get(_LINES, self._names.ledger(number)):
                found[text_of(row, "string")] = number
        known = {line for line in self.lines if not line.startswith("writer ")}
        self._lost = known - found.keys()
        self._lines, self._sets = found, sets
        self.was_read = True
        self._understand()

    @property
    def lost(self) -> bool:
        """Return whether lines are to be written again."""
        return bool(self._lost)

    def forget_lost(self, standing: Collection[str]) -> None:
        """Believe of the lines that got lost only those whose thing is ``standing``."""
        self._lost &= set(standing)
        self._understand()

    def stale(self, standing: Collection[str], kept: Collection[str] = ()) -> list[str]:
        """Return the lines of things that do not stand, the writers' aside; ``kept`` are about to be used."""
        idle = self._lines.keys() - set(standing) - set(kept)
        return sorted(line for line in idle if line.partition(" ")[0] in ("vxlan", "snip", "route", "vip"))

    async def add(self, lines: Iterable[str]) -> dict[str, str]:
        """Write ``lines``, and those that got lost; return why each that could not be written could not.

        Raises ``DeviceUnreachable`` where that is not known: nothing may be made on the strength of such a line.
        """
        wanted = sorted({*lines, *self._lost} - self._lines.keys())
        failed: dict[str, str] = {}
        while wanted:
            number = self._with_room()
            if number not in self._sets and (why := await self._begin(number)):
                return failed | dict.fromkeys(wanted, why)
            room = ROOM - sum(1 for of in self._lines.values() if of == number)
            part, wanted = wanted[:room], wanted[room:]
            rows: list[Row] = [{"name": self._names.ledger(number), "string": line} for line in part]
            for line, result in zip(part, await self._nitro.bind(_LINES, rows), strict=True):
                if why := _refused(result):
                    failed[line] = why
                else:
                    self._lines[line] = number
                    self._lost.discard(line)
        self._understand()
        return failed

    async def remove(self, lines: Iterable[str]) -> None:
        """Remove ``lines``; one that cannot be removed now is stale, and is tried again later."""
        there = sorted(line for line in set(lines) if line in self._lines)
        self._lost -= set(lines)
        rows: list[Row] = [{"name": self._names.ledger(self._lines[line]), "string": line} for line in there]
        if rows:
            for line, result in zip(there, await self._nitro.remove(_LINES, rows), strict=True):
                if result.done or (result.error is not None and result.error.meaning is Meaning.MISSING):
                    del self._lines[line]
        self._understand()

    async def vacate(self) -> None:
        """Remove the sets, with what is left in them."""
        rows: list[Row] = [{"name": self._names.ledger(number)} for number in sorted(self._sets)]
        if rows:
            await self._nitro.remove(_SET, rows)
        self._lines, self._sets, self._lost = {}, set(), set()
        self._understand()

    @property
    def begun(self) -> bool:
        """Return whether there is a set of ours on the device."""
        return bool(self._sets)

    @property
    def writers(self) -> list[Writer]:
        """Return the sessions that are written down, the one with the highest epoch first."""
        return sorted(self.intents.writers, reverse=True)

    def _with_room(self) -> int:
        number = 1
        while sum(1 for of in self._lines.values() if of == number) >= ROOM:
            number += 1
        return number

    async def _begin(self, number: int) -> str:
        [result] = await self._nitro.add(_SET, [{"name": self._names.ledger(number)}])
        if why := _refused(result):
            return why
        self._sets.add(number)
        return ""

    def _understand(self) -> None:
        self.intents = read_intents(self.lines)


def _refused(result: Result) -> str:
    """Return why a line or a set was refused; raise ``DeviceUnreachable`` where nobody knows."""
    if result.unknown:
        raise DeviceUnreachable(
            f"no answer while the ledger was written: {result.why or 'nothing was changed on its strength'}"
        )
    if result.error is None or result.error.meaning is Meaning.EXISTS:
        return ""
    return f"the ledger cannot be written: {result.error}"
