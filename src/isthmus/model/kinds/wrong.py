"""What is wrong with a value a user wrote, before anybody knows where it was written.

Validators of the kinds raise ``Wrong``; pydantic carries it to ``parse``, which adds the field path, and the registry
adds the file and the line. The reason and the way out stay apart to the very end, so that each reader (terminal, status
condition, REST answer) can show them in its own manner.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["Wrong", "closest"]


class Wrong(ValueError):
    """A value cannot be accepted: ``reason`` why, ``remedy`` what to do, ``at`` the field below the one checked."""

    def __init__(self, reason: str, remedy: str = "", *, at: tuple[str | int, ...] = ()) -> None:
        self.reason = reason
        self.remedy = remedy
        self.at = at
        super().__init__(f"{reason} ({remedy})" if remedy else reason)


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the one of ``known`` that ``word`` was most likely meant to be, whatever its case, or None."""
    return _closest(word, tuple(sorted(known)))


# The same slip is often in many objects, and comparing a word with a thousand names takes a moment.
@lru_cache(maxsize=256)
def _closest(word: str, known: tuple[str, ...]) -> str | None:
    folded = {name.lower().replace("_", ""): name for name in reversed(known)}
    found = difflib.get_close_matches(word.lower().replace("_", ""), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None
