"""What caused the work at hand: which kind of object a cluster told about, and when; so that convergence can be measured.

It travels as a context variable from the watch to whatever is queued on its account, and with a queued key to the task that
takes it. The one confusing thing: most work has no origin. A timer, a first list, a device that came back and a file that
was edited are no events of a cluster, and nothing is measured for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, NamedTuple, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class Origin(NamedTuple):
    """The watched kind that told something, and the event loop's time at which it did."""

    kind: str
    at: float


_current: ContextVar[Origin | None] = ContextVar("origin", default=None)


@contextmanager
def caused(origin: Origin | None) -> Iterator[None]:
    """Have all that is queued inside come from ``origin``."""
    token = _current.set(origin)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def caused_now(kind: str) -> Iterator[None]:
    """Have all that is queued inside come from an event about ``kind`` that arrived just now."""
    with caused(Origin(kind, asyncio.get_running_loop().time())):
        yield


class Origins(Generic[KeyT]):
    """The oldest origin of each waiting key."""

    def __init__(self) -> None:
        self._waiting: dict[KeyT, Origin] = {}

    def note(self, keys: Iterable[KeyT]) -> None:
        """Take the current origin, if there is one, for ``keys`` that have none yet."""
        origin = _current.get()
        if origin is not None:
            for key in keys:
                self._waiting.setdefault(key, origin)

    def take(self, keys: Collection[Hashable]) -> dict[KeyT, Origin]:
        """Take out the origins of those that are among ``keys``."""
        # One key among ten thousand that wait, or a whole pass: what it costs is the smaller of the two.
        if len(keys) < len(self._waiting):
            return {key: self._waiting.pop(key) for key in keys if key in self._waiting}
        found = {key: origin for key, origin in self._waiting.items() if key in keys}
        for key in found:
            del self._waiting[key]
        return found

    def take_all(self) -> dict[KeyT, Origin]:
        """Take out every origin."""
        found, self._waiting = self._waiting, {}
        return found

    def put_back(self, origins: dict[KeyT, Origin]) -> None:
        """Put back what was not brought to an end; it is older than what came since."""
        self._waiting |= origins
