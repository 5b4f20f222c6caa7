"""The objects in a directory, followed while people edit them.

A good new version replaces the old one; everything else is doubt, and in doubt the last good version stays: a wrong
document keeps what it said before, an unreadable file or directory keeps all it held, an empty file is one being
written. An object is removed only when two looks in a row, an interval apart, find its file readable, or gone from a
readable directory, and the object not in it.

The confusing thing: ``snapshot().unusable`` objects are still in ``snapshot().objects``. They are wrong together with
others (two pools with one address), not gone; whoever programs devices holds what they have made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

from isthmus.errors import InputError
from isthmus.model.kinds import Key, Kind
from isthmus.registry.files import DirectoryReader, Loaded
from isthmus.registry.located import Located, examine
from isthmus.registry.problems import Problem
from isthmus.telemetry import get_logger

__all__ = ["Changes", "FileRegistry", "Snapshot"]

# How long a changed directory must lie still before it is believed, and how often we look again for that.
SETTLE_SECONDS = 0.05
SETTLE_LOOKS = 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All objects by kind and name, the problems there are, the unusable objects with the reason, and the origins."""

    objects: Mapping[Key, Kind] = field(default_factory=dict)
    problems: tuple[InputError, ...] = ()
    unusable: Mapping[Key, str] = field(default_factory=dict)
    origins: Mapping[Key, str] = field(default_factory=dict)


class Changes:
    """An endless series of sets of changed keys, for one reader; sets that nobody fetched yet become one.

    A set is empty when only the problems changed.
    """

    def __init__(self) -> None:
        self._keys: set[Key] = set()
        self._ready = asyncio.Event()
        self._ended = False
        self._error: BaseException | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> frozenset[Key]:
        await self._ready.wait()
        if self._keys or not self._ended:
            keys, self._keys = frozenset(self._keys), set()
            if not self._ended:
                self._ready.clear()
            return keys
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def add(self, keys: Collection[Key]) -> None:
        """Have the reader see ``keys`` next."""
        self._keys.update(keys)
        self._ready.set()

    def end(self, error: BaseException | None) -> None:
        """Have the reader stop after what it has not fetched yet, with ``error`` if there is one."""
        self._ended, self._error = True, error
        self._ready.set()


class FileRegistry:
    """Follows one directory; use it as ``async with``, or call ``start`` and ``stop``."""

    def __init__(
        self,
        directory: Path,
        known_drivers: Collection[str] | None = None,
        *,
        interval: float = 1.0,
        patience: float = 30.0,
    ) -> None:
        """Look every ``interval`` seconds; a look that takes longer than ``patience`` is a problem to report."""
        self.directory = directory
        self._reader = DirectoryReader(directory, known_drivers)
        self._interval = interval
        self._patience = patience
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="registry")
        self._looking: asyncio.Future[Loaded] | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._readers: WeakSet[Changes] = WeakSet()
        self._good: dict[Key, Located] = {}
        self._missing: set[Key] = set()
        self._taken: Loaded | None = None
        self._identity: tuple[int, int] | None = None
        self._snapshot = Snapshot()
        self._log = get_logger("registry")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Read the directory and go on following it; raise InputError if it cannot be read at all."""
        loaded = await self._look()
        if not loaded.readable:
            self._thread.shutdown(wait=False)
            raise loaded.problems[0]
        self._take(loaded)
        self._task = asyncio.create_task(self._follow(), name=f"registry {self.directory}")

    async def stop(self) -> None:
        """Stop following; readers of changes end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def snapshot(self) -> Snapshot:
        """Return what is known now; a new value after each change, never changed itself."""
        return self._snapshot

    def changes(self) -> Changes:
        """Return the changes from now on, for one reader: ``async for keys in registry.changes()``."""
        changes = Changes()
        if self._task is not None and self._task.done():
            changes.end(self._error)
        self._readers.add(changes)
        return changes

    async def _follow(self) -> None:
        seen: Loaded | None = None
        try:
            while True:
                await asyncio.sleep(self._interval)
                try:
                    seen = await self._look_and_take(seen)
                except Exception as error:
                    # A bug of ours, found by what somebody wrote: it must not end a process that serves.
                    self._tripped(error)
        except BaseException as error:
            self._error = None if isinstance(error, asyncio.CancelledError) else error
            raise
        finally:
            for reader in list(self._readers):
                reader.end(self._error)

    async def _look_and_take(self, seen: Loaded | None) -> Loaded:
        loaded = await self._look()
        for _ in range(SETTLE_LOOKS):
            if loaded is seen or not loaded.readable:
                break
            # Something changed; believe it only once it lies still, or a half-written file would count.
            seen = loaded
            await asyncio.sleep(SETTLE_SECONDS)
            loaded = await self._look()
        if loaded is not self._taken or self._missing:
            self._take(loaded)
        return loaded

    def _tripped(self, error: Exception) -> None:
        self._taken = None  # the next look that succeeds is news, and takes the problem back
        problem = Problem(str(self.directory), f"internal error: {error!r}", "what was read before stays in force")
        if str(problem) not in map(str, self._snapshot.problems):
            self._log.error("reading the configuration crashed", error=repr(error), exc_info=error)
            self._snapshot = replace(self._snapshot, problems=(problem, *self._snapshot.problems))
            for reader in list(self._readers):
                reader.add(())

    async def _look(self) -> Loaded:
        """Read the directory in the thread. A look that hangs (a dead network mount) is left to hang, and reported."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().run_in_executor(self._thread, self._reader.read)
        done, _ = await asyncio.wait({self._looking}, timeout=self._patience)
        if not done:
            problem = Problem(
                str(self.directory), f"does not answer for {self._patience:g} s", "nothing is removed meanwhile"
            )
            return Loaded((), (problem,), readable=False)
        looked, self._looking = self._looking, None
        return looked.result()

    def _take(self, loaded: Loaded) -> None:
        self._taken = loaded
        problems = list(loaded.problems)
        if self._unmounted(loaded):
            reason = "is another, empty directory than before: is a volume not mounted?"
            problems.append(Problem(str(self.directory), reason, "nothing is removed meanwhile"))
            known = False
        else:
            known = loaded.readable
        good = {one.key: one for one in loaded.objects}
        missing: set[Key] = set()
        for key, old in self._good.items():
            if key in good:
                continue
            blank = old.file in loaded.blank
            if blank:
                reason = "is empty, and held this object before"
                problems.append(
                    Problem(f"{old.file}: {'/'.join(key)}", reason, "delete the file to remove it", key=key)
                )
            if not known or blank or key in loaded.broken or _within(old.file, loaded.opaque):
                good[key] = old
            elif key not in self._missing:
                missing.add(key)
                good[key] = old
        if known:
            self._missing, self._identity = missing, loaded.identity
        self._publish(good, problems, loaded.broken)

    def _unmounted(self, loaded: Loaded) -> bool:
        return bool(loaded.readable and self._good and not loaded.files and loaded.identity != self._identity)

    def _publish(self, good: dict[Key, Located], problems: list[InputError], broken: Collection[Key]) -> None:
        old = self._snapshot
        self._good = good
        together, unusable = examine(good, broken)
        new = Snapshot(
            {key: good[key].object for key in sorted(good)},
            (*problems, *together),
            unusable,
            {key: good[key].origin for key in sorted(good)},
        )
        changed = {
            key for key in old.objects.keys() | new.objects.keys() if old.objects.get(key) != new.objects.get(key)
        }
        changed |= {
            key for key in old.unusable.keys() | unusable.keys() if old.unusable.get(key) != unusable.get(key)
        }
        if changed or list(map(str, old.problems)) != list(map(str, new.problems)):
            self._snapshot = new
            for reader in list(self._readers):
                reader.add(changed)


def _within(file: Path, places: Collection[Path]) -> bool:
    return bool(places) and (file in places or any(parent in places for parent in file.parents))
