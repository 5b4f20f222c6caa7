"""The state directory and the configuration, without a disk: SQLite in memory behind the product's own tables, files as text.

A commit is the smallest step SQLite has, so a crash comes before a call, after its commit, or with its answer in hand; what
lies between is SQLite's to guarantee. The one confusing thing: the database belongs to the outside. It outlives every
process, as a disk does.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.seam import PAUSE, PROCESS, Seam
from isthmus.errors import StateError
from isthmus.registry import database
from isthmus.registry.files import Loaded, _assembled
from isthmus.registry.located import read_text
from isthmus.registry.problems import Problem
from isthmus.registry.state import StateDirectory

HERE = Path("/configuration")
_SPELLED: dict[tuple[str, str], Any] = {}
"""Files already parsed, by name and text: ten thousand plans share a few configurations."""


def fresh() -> sqlite3.Connection:
    """Return a new, empty state directory's database."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    database._migrate(connection, Path(":memory:"))
    return connection


_MATTER = frozenset({"insert_claim", "remove_claim", "write_choice", "write_assignments"})


class Disk(StateDirectory):
    """A process's hand on the database."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        seam: Seam,
        written: Callable[[str, Any], None],
        own: sqlite3.Connection | None = None,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """``written`` hears of every write that may matter later: by what, and of what.

        With a rival, ``own`` holds what each process keeps for itself (what was applied, the status), and the rest stands
        for the home cluster: it is withheld from who does not lead.
        """
        super().__init__(Path(":memory:"))
        self._own = own
        self._leads = leads
        self._connection = connection
        self._seam = seam
        self._written = written

    async def open(self) -> None:
        """Do nothing: the database is there."""

    async def close(self) -> None:
        """Let go; what is stored stays."""
        self._closed = True

    async def _run(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        private = self._own is not None and work.__name__.endswith(("_applied", "_status"))
        shared = not private and not work.__name__.startswith("read")
        if shared and not self._leads():
            raise StateError("withheld: another controller leads")

        def effect() -> Any:
            if shared and not self._leads():
                raise StateError("withheld: another controller leads")  # it was stopped with this in hand
            with database.told(self.path):
                found = work(self._own if private else self._connection, *args, **kwargs)
            if work.__name__ in _MATTER:
                self._written(work.__name__, args[0])
            return found

        def full() -> Any:
            raise StateError("database or disk is full")

        trouble = {"full": full} if not work.__name__.startswith("read") else {"unreadable": full}
        return await self._seam.call(f"state.{work.__name__}", effect, trouble, pauses=self._own is None)


class Files:
    """The configuration directory: text by file name. ``edits`` counts what people did."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.edits = 0
        self._loaded: tuple[int, Loaded] | None = None

    def write(self, kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> None:
        """Write one object."""
        obj = {
            "apiVersion": "isthmus.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, **metadata},
            "spec": spec,
        }
        self.texts[f"{kind}-{name}.json"] = json.dumps(obj, sort_keys=True)
        self.edits += 1

    def load(self) -> Loaded:
        """Return what stands in the directory; the very same value while nobody edits it."""
        if self._loaded is None or self._loaded[0] != self.edits:
            contents = {}
            for name, text in sorted(self.texts.items()):
                if (name, text) not in _SPELLED:
                    _SPELLED[name, text] = read_text(HERE / name, text, {"memory", "netscaler"})
                contents[HERE / name] = _SPELLED[name, text]
            self._loaded = self.edits, _assembled(contents, {}, (1, 1))
        return self._loaded[1]


class Reader:
    """What a process reads the configuration with."""

    def __init__(self, files: Files, seam: Seam) -> None:
        self._files = files
        self._seam = seam
        self._looks = 0
        self._seen = -1

    def read(self) -> Loaded:
        """Return what stands in the directory, if it can be read."""
        process = PROCESS.get()
        self._looks += 1
        # It is looked at every second; a point is where something is new, and now and then.
        if self._seen == self._files.edits and self._looks % 10:
            return self._files.load()
        self._seen = self._files.edits
        kind = self._seam.strike("files.read", ("crash-after", "unreadable", "blank", "pause-sent"))
        match kind:
            case "crash-after":
                asyncio.get_running_loop().call_soon(process.die)
            case "pause-sent":
                process.stop(PAUSE)
            case "unreadable":
                return Loaded(
                    (), (Problem(str(HERE), "cannot be read", "nothing is removed meanwhile"),), readable=False
                )
            case "blank":  # every file is just being written
                return Loaded(
                    (), (), blank=frozenset(HERE / name for name in self._files.texts), files=(HERE,), identity=(1, 1)
                )
        return self._files.load()
