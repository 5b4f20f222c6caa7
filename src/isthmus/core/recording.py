"""Which of what is written down of a device has moved since it was: one thing more costs one line more."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from isthmus.model.plan import Scope
from isthmus.model.resources import AnyResource

__all__ = ["Record", "Unsaved"]

Record = tuple[AnyResource, tuple[Scope, ...]]
"""A thing as it is to be restored, and the scopes that want it."""


class Unsaved:
    """The identities whose record may have moved; at first, and after a look at everything, that is all of them."""

    def __init__(self) -> None:
        self._whole = True
        self._some: set[str] = set()

    def all(self) -> None:
        """Take that any record may have moved."""
        self._whole = True
        self._some.clear()

    def add(self, identities: Iterable[str]) -> None:
        """Take that the records of ``identities`` may have moved."""
        if not self._whole:
            self._some.update(identities)

    def take(self) -> Collection[str] | None:
        """Return what may have moved since this was last asked, none for everything."""
        found = None if self._whole else self._some
        self._whole, self._some = False, set()
        return found

    def put_back(self, taken: Collection[str] | None) -> None:
        """Take that what was taken is not written down after all."""
        if taken is None:
            self.all()
        else:
            self.add(taken)
