"""The SQLite file: how it is opened, checked, brought to the current schema, and what its errors mean.

WAL with ``synchronous=FULL``: what a call said is stored survives a power cut. One process writes; others only read,
and a reader never checkpoints (SQLite before 3.51.3 can damage a WAL that two connections reset at once). The
confusing thing: a damaged file is never repaired or replaced here. It holds claims, so a person decides.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from isthmus.errors import StateError

__all__ = ["DATABASE", "SCHEMA_VERSION", "open_reader", "open_writer", "told", "transaction"]

DATABASE = "state.db"
BUSY_SECONDS = 5.0

# Each step leads from the version that is its index to the next; steps are only ever added.
_STEPS = (
    """
    CREATE TABLE claims (name TEXT PRIMARY KEY, spec TEXT NOT NULL, created REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE choices (link TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE assignments (
        scope TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (scope, key)
    ) WITHOUT ROWID;
    CREATE TABLE status (
        kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, updated REAL NOT NULL, PRIMARY KEY (kind, name)
    ) WITHOUT ROWID;
    CREATE TABLE applied (
        device TEXT PRIMARY KEY, value BLOB NOT NULL, checksum TEXT NOT NULL, updated REAL NOT NULL
    );
    """,
    """
    CREATE TABLE standing (
        device TEXT NOT NULL, identity TEXT NOT NULL, value BLOB NOT NULL, checksum INTEGER NOT NULL,
        PRIMARY KEY (device, identity)
    ) WITHOUT ROWID;
    """,
)
SCHEMA_VERSION = len(_STEPS)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise inside into StateError, naming ``path``."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _damaged(path, str(error)) from error
        raise StateError(f"{path}: {error}") from error
    except OSError as error:
        raise StateError(f"{error.filename or path}: {(error.strerror or str(error)).lower()}") from error


def _damaged(path: Path, what: str) -> StateError:
    return StateError(
        f"{path} is damaged: {what}. It is left as it is; it says which address belongs to whom, so restore it from a "
        f"backup, or move it away and start anew: claims are then made again from what the Services show"
    )


def open_writer(path: Path) -> sqlite3.Connection:
    """Open or create the database for its one writer, checked and at the current schema; raise StateError."""
    with told(path):
        # SQLite gives -wal and -shm the mode of the database, so this one mode is enough.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            _check(connection, path)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open the database to read only, beside its writer or without one; raise StateError."""
    if not path.exists():
        raise StateError(f"{path} does not exist: nothing has kept its state here yet")
    with told(path):
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        try:
            connection.execute("PRAGMA query_only=ON")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            version = _version(connection)
            if version != SCHEMA_VERSION:
                raise StateError(
                    f"{path} has schema {version}, this version of Isthmus reads schema {SCHEMA_VERSION}"
                )
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Make what happens inside one transaction: all of it on disk afterwards, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have ended the transaction already (sqlite.org/lang_transaction.html).
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check(connection: sqlite3.Connection, path: Path) -> None:
    with closing(connection.execute("PRAGMA quick_check(1)")) as rows:
        said = rows.fetchone()[0]
    if said != "ok":
        raise _damaged(path, " ".join(str(said).split()))


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    if version > SCHEMA_VERSION:
        raise StateError(
            f"{path} has schema {version}, this version of Isthmus knows {SCHEMA_VERSION}: a newer one has used it"
        )
    for number in range(version, SCHEMA_VERSION):
        with transaction(connection):
            for statement in _STEPS[number].split(";"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
