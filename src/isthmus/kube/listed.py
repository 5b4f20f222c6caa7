"""A list while it arrives: facts by key, and what cannot be decoded, with the reason; worth nothing before it is complete.

The one confusing thing: a last page with nothing on it. The page before promised more, so what came is no list, although
every answer was 200. Without pages there is nothing to promise, so the same is then asked for in one piece.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from isthmus.errors import IsthmusError, KubeError
from isthmus.kube import wire
from isthmus.kube.client import KubeClient
from isthmus.kube.liveness import Where
from isthmus.kube.parse import Projection
from isthmus.model.facts import ObjectKey

__all__ = ["Listed", "Lister"]

F = TypeVar("F")
_BAD_CONTENT = (ValueError, TypeError, LookupError, AttributeError, IsthmusError)
_PAGE = 500


@dataclass(slots=True)
class Listed(Generic[F]):
    """What has arrived so far."""

    projection: Projection[F]
    facts: dict[ObjectKey, F] = field(default_factory=dict)
    broken: dict[ObjectKey, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.facts or self.broken)

    def take(self, key: ObjectKey, thing: Any) -> None:
        """Add an object, as facts or as one that cannot be decoded."""
        try:
            self.facts[key] = self.projection.facts(thing)
        except _BAD_CONTENT as error:
            self.broken[key] = f"{type(error).__name__}: {error}"[:300]
            self.facts.pop(key, None)

    def forget(self, key: ObjectKey) -> None:
        """Take out what was deleted while the list arrived."""
        self.facts.pop(key, None)
        self.broken.pop(key, None)


class Lister(Generic[F]):
    """Lists one kind, in pages; in one piece after pages that broke their promise."""

    def __init__(self, client: KubeClient, projection: Projection[F], where: Where) -> None:
        self._client = client
        self._projection = projection
        self._where = where
        self._limit = _PAGE

    async def list(self) -> tuple[Listed[F], str]:
        """Return a complete list and its resourceVersion."""
        listed, version, kind = Listed(self._projection), "", self._projection.kind
        limit, self._limit = self._limit, _PAGE
        pages = self._client.list_pages(kind, type=self._projection.wire, limit=limit, **self._where)
        first = True
        async for page in pages:
            if not (first or page.items or page.broken):
                self._limit = 0
                raise KubeError(
                    f"list {kind}: a page is empty although the one before promised more, so it is no list"
                )
            first, version = False, page.resource_version
            for thing in page.items:
                meta = wire.meta_of(thing)
                listed.take((meta.namespace or "", meta.name), thing)
            for bad in page.broken:
                listed.broken[bad.namespace, bad.name] = bad.reason
        return listed, version
