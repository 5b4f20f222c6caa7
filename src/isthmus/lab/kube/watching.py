"""Who watches what, and what waits to be sent to them.

A change is turned into bytes at most once per representation and handed to every watcher that selects it; what a watcher
has not read yet is bounded, and one that falls behind is closed, as the real server does it. A watch of one name
(``metadata.name=``) is indexed by that name, so 5,000 nodes each watching themselves cost nothing to one another.

The confusing thing: an object that stops matching a selector is *deleted* for that watcher (with its old content and the
new version), and one that starts matching is *added*, whatever happened to it in truth.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from isthmus.lab.kube.selectors import EVERYTHING, Selection

if TYPE_CHECKING:
    from isthmus.lab.kube.store import Change, Record


class Representation(Protocol):
    """How a record is written inside an event."""

    @property
    def key(self) -> object:
        """Return what two watchers must share to share bytes; None when nothing may be shared."""
        ...

    def write(self, record: Record) -> bytes:
        """Return the serialised object."""
        ...


Frames = dict[tuple[str, object], bytes]


def frame(event: str, body: bytes) -> bytes:
    """Return one line of a watch stream."""
    return b'{"type":"%s","object":%s}\n' % (event.encode(), body)


class Watcher:
    """One watch: what it selects, how it wants it written, and what waits for it."""

    def __init__(
        self,
        representation: Representation,
        *,
        namespace: str = "",
        selection: Selection = EVERYTHING,
        after: int = 0,
        limit: int = 20_000,
    ) -> None:
        self.representation = representation
        self.namespace = namespace
        self.selection = selection
        self.after = after  # changes up to this version are not news
        self.limit = limit
        self.waiting: deque[bytes] = deque()
        self.wake = asyncio.Event()
        self.closed = False
        self.frozen = False
        self.abort: Callable[[], None] = lambda: None

    def offer(self, change: Change, frames: Frames | None = None) -> None:
        """Queue what ``change`` means to this watcher, if anything."""
        if self.closed or change.rv <= self.after or (self.namespace and change.key[0] != self.namespace):
            return
        before = change.old is not None and self.selection.matches(change.old)
        now = change.new is not None and self.selection.matches(change.new)
        if now:
            self._queue("MODIFIED" if before else "ADDED", change, frames)
        elif before:
            self._queue("DELETED", change, frames)
        self.after = change.rv

    def _queue(self, event: str, change: Change, frames: Frames | None) -> None:
        shared = self.representation.key
        line = frames.get((event, shared)) if frames is not None and shared is not None else None
        if line is None:
            record = change.old.at(change.rv) if event == "DELETED" and change.old else change.new
            assert record is not None
            line = frame(event, self.representation.write(record))
            if frames is not None and shared is not None:
                frames[(event, shared)] = line
        if len(self.waiting) >= self.limit:
            self.close(abrupt=True)
            return
        self.waiting.append(line)
        self.wake.set()

    def take(self) -> bytes:
        """Return everything that waits, as one piece."""
        everything = b"".join(self.waiting)
        self.waiting.clear()
        self.wake.clear()
        return everything

    def close(self, *, abrupt: bool = False) -> None:
        """End the watch after what waits; ``abrupt`` resets the connection instead."""
        self.closed = True
        if abrupt:
            self.waiting.clear()
            self.abort()
        self.wake.set()

    def freeze(self, frozen: bool = True) -> None:
        """Keep the connection and send nothing, not even what waits, until thawed."""
        self.frozen = frozen
        self.wake.set()


class Watchers:
    """The watchers of one bucket."""

    def __init__(self) -> None:
        self._wide: set[Watcher] = set()
        self._named: dict[str, set[Watcher]] = {}

    def __iter__(self) -> Iterator[Watcher]:
        yield from tuple(self._wide)
        for group in tuple(self._named.values()):
            yield from tuple(group)

    def add(self, watcher: Watcher) -> None:
        """Start telling ``watcher``."""
        if watcher.selection.name:
            self._named.setdefault(watcher.selection.name, set()).add(watcher)
        else:
            self._wide.add(watcher)

    def discard(self, watcher: Watcher) -> None:
        """Stop telling ``watcher``."""
        self._wide.discard(watcher)
        group = self._named.get(watcher.selection.name)
        if group is not None:
            group.discard(watcher)
            if not group:
                del self._named[watcher.selection.name]

    def tell(self, change: Change) -> None:
        """Hand ``change`` to all it may concern."""
        frames: Frames = {}
        for watcher in tuple(self._wide):
            watcher.offer(change, frames)
        for watcher in tuple(self._named.get(change.key[1], ())):
            watcher.offer(change, frames)

    def close(self, *, abrupt: bool = False) -> None:
        """End every watch."""
        for watcher in self:
            watcher.close(abrupt=abrupt)
