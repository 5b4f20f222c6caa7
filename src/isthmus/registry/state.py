"""The state directory: what must survive a restart where no Kubernetes API keeps it.

Claims are the memory of who has which address; choices and assignments keep paths and overlay addresses from moving;
status is what ``isthmus status`` shows; applied is what a gateway restores at boot before it has reached anybody. One
process has the directory (``StateDirectory``), any number may read beside it (``StateDirectory.read``).

The confusing thing: each call is done by one thread, in order, and is on disk when it returns. A cancelled call may
still happen, exactly as a request whose reply was lost.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from isthmus.errors import StateError
from isthmus.model.claims import VipFacts
from isthmus.model.kinds import Holder, Key, VirtualIP
from isthmus.registry import tables
from isthmus.registry.database import DATABASE, open_reader, open_writer, told
from isthmus.registry.lock import LOCK, Lock
from isthmus.registry.tables import Claim, Json, StatusEntry

__all__ = ["GATEWAYS", "Claim", "ClaimTaken", "Json", "StateDirectory", "StateReader", "StatusEntry"]

P = ParamSpec("P")
R = TypeVar("R")

GATEWAYS = "gateways"
"""Folder in the state directory for what only lies there: the credentials of gateways elsewhere."""
_OURS = frozenset(
    {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal", LOCK, GATEWAYS, "orders", "lost+found"}
)


class ClaimTaken(StateError):
    """The address has another holder (``claim``), which may also be the one who asks, from before a restart."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        whose = f"held by {claim.spec.holder}" if claim.spec.holder else "reserved"
        super().__init__(f"{claim.spec.address} is {whose}")


class StateDirectory:
    """The state directory of this process; use it as ``async with StateDirectory(path) as state``."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Keep state in ``path``; ``clock`` gives seconds since 1970. Nothing is opened before ``open``."""
        self.path = path
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._lock: Lock | None = None
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Create or open the directory and lock it; raise StateLocked, or StateError if it cannot be used."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    async def close(self) -> None:
        """Finish what was asked for, then let go of the directory."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
            self._thread.shutdown(wait=False)

    @staticmethod
    def has_begun(path: Path) -> bool:
        """Say whether any process has kept state in ``path`` yet; a directory that was only made holds none."""
        return (path / DATABASE).exists()

    @staticmethod
    def read(path: Path) -> StateReader:
        """Return a reader of the directory, which may be in use by another process; its calls block."""
        return StateReader(path)

    async def create_claim(self, vip: VirtualIP) -> None:
        """Claim the address; raise ClaimTaken if it is claimed already, whoever holds it."""
        taken = await self._run(tables.insert_claim, vip, self._clock())
        if taken is not None:
            raise ClaimTaken(taken)

    async def delete_claim(self, name: str, expected_holder: Holder | None) -> None:
        """Give the address up if ``expected_holder`` (None: a reservation) has it; raise ClaimTaken if another has.

        A claim that is gone already is no error: a lost reply must not matter.
        """
        other = await self._run(tables.remove_claim, name, str(expected_holder) if expected_holder else None)
        if other is not None:
            raise ClaimTaken(other)

    async def claims(self) -> tuple[Claim, ...]:
        """Return all claims, by name."""
        return await self._run(tables.read_claims)

    async def held(self) -> tuple[VipFacts, ...]:
        """Return all claims as decisions need them, by name."""
        return await self._run(tables.read_held)

    async def choose(self, link: str, value: Json | None) -> None:
        """Keep the choice made for ``link`` (its path); None forgets it."""
        await self._run(tables.write_choice, link, value)

    async def choices(self) -> dict[str, Json]:
        """Return the choices, by link name."""
        return await self._run(tables.read_choices)

    async def assign(self, scope: str, values: Mapping[str, Json | None]) -> None:
        """Keep what is assigned to each key of ``scope``, all or nothing; None takes one back."""
        await self._run(tables.write_assignments, scope, values)

    async def assignments(self, scope: str) -> dict[str, Json]:
        """Return what is assigned in ``scope``, by key."""
        return await self._run(tables.read_assignments, scope)

    async def write_status(self, values: Mapping[Key, Json], gone: Iterable[Key] = ()) -> None:
        """Keep the status of many objects at once, and forget those that are ``gone``."""
        await self._run(tables.write_status, values, self._clock(), tuple(gone))

    async def read_status(self) -> dict[Key, StatusEntry]:
        """Return the last status of all objects, by kind and name."""
        return await self._run(tables.read_status)

    async def write_applied(self, device: str, value: Json | bytes | None) -> None:
        """Keep what was last applied to ``device`` (bytes are JSON already), for its restore at boot; None forgets it."""
        await self._run(tables.write_applied, device, value, self._clock())

    async def keep_applied(
        self, device: str, values: Mapping[str, bytes | None], among: Collection[str] | None = None
    ) -> None:
        """Keep single things (JSON by identity, None: gone) applied to ``device``; with ``among``, forget all others."""
        await self._run(tables.keep_applied, device, values, among)

    async def read_applied(self, device: str) -> Json | None:
        """Return what was last applied to ``device``, None if nothing; raise StateError if it is damaged."""
        return await self._run(tables.read_applied, device)

    async def _run(
        self, work: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        def call() -> R:
            if self._connection is None:
                raise StateError(f"{self.path} is not open")
            with told(self.path / DATABASE):
                return work(self._connection, *args, **kwargs)

        if self._closed:
            raise StateError(f"{self.path} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _open(self) -> None:
        with told(self.path):
            _private(self.path)
        self._lock = Lock(self.path)
        self._connection = open_writer(self.path / DATABASE)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _private(path: Path) -> None:
    """Make ``path`` a directory for this user alone; raise StateError where that would take it from others."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return
    foreign = sorted(set(os.listdir(path)) - _OURS)
    if foreign or status.st_uid != os.geteuid():
        why = f"holds other files ({foreign[0]})" if foreign else "belongs to another user"
        raise StateError(
            f"{path} is open to other users and {why}, so it is not made private; "
            f"name a directory below it, such as {path / 'isthmus'}, which is then created"
        )
    path.chmod(0o700)


class StateReader:
    """Reads a state directory that another process may have; use it in a ``with`` block. Its calls block."""

    def __init__(self, path: Path) -> None:
        """Open the directory to read; raise StateError if there is nothing, or nothing that can be read."""
        self._path = path / DATABASE
        self._connection = open_reader(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def claims(self) -> tuple[Claim, ...]:
        """Return all claims, by name."""
        return self._run(tables.read_claims)

    def choices(self) -> dict[str, Json]:
        """Return the choices, by link name."""
        return self._run(tables.read_choices)

    def assignments(self, scope: str) -> dict[str, Json]:
        """Return what is assigned in ``scope``, by key."""
        return self._run(tables.read_assignments, scope)

    def read_status(self) -> dict[Key, StatusEntry]:
        """Return the last status of all objects, by kind and name."""
        return self._run(tables.read_status)

    def read_applied(self, device: str) -> Json | None:
        """Return what was last applied to ``device``, None if nothing; raise StateError if it is damaged."""
        return self._run(tables.read_applied, device)

    def damage(self) -> str:
        """Return what an integrity check finds wrong in the database; empty where it is whole."""
        rows = self._run(lambda connection: connection.execute("PRAGMA quick_check(3)").fetchall())
        found = [str(row[0]) for row in rows]
        return "" if found == ["ok"] else "; ".join(found)

    def _run(self, work: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        with told(self._path):
            return work(self._connection, *args, **kwargs)
