"""What the device checks and does beyond the field tables: one rule for each kind that needs one.

A rule sees the configuration and one row. It refuses, completes the row, makes or removes what goes with it, and tells
what is only read back. Rules of the network are in ``network``, of load balancing in ``balancing``.
"""

from __future__ import annotations

from typing import Any, Protocol

from isthmus.lab.nitro.answers import Refusal
from isthmus.lab.nitro.kinds import Kind, Row, spoken
from isthmus.lab.nitro.running import Running

Json = dict[str, Any]


class Carrier(Protocol):
    """Whoever carries packets for a device."""

    def changed(self) -> None:
        """Hear that the configuration, or the device's role, is another one."""

    async def settled(self) -> None:
        """Wait until the network is as it is configured now, as far as that takes no packets from elsewhere."""


class Rule:
    """The rule of kinds that need none; others override what they need."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        """Return the row to keep; refuse what may not be added."""
        return row

    def added(self, running: Running, row: Row) -> None:
        """Make what comes with a row."""

    def updating(self, running: Running, before: Row, row: Row) -> Row:
        """Return the row to keep; refuse what may not be changed."""
        return row

    def removing(self, running: Running, row: Row) -> None:
        """Refuse to remove a row that must stay."""

    def removed(self, running: Running, row: Row) -> None:
        """Remove what goes with a row."""

    def derived(self, running: Running) -> list[Row]:
        """Return rows that nobody has added and that are read back all the same."""
        return []

    def shown(self, running: Running, row: Row) -> Json:
        """Return what is read back besides the row, as it is written."""
        return {}


def require(row: Row, *names: str) -> None:
    """Refuse a row that lacks one of ``names``."""
    for name in names:
        if row.get(name) in (None, ""):
            raise Refusal(1095, spoken(name))


def together(row: Row, name: str, needed: str) -> None:
    """Refuse ``name`` without ``needed``."""
    if name in row and needed not in row:
        raise Refusal(1093, spoken(name), spoken(needed))


def there(running: Running, kind: str, field: str, value: Any, *, said: str = "") -> Row:
    """Return the row of ``kind`` whose ``field`` is ``value``; refuse when there is none."""
    found = running.find(kind, **{field: value})
    if not found:
        raise Refusal(258, spoken(said or field), value)
    return found[0]


def unused(running: Running, users: tuple[tuple[str, str], ...], value: Any, *, code: int = 315) -> None:
    """Refuse when a row of one of ``users`` (kind, field) refers to ``value``."""
    for kind, field in users:
        if running.find(kind, **{field: value}):
            raise Refusal(code, value)


def drop(running: Running, kind: Kind, /, **where: Any) -> None:
    """Remove the rows of ``kind`` that are as said."""
    for row in running.find(kind.name, **where):
        running.remove(kind, row)
