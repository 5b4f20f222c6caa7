"""What the state directory holds, as plain reads and writes over one connection.

Every value is JSON, so that a person can read the file with ``sqlite3``. These functions block; ``StateDirectory`` runs
the writing ones in its one thread, ``StateReader`` calls the reading ones straight.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from isthmus.errors import StateError
from isthmus.model.claims import VipFacts, vip_facts
from isthmus.model.kinds import Key, VirtualIP
from isthmus.model.kinds.kind import Metadata
from isthmus.model.kinds.vip import VirtualIPSpec
from isthmus.registry.database import transaction

__all__ = [
    "Claim",
    "Json",
    "StatusEntry",
    "insert_claim",
    "keep_applied",
    "read_applied",
    "read_assignments",
    "read_choices",
    "read_claim",
    "read_claims",
    "read_held",
    "read_status",
    "remove_claim",
    "write_applied",
    "write_assignments",
    "write_choice",
    "write_status",
]

Json = Any
"""A value that JSON can say: what goes in comes out equal, tuples as lists."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One claimed address: its name, what was claimed, and when, in seconds since 1970."""

    name: str
    spec: VirtualIPSpec
    created: float


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """The last status we wrote of one object, and when, in seconds since 1970."""

    value: Json
    updated: float


def _text(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False)


def insert_claim(connection: sqlite3.Connection, vip: VirtualIP, now: float) -> Claim | None:
    """Store the claim and return None, or return the claim that has the address already."""
    spec = _text(vip.spec.model_dump(mode="json", exclude_unset=True))
    with transaction(connection):
        cursor = connection.execute(
            "INSERT INTO claims VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING", (vip.name, spec, now)
        )
        return None if cursor.rowcount == 1 else read_claim(connection, vip.name)


def remove_claim(connection: sqlite3.Connection, name: str, holder: str | None) -> Claim | None:
    """Remove the claim if ``holder`` (None for a reservation) has it; else return who has, None if nobody."""
    with transaction(connection):
        claim = read_claim(connection, name)
        if claim is not None and (str(claim.spec.holder) if claim.spec.holder else None) != holder:
            return claim
        connection.execute("DELETE FROM claims WHERE name = ?", (name,))
        return None


def _claim(row: tuple[str, str, float]) -> Claim:
    try:
        return Claim(row[0], VirtualIPSpec.model_validate_json(row[1], by_alias=True), row[2])
    except ValueError as error:
        raise StateError(f"the claim of {row[0]} in the state directory cannot be read") from error


def read_claim(connection: sqlite3.Connection, name: str) -> Claim | None:
    """Return the claim called ``name``, if there is one."""
    row = connection.execute("SELECT name, spec, created FROM claims WHERE name = ?", (name,)).fetchone()
    return _claim(row) if row else None


def read_claims(connection: sqlite3.Connection) -> tuple[Claim, ...]:
    """Return all claims, by name."""
    return tuple(_claim(row) for row in connection.execute("SELECT name, spec, created FROM claims ORDER BY name"))


def read_held(connection: sqlite3.Connection) -> tuple[VipFacts, ...]:
    """Return all claims as decisions need them, by name; each as large as that while it is read, too."""
    rows = connection.execute("SELECT name, spec, created FROM claims ORDER BY name")
    return tuple(
        vip_facts(VirtualIP(metadata=Metadata(name=claim.name), spec=claim.spec)) for claim in map(_claim, rows)
    )


def write_choice(connection: sqlite3.Connection, link: str, value: Json | None) -> None:
    """Keep the choice made for ``link``; None forgets it."""
    with transaction(connection):
        if value is None:
            connection.execute("DELETE FROM choices WHERE link = ?", (link,))
        else:
            connection.execute("INSERT OR REPLACE INTO choices VALUES (?, ?)", (link, _text(value)))


def read_choices(connection: sqlite3.Connection) -> dict[str, Json]:
    """Return the choices, by link name."""
    rows = connection.execute("SELECT link, value FROM choices ORDER BY link")
    return {link: json.loads(value) for link, value in rows}


def write_assignments(connection: sqlite3.Connection, scope: str, values: Mapping[str, Json | None]) -> None:
    """Keep what is assigned to each key of ``scope``, all or nothing; None takes one back."""
    with transaction(connection):
        connection.executemany(
            "DELETE FROM assignments WHERE scope = ? AND key = ?",
            [(scope, key) for key, value in values.items() if value is None],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO assignments VALUES (?, ?, ?)",
            [(scope, key, _text(value)) for key, value in values.items() if value is not None],
        )


def read_assignments(connection: sqlite3.Connection, scope: str) -> dict[str, Json]:
    """Return what is assigned in ``scope``, by key."""
    rows = connection.execute("SELECT key, value FROM assignments WHERE scope = ? ORDER BY key", (scope,))
    return {key: json.loads(value) for key, value in rows}


def write_status(
    connection: sqlite3.Connection, values: Mapping[Key, Json], now: float, gone: Iterable[Key] = ()
) -> None:
    """Keep the status of many objects in one transaction, and forget those that are ``gone``."""
    with transaction(connection):
        connection.executemany("DELETE FROM status WHERE kind = ? AND name = ?", list(gone))
        connection.executemany(
            "INSERT OR REPLACE INTO status VALUES (?, ?, ?, ?)",
            [(kind, name, _text(value), now) for (kind, name), value in values.items()],
        )


def read_status(connection: sqlite3.Connection) -> dict[Key, StatusEntry]:
    """Return the last status of all objects, by kind and name."""
    rows = connection.execute("SELECT kind, name, value, updated FROM status ORDER BY kind, name")
    return {(kind, name): StatusEntry(json.loads(value), updated) for kind, name, value, updated in rows}


def keep_applied(
    connection: sqlite3.Connection,
    device: str,
    values: Mapping[str, bytes | None],
    among: Collection[str] | None = None,
) -> None:
    """Keep single things (JSON by identity, None: gone) applied to ``device``; with ``among``, forget all others.

    What did not change is not written, so that saying everything again costs no disk.
    """
    with transaction(connection):
        gone = [identity for identity, value in values.items() if value is None]
        if among is not None:
            connection.execute("DELETE FROM applied WHERE device = ?", (device,))  # how it was kept, all in one
            rows = connection.execute("SELECT identity FROM standing WHERE device = ?", (device,))
            gone += [identity for (identity,) in rows if identity not in among]
        connection.executemany(
            "DELETE FROM standing WHERE device = ? AND identity = ?", [(device, identity) for identity in gone]
        )
        connection.executemany(
            "INSERT INTO standing VALUES (?, ?, ?, ?) ON CONFLICT (device, identity) "
            "DO UPDATE SET value = excluded.value, checksum = excluded.checksum WHERE value != excluded.value",
            [(device, name, value, crc32(value)) for name, value in values.items() if value is not None],
        )


def write_applied(connection: sqlite3.Connection, device: str, value: Json | bytes | None, now: float) -> None:
    """Keep what was last applied to ``device``, all in one (bytes are JSON already), with a checksum; None forgets it."""
    with transaction(connection):
        connection.execute("DELETE FROM standing WHERE device = ?", (device,))
        if value is None:
            connection.execute("DELETE FROM applied WHERE device = ?", (device,))
            return
        blob = value if isinstance(value, bytes) else _text(value).encode()
        row = (device, blob, hashlib.sha256(blob).hexdigest(), now)
        connection.execute("INSERT OR REPLACE INTO applied VALUES (?, ?, ?, ?)", row)


def read_applied(connection: sqlite3.Connection, device: str) -> Json | None:
    """Return what was last applied to ``device``, None if nothing; raise StateError if its checksum is wrong."""
    row = connection.execute("SELECT value, checksum FROM applied WHERE device = ?", (device,)).fetchone()
    if row is not None:
        blob: bytes = row[0]
        if hashlib.sha256(blob).hexdigest() != row[1]:
            raise _not_restored(device)
        return json.loads(blob)
    found = []
    for value, checksum in connection.execute("SELECT value, checksum FROM standing WHERE device = ?", (device,)):
        if crc32(value) != checksum:
            raise _not_restored(device)
        found.append(json.loads(value))
    return found or None


def _not_restored(device: str) -> StateError:
    return StateError(f"what was last applied to {device} is damaged in the state directory and cannot be restored")
