"""Somebody else who writes what we write, again and again: found by what becomes of our words, and left alone for a while.

Two installations that serve the same class of Services would take each other's words back for ever. Neither can know of the
other beforehand; but each can see that what it wrote did not stand. After the third time within a minute it says so, once,
and writes no more for five minutes. A person who takes our words back once is no rival.

The one confusing thing: what we see may be older than what we wrote. So words count as taken back only where they were seen
to stand, or where what stands is neither ours nor what stood before.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rivals"]

_OFTEN = 3
_WINDOW = 60.0
_PAUSE = 300.0


@dataclass(slots=True)
class _Words:
    ours: object
    before: object
    stood: bool = False
    lost: tuple[float, ...] = ()
    until: float = 0.0
    told: bool = False


class Rivals:
    """What became of our words, by object; ``now`` is in seconds of any clock."""

    def __init__(self) -> None:
        self._words: dict[str, _Words] = {}

    def stands(self, name: str) -> None:
        """Take the news that an object says what we want it to say."""
        if name in self._words:
            self._words[name].stood = True

    def pause(self, name: str, standing: object, now: float) -> float:
        """Return for how long to leave an object alone that does not say what we want; 0: write."""
        words = self._words.get(name)
        if words is None:
            return 0.0
        if standing == words.ours:
            words.stood = True  # what we want has changed; what we said had stood
        elif words.stood or standing != words.before:
            words.stood, words.before = False, standing
            words.lost += (now,)
        words.lost = tuple(at for at in words.lost if at > now - _WINDOW)
        if now >= words.until and len(words.lost) >= _OFTEN:
            words.until = now + _PAUSE
            words.lost = ()
        return max(0.0, words.until - now)

    def is_news(self, name: str) -> bool:
        """Say whether the rival of an object has not been told of yet; it is from now on."""
        told, self._words[name].told = self._words[name].told, True
        return not told

    def wrote(self, name: str, ours: object, before: object) -> None:
        """Take the news that ``ours`` was written over ``before``."""
        words = self._words.setdefault(name, _Words(ours, before))
        words.ours, words.before, words.stood = ours, before, False

    def forget(self, name: str) -> None:
        """Forget an object that is gone."""
        self._words.pop(name, None)
