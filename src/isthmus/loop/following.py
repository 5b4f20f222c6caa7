"""What a worker would change and leaves to another, whose turn it is: looked at again until the other has done it.

So a standby knows what stands on a device, at the price of reading what has just changed, ever more slowly where nothing
comes of it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from isthmus.model.plan import Plan, Scope

__all__ = ["OTHERS", "Awaited"]

OTHERS = 5.0
"""Seconds until all is looked at again where another has something to do that no scope wants."""


class Pauses(Protocol):
    """The queue's growing pauses, by scope."""

    def failed(self, key: Scope) -> float: ...
    def done(self, key: Scope) -> None: ...


class Awaited:
    """The changes that are another's to make, by identity, with the scopes that want them."""

    def __init__(self, pauses: Pauses) -> None:
        self._pauses = pauses
        self._scopes: dict[str, frozenset[Scope]] = {}
        self._asked: set[Scope] = set()

    def __len__(self) -> int:
        return len(self._scopes)

    def leave(self, plan: Plan) -> bool:
        """Leave ``plan`` to the other; say whether all of it will be looked at again by its scopes."""
        left = {scope for change in plan.changes for scope in change.scopes}
        for scope in left:
            self._pauses.failed(scope)
        for scope in self._asked - left:
            self._pauses.done(scope)
        self._asked = set()
        self._scopes.update({change.identity: frozenset(change.scopes) for change in plan.changes if change.scopes})
        return all(change.scopes for change in plan.changes)

    def due(self, keys: Collection[object]) -> set[str]:
        """Return what to look at now, when ``keys`` are; it is awaited no more unless it is left again."""
        found = {identity for identity, scopes in self._scopes.items() if not scopes.isdisjoint(keys)}
        for identity in found:
            self._asked |= self._scopes.pop(identity)
        return found

    def forget(self) -> None:
        """Await nothing any more: everything has just been looked at."""
        for scopes in self._scopes.values():
            self._asked |= scopes
        self._scopes.clear()
