"""Problems with a place: file, line, object and field, the reason, and the way out.

They are ``InputError``s, so one ``except`` or one list holds whatever a user wrote wrong; ``key`` is there for those who
show a problem with the object it is about.
"""

from __future__ import annotations

from isthmus.errors import DuplicateOrigin, InputError
from isthmus.model.kinds import Key

__all__ = ["DuplicateObject", "InputWarning", "Problem"]


class Problem(InputError):
    """Something a user wrote is wrong; ``key`` is the object it is about, where that could be read."""

    def __init__(self, place: str, reason: str, remedy: str = "", *, key: Key | None = None) -> None:
        super().__init__(place, reason, remedy)
        self.key = key


class InputWarning(Problem):
    """Something a user wrote is probably not what was meant; everything works in spite of it."""


class DuplicateObject(Problem, DuplicateOrigin):
    """The same object is written in two places; the first by path and line counts."""
