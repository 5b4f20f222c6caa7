"""How often a device that does not serve is asked: the numbers and the arithmetic, in one place.

Who paces? The loop calls when it likes, and sooner if an error says so; this gate stands between it and the device. A device
that answers 503 is left alone: real requests (a login first of all) come after pauses that treble, so that ten minutes of 503
see no more than eight. Such pauses alone would notice its return minutes late. So in between somebody *knocks*: one request
without credentials or session, to which a device that serves says 401 at no cost. What is no 503 opens the gate at once.

=====================  ==========================================================
the device says        it is asked again
=====================  ==========================================================
503, Retry-After: n    by a knock after n seconds, no sooner
503                    by a knock after 4 s, and every 4 s
=====================  ==========================================================

Pauses are drawn from their upper half, so that many clients spread out.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["KNOCK", "Gate", "retry_after"]

KNOCK = 4.0
"""Seconds between two knocks, where the device does not say when to come back."""
_FIRST = 10.0
_MOST = 320.0
_FACTOR = 3.0
_LONGEST = 3600.0


def retry_after(text: str, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After header says (RFC 9110, 10.2.3: a number, or a date); None where it says none."""
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return min(float(text), _LONGEST)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()), _LONGEST)


class Gate:
    """Whether a node may be asked now; ``clock`` tells seconds."""

    def __init__(self, clock: Callable[[], float], source: random.Random) -> None:
        self._clock = clock
        self._source = source
        self._pause = _FIRST
        self._shut_until = self._knock_at = float("-inf")
        self.shut = False
        """Whether the last answer was that it does not serve."""

    def serves(self) -> None:
        """Take the news that it has answered anything else."""
        self._pause, self.shut = _FIRST, False
        self._shut_until = self._knock_at = float("-inf")

    def declines(self, after: float | None) -> None:
        """Take a 503, with the seconds of its Retry-After."""
        now = self._clock()
        self._knock_at = now + (KNOCK if after is None else after + self._source.uniform(0.0, 1.0))
        if self.shut and now < self._shut_until:
            return  # one that was under way, or a knock: a pause has begun already
        self.shut = True
        self._shut_until = now + self._pause * self._source.uniform(0.5, 1.0)
        self._pause = min(self._pause * _FACTOR, _MOST)

    def wait(self) -> float:
        """Return the seconds until it may be asked, or knocked at; 0 for now."""
        return max(0.0, self._knock_at - self._clock()) if self.shut else 0.0

    def knocks(self) -> bool:
        """Return whether now a knock comes first: the pause for real requests is not over."""
        return self.shut and self._clock() < self._shut_until
