"""What was written and has not come back by the watch yet, so that it is not said twice.

Whoever looks between a write and its echo sees what stood before, and would write the same again, with another time in it:
a restart in sync would not be silent. The one confusing thing: an echo may never come (it was taken back before we could see
it), so nobody waits for one longer than two seconds.
"""

from __future__ import annotations

__all__ = ["Echoes"]

_PATIENCE = 2.0


class Echoes:
    """The last words to each object; ``now`` is in seconds of any clock."""

    def __init__(self) -> None:
        self._awaited: dict[str, tuple[object, object, float]] = {}

    def wrote(self, name: str, words: object, over: object, now: float) -> None:
        """Take the news that ``words`` were written where ``over`` was seen to stand."""
        self._awaited[name] = (words, over, now + _PATIENCE)

    def wait(self, name: str, words: object, standing: object, now: float) -> float:
        """Return for how long to wait before ``words`` are written where ``standing`` is seen; 0: write."""
        written, over, until = self._awaited.get(name, (None, None, 0.0))
        if (written, over) == (words, standing) and 0 < until - now <= _PATIENCE:  # a clock may have been set back
            return until - now
        self._awaited.pop(name, None)
        return 0.0

    def forget(self, name: str) -> None:
        """Forget an object that is gone."""
        self._awaited.pop(name, None)
