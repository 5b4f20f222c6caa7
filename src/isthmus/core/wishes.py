"""Who wants what: each identity on a device, the scopes that want it, and which of them gets its way.

Equal wishes are shared until the last wanting scope leaves. Unequal ones go to the first in a stable order (the older
object, then the scope's own order), never to whoever came first on the wire; the losers are named, and get their turn
as soon as the winner leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import msgspec

from isthmus.model.plan import Scope
from isthmus.model.resources import AnyResource


class Wish(msgspec.Struct, frozen=True):
    """One scope's wish. ``order`` (a creation time, so older sorts first) decides between unequal wishes."""

    order: str
    scope: Scope
    resource: AnyResource

    @property
    def precedence(self) -> tuple[str, Scope]:
        return (self.order, self.scope)


class Verdict(msgspec.Struct, frozen=True):
    """What an identity comes to: the wish that stands, every scope that shares it, and the wishes that lost."""

    resource: AnyResource
    scopes: tuple[Scope, ...]
    losers: tuple[Wish, ...] = ()


def _precedence(wish: Wish) -> tuple[str, Scope]:
    return wish.precedence


def _first(wishes: dict[Scope, Wish]) -> Wish:
    return min(wishes.values(), key=_precedence)


class Wishes:
    """All wishes for one device, by scope and by identity; every operation costs what the scope's own wishes cost."""

    def __init__(self) -> None:
        self._by_scope: dict[Scope, dict[str, AnyResource]] = {}
        self._by_identity: dict[str, Wish | dict[Scope, Wish]] = {}

    def replace(self, scope: Scope, resources: Iterable[AnyResource], order: str = "") -> set[str]:
        """Let ``scope`` want exactly ``resources``; return the identities whose verdict may have moved."""
        wanted = {resource.identity: resource for resource in resources}
        had = self._by_scope.get(scope, {})
        for identity, before in had.items():
            # What has not changed stays the same object: the device's observation holds it as well, and a second copy of
            # every member of every Service is a good part of the process's memory.
            if wanted.get(identity) == before:
                wanted[identity] = before
        touched: set[str] = set()
        for identity in had:
            if identity not in wanted:
                self._drop(identity, scope)
                touched.add(identity)
        for identity, resource in wanted.items():
            wish = Wish(order, scope, resource)
            if self._put(identity, wish):
                touched.add(identity)
        if wanted:
            self._by_scope[scope] = wanted
        else:
            self._by_scope.pop(scope, None)
        return touched

    def verdict(self, identity: str) -> Verdict | None:
        """Return what ``identity`` comes to, or none when nobody wants it."""
        found = self._by_identity.get(identity)
        if found is None:
            return None
        if isinstance(found, Wish):
            return Verdict(found.resource, (found.scope,))
        wishes = sorted(found.values(), key=_precedence)
        first = wishes[0]
        return Verdict(
            first.resource,
            tuple(wish.scope for wish in wishes if wish.resource == first.resource),
            tuple(wish for wish in wishes if wish.resource != first.resource),
        )

    def scopes_at(self, identity: str) -> Collection[Scope]:
        """Return every scope that wants ``identity``, whether it has its way or not."""
        found = self._by_identity.get(identity, {})
        return (found.scope,) if isinstance(found, Wish) else found.keys()

    def grants(self, identity: str, scope: Scope) -> bool:
        """Say whether ``scope`` has its way at ``identity``: alone, first, or with a wish equal to the first."""
        found = self._by_identity.get(identity)
        if isinstance(found, Wish):
            return found.scope == scope
        return found is not None and scope in found and found[scope].resource == _first(found).resource

    def of(self, scope: Scope) -> dict[str, AnyResource]:
        """Return what ``scope`` wants, by identity."""
        return self._by_scope.get(scope, {})

    def scopes(self) -> Iterator[Scope]:
        """Return every scope that wants something."""
        return iter(self._by_scope)

    def identities(self) -> Iterator[str]:
        """Return every identity that somebody wants."""
        return iter(self._by_identity)

    def __len__(self) -> int:
        return len(self._by_identity)

    # One wish is by far the usual case, so it is kept bare; a dict appears only where scopes meet.

    def _put(self, identity: str, wish: Wish) -> bool:
        found = self._by_identity.get(identity)
        if found is None or (isinstance(found, Wish) and found.scope == wish.scope):
            self._by_identity[identity] = wish
            return found != wish
        wishes = {found.scope: found} if isinstance(found, Wish) else found
        changed = wishes.get(wish.scope) != wish
        wishes[wish.scope] = wish
        self._by_identity[identity] = wishes
        return changed

    def _drop(self, identity: str, scope: Scope) -> None:
        found = self._by_identity.get(identity)
        if isinstance(found, dict):
            found.pop(scope, None)
            if len(found) == 1:
                self._by_identity[identity] = next(iter(found.values()))
        elif found is not None and found.scope == scope:
            del self._by_identity[identity]
