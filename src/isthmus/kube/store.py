"""The facts of one kind in one cluster, by key and by any index that was asked for.

Knows nothing of where they come from. A change costs what that object costs, never what the store holds. Facts are compared:
putting equal facts again is no change.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, ItemsView, Iterable, KeysView, Mapping
from typing import Generic, TypeVar

from isthmus.model.facts import ObjectKey

F = TypeVar("F")
IndexFunction = Callable[[F], Iterable[Hashable]]


class Store(Generic[F]):
    """Facts by key, with indexes. An index function returns the values under which a fact is to be found."""

    def __init__(self, indexes: Mapping[str, IndexFunction[F]] | None = None) -> None:
        self._facts: dict[ObjectKey, F] = {}
        self._functions = dict(indexes or {})
        self._indexes: dict[str, dict[Hashable, set[ObjectKey]]] = {name: {} for name in self._functions}

    def __len__(self) -> int:
        return len(self._facts)

    def __contains__(self, key: object) -> bool:
        return key in self._facts

    def get(self, key: ObjectKey) -> F | None:
        """Return the facts under ``key``."""
        return self._facts.get(key)

    def keys(self) -> KeysView[ObjectKey]:
        """Return a live view of the keys."""
        return self._facts.keys()

    def items(self) -> ItemsView[ObjectKey, F]:
        """Return a live view of keys and facts."""
        return self._facts.items()

    def by(self, index: str, value: Hashable) -> list[F]:
        """Return the facts that ``index`` files under ``value``, in the order of their keys."""
        return [self._facts[key] for key in sorted(self._indexes[index].get(value, ()))]

    def put(self, key: ObjectKey, facts: F) -> bool:
        """Keep ``facts`` under ``key``; say whether that changed anything."""
        before = self._facts.get(key)
        if before is not None:
            if before == facts:
                return False
            self._unfile(key, before)
        self._facts[key] = facts
        for name, function in self._functions.items():
            for value in function(facts):
                self._indexes[name].setdefault(value, set()).add(key)
        return True

    def remove(self, key: ObjectKey) -> bool:
        """Forget what is under ``key``; say whether there was anything."""
        before = self._facts.pop(key, None)
        if before is None:
            return False
        self._unfile(key, before)
        return True

    def _unfile(self, key: ObjectKey, facts: F) -> None:
        for name, function in self._functions.items():
            index = self._indexes[name]
            for value in function(facts):
                keys = index.get(value)
                if keys is not None:
                    keys.discard(key)
                    if not keys:
                        del index[value]
