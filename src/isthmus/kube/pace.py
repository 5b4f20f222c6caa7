"""How long we wait for what, and how we slow down: the numbers of the cluster edge in one place.

The arithmetic that matters: a watch that has died without a word is noticed within ``Timing().worst_blindness`` seconds,
which a test holds at 20 or less. Back-off follows every end of a watch, clean ones too: a server that closes every watch
at once would otherwise be asked hundreds of times a second.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, all of them.

    ``idle_check``: silence of a watch after which a second connection is asked; ``probe``: the limit of each of its two
    questions; ``listen``: how long the second one waits for events; ``grace``: what the watch then gets to catch up.
    ``read`` ends a watch without a byte, and is longer than the minute between bookmarks. ``watch_least`` and
    ``watch_most`` bound the life that we ask a watch to have. ``healthy``: a watch that lived so long resets the back-off;
    short, because proxies end quiet connections after half a minute or a minute, and each end must not cost a longer pause.
    """

    idle_check: float = 8.0
    probe: float = 4.0
    listen: float = 1.0
    grace: float = 1.0
    read: float = 90.0
    watch_least: int = 240
    watch_most: int = 480
    healthy: float = 10.0
    backoff_first: float = 0.5
    backoff_most: float = 30.0

    @property
    def worst_blindness(self) -> float:
        """Return the longest time for which a silently dead watch is believed."""
        return self.idle_check + 2 * self.probe + self.grace


class Backoff:
    """Pauses that double up to a limit, each drawn from its upper half so that many clients spread out."""

    def __init__(self, first: float, most: float, source: random.Random) -> None:
        self._first = first
        self._most = most
        self._source = source
        self._next = first

    def reset(self) -> None:
        """Begin again with the first pause."""
        self._next = self._first

    def pause(self) -> float:
        """Return the seconds to wait now."""
        pause = self._next
        self._next = min(self._next * 2, self._most)
        return pause * self._source.uniform(0.5, 1.0)
