"""A queue of keys, not of events: a key that waits already is not queued twice, and says only where to look again.

One consumer takes everything that is ready at once, so a burst of a thousand changes to one scope is one look at it. A key
that failed comes back after a growing pause of its own, which holds up no other key.

The one confusing thing: a key added with a delay and then added without one is ready at once; the earlier time wins.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
_SLACK = 64
"""So many turns that nobody waits for any more are left lying in the heap."""


class KeyedQueue(Generic[KeyT]):
    """Keys to look at, each at most once; times in seconds of the event loop's clock."""

    def __init__(
        self,
        *,
        first_pause: float = 0.05,
        longest_pause: float = 60.0,
        clock: Callable[[], float] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first, self._longest = first_pause, longest_pause
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._jitter = jitter
        self._due: dict[KeyT, float] = {}
        self._heap: list[tuple[float, int, KeyT]] = []
        self._serial = itertools.count()
        self._failures: dict[KeyT, int] = {}
        self._wake = asyncio.Event()

    def add(self, key: KeyT, delay: float = 0.0) -> None:
        """Ask for ``key`` to be looked at after ``delay``; an earlier request for it stands."""
        due = self._clock() + delay
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._serial), key))
        if len(self._heap) > 2 * len(self._due) + _SLACK:
            # A key that was brought forward leaves its later turn behind: a slow timer that is always overtaken.
            self._heap = [turn for turn in self._heap if self._due.get(turn[2]) == turn[0]]
            heapq.heapify(self._heap)
        self._wake.set()

    def failed(self, key: KeyT, *, at_least: float = 0.0) -> float:
        """Ask for ``key`` again after its own growing pause (with jitter), at least ``at_least``; return the pause."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        pause: float = min(self._first * 2 ** min(count - 1, 30), self._longest)
        pause = max(pause * (0.5 + self._jitter() / 2), at_least)
        self.add(key, pause)
        return pause

    def done(self, key: KeyT) -> None:
        """Forget the failures of ``key``."""
        self._failures.pop(key, None)

    def failures(self, key: KeyT) -> int:
        """Return how often ``key`` failed in a row."""
        return self._failures.get(key, 0)

    def __len__(self) -> int:
        return len(self._due)

    def waiting(self) -> tuple[int, float]:
        """Return how many keys wait, and for how long the one that waits longest has been due (0 while none is)."""
        oldest = min(self._due.values(), default=float("inf"))
        return len(self._due), max(0.0, self._clock() - oldest)

    def ready(self) -> set[KeyT]:
        """Take every key whose time has come; none waits twice."""
        now = self._clock()
        keys: set[KeyT] = set()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                keys.add(key)
        return keys

    async def take(self) -> set[KeyT]:
        """Wait until some key's time has come and take all such keys."""
        while True:
            keys = self.ready()
            if keys:
                return keys
            self._wake.clear()
            timeout = None if not self._heap else max(0.0, self._heap[0][0] - self._clock())
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                continue
