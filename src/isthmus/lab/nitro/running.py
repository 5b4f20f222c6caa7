"""The configuration that a device holds: rows by kind, found fast by the fields that others refer to.

Rows are replaced, never changed: a copy of the tables is a copy of the configuration, and a journal of replaced rows takes
a bulk operation back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from isthmus.lab.nitro.answers import Refusal
from isthmus.lab.nitro.kinds import Key, Kind, Row, Value, kinds

# What rows are looked for by, besides their identity.
_REFERENCES: dict[str, tuple[str, ...]] = {
    "arp": ("vxlan",),
    "bridgetable": ("vxlan",),
    "lbvserver": ("ipv46", "netprofile"),
    "netprofile": ("srcip",),
    "nspbr": ("vxlan",),
    "nspbr6": ("vxlan",),
    "server": ("ipaddress",),
    "servicegroup": ("netprofile",),
    "nsip": ("type",),
    "vxlan": ("vlan",),
}

Undo = Callable[[], None]


class Health(Protocol):
    """What whoever carries packets knows of members."""

    def up(self, group: Value, server: Value, port: Value) -> bool:
        """Say whether a member answers its monitors."""


@cache
def _indexed(name: str) -> tuple[str, ...]:
    kind = kinds()[name]
    identity = kind.identity if len(kind.identity) > 1 else ()
    return tuple(dict.fromkeys(identity + _REFERENCES.get(name, ())))


@dataclass(slots=True)
class Running:
    """One configuration."""

    tables: dict[str, dict[Key, Row]] = field(default_factory=dict)
    features: frozenset[str] = frozenset({"SSL", "IC", "RESPONDER", "REWRITE"})
    modes: frozenset[str] = frozenset({"FR", "Edge", "USNIP", "L3", "PMTUD"})
    hostname: str = ""
    applied: dict[str, dict[Key, Row]] = field(default_factory=dict)  # policy routes, as last applied
    revision: int = 0
    journal: list[Undo] | None = None
    health: Health | None = None  # None where nobody probes
    _index: dict[tuple[str, str], dict[Value, dict[Key, None]]] = field(default_factory=dict)

    def copy(self) -> Running:
        """Return a configuration of its own with the same content."""
        twin = Running(features=self.features, modes=self.modes, hostname=self.hostname, revision=self.revision)
        for name, table in self.tables.items():
            kind = kinds()[name]
            for row in table.values():
                twin.put(kind, row)
        twin.applied = {name: dict(rows) for name, rows in self.applied.items()}
        twin.revision = self.revision
        twin.health = self.health
        return twin

    def table(self, name: str) -> dict[Key, Row]:
        """Return the rows of a kind by identity."""
        return self.tables.setdefault(name, {})

    def row(self, name: str, *key: Value) -> Row | None:
        """Return one row by its identity."""
        return self.table(name).get(key)

    def find(self, name: str, /, **where: Value) -> list[Row]:
        """Return the rows whose fields are as said, in the order in which they were made."""
        table, indexed = self.table(name), _indexed(name)
        for word, value in where.items():
            if (word,) == kinds()[name].identity:
                rows = [table[(value,)]] if (value,) in table else []
                break
            if word in indexed:
                keys: Iterable[Key] = self._index.get((name, word), {}).get(value, ())
                rows = [table[key] for key in keys]
                break
        else:
            rows = list(table.values())
        return [row for row in rows if all(row.get(word) == value for word, value in where.items())]

    def put(self, kind: Kind, row: Row) -> None:
        """Add a row or replace the one of the same identity."""
        key, table = kind.key_of(row), self.table(kind.name)
        before = table.get(key)
        if before is not None:
            self._forget(kind, key, before, row)
        table[key] = row
        for word in _indexed(kind.name):
            if word in row:
                self._index.setdefault((kind.name, word), {}).setdefault(row[word], {})[key] = None
        self.changed(lambda: self.put(kind, before) if before is not None else self.remove(kind, row))

    def remove(self, kind: Kind, row: Row) -> None:
        """Remove a row that is there."""
        key = kind.key_of(row)
        before = self.table(kind.name).pop(key)
        self._forget(kind, key, before, {})
        self.changed(lambda: self.put(kind, before))

    def changed(self, undo: Undo) -> None:
        """Note that something changed, and how to take it back."""
        self.revision += 1
        if self.journal is not None:
            self.journal.append(undo)

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Take back what the block has changed if it is refused; blocks nest."""
        outer, revision = self.journal, self.revision
        steps: list[Undo] = []
        self.journal = steps
        try:
            yield
        except Refusal:
            self.journal = None
            for undo in reversed(steps):
                undo()
            self.revision = revision
            raise
        else:
            if outer is not None:
                outer.extend(steps)
        finally:
            self.journal = outer

    def _forget(self, kind: Kind, key: Key, row: Row, successor: Row) -> None:
        for word in _indexed(kind.name):
            # What stays the same keeps its place, so that rows are found in the order in which they were made.
            if word in row and successor.get(word) != row[word]:
                keys = self._index[(kind.name, word)][row[word]]
                keys.pop(key, None)
                if not keys:
                    del self._index[(kind.name, word)][row[word]]
