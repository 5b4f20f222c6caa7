"""Writes statuses into the home cluster: only what differs from what stands there, and never one object often.

``want`` says how everything should read, as often as one likes; ``run`` compares and writes. An object is written at most
once a second; a first difference waits a moment, since changes come in bursts. What could not be written is tried again,
ever more slowly, and keeps nobody else waiting.

The one confusing thing: what stands there is what the watch shows, except for the moment between our own write and the
news of it; until that object moves, our own write is what stands.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from isthmus.app.home.documents import document, standing
from isthmus.app.home.news import News, news
from isthmus.app.home.objects import REFERENCES, HomeObject
from isthmus.app.home.registry import HomeRegistry
from isthmus.errors import IsthmusError, KubeNotFound, KubeThrottled
from isthmus.kube.client import KubeClient
from isthmus.model.kinds import Key
from isthmus.telemetry import get_logger

__all__ = ["StatusWriter"]

_TICK = 0.25
"""Seconds between two comparisons."""
_SETTLE = 0.3
"""Seconds that a first difference waits: changes come in bursts."""
_PAUSE = 1.0
"""Seconds between two writes to one object."""
_LONGEST_PAUSE = 60.0
_AT_ONCE = 8
_A_ROUND = 200
"""So many objects are written before all are compared again."""
_A_BREATH = 100
"""So many objects are compared before others get their turn."""


@dataclass(slots=True)
class _Entry:
    found: HomeObject | None = None
    said: Mapping[str, Any] = field(default_factory=dict)
    differs_since: float | None = None
    next_write: float = 0.0
    failures: int = 0
    drift_before: int | None = None
    written_at_version: str | None = None
    written: dict[str, Any] = field(default_factory=dict)


class StatusWriter:
    """Keeps the statuses of all objects of the home cluster as they should be while :meth:`run` runs."""

    def __init__(
        self,
        client: KubeClient,
        registry: HomeRegistry,
        tell: Callable[[HomeObject, News], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._registry = registry
        self._tell = tell
        self._clock = clock
        self._now = now
        self._wanted: Mapping[Key, Mapping[str, Any]] = {}
        self._entries: dict[Key, _Entry] = {}
        self._log = get_logger("app")
        self._complained = False

    def want(self, said: Mapping[Key, Mapping[str, Any]]) -> None:
        """Have every object say what is said of it here; one of which nothing is said keeps its status."""
        self._wanted = said

    async def run(self) -> None:
        """Write what differs until cancelled."""
        while True:
            await asyncio.sleep(_TICK)
            due = (await self._due())[:_A_ROUND]
            slots = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(*(self._write(slots, found, self._entries[found.key]) for found in due))

    async def _due(self) -> list[HomeObject]:
        """Return the objects whose status differs for long enough and may be written now, those that wait longest first."""
        moment, due, compared = self._clock(), [], 0
        everything = self._wanted
        objects = {found.key: found for found in self._registry.all() if found.key in everything}
        for key in self._entries.keys() - objects.keys():
            del self._entries[key]
        for key, found in objects.items():
            entry = self._entries.setdefault(key, _Entry())
            said = everything[key]
            if entry.found is found and entry.said == said and entry.differs_since is None:
                continue
            entry.found, entry.said = found, said
            compared += 1
            if compared % _A_BREATH == 0:
                await asyncio.sleep(
                    0
                )  # ten thousand claims after a start take a second; others get their turn between
            wanted, _ = self._document(entry, found)
            if wanted == self._standing(entry, found):
                entry.differs_since = None
                continue
            if entry.differs_since is None:
                entry.differs_since = moment
            if moment >= max(entry.differs_since + _SETTLE, entry.next_write):
                due.append((entry.differs_since, key, found))
        return [found for _, _, found in sorted(due, key=lambda one: one[:2])]

    def _document(self, entry: _Entry, found: HomeObject) -> tuple[dict[str, Any], list[Any]]:
        if entry.drift_before is None:
            entry.drift_before = int(standing(found.key[0], found.status).get("drift") or 0)
        before = self._standing(entry, found)
        return document(found, entry.said, before, self._now(), drift_before=entry.drift_before)

    def _standing(self, entry: _Entry, found: HomeObject) -> dict[str, Any]:
        if entry.written_at_version == found.resource_version:
            return entry.written
        return standing(found.key[0], found.status)

    async def _write(self, slots: asyncio.Semaphore, found: HomeObject, entry: _Entry) -> None:
        kind, name = found.key
        wanted, told = self._document(entry, found)
        async with slots:
            try:
                await self._client.apply_status(
                    REFERENCES[kind], {"metadata": {"name": name}, "status": wanted}, force=True
                )
            except KubeNotFound:
                return  # deleted meanwhile; the watch tells
            except IsthmusError as error:
                self._failed(entry, error)
                return
        before = self._standing(entry, found)
        entry.written_at_version, entry.written = found.resource_version, wanted
        entry.differs_since, entry.failures = None, 0
        entry.next_write = self._clock() + _PAUSE
        self._complained = False
        for one in news(kind, told, before, wanted):
            self._tell(found, one)

    def _failed(self, entry: _Entry, error: IsthmusError) -> None:
        entry.failures += 1
        pause = min(_PAUSE * 2 ** min(entry.failures, 10), _LONGEST_PAUSE)
        if isinstance(error, KubeThrottled):
            pause = max(pause, error.retry_after)
        entry.next_write = self._clock() + pause
        if not self._complained:
            self._complained = True
            self._log.warning("status not written", error=str(error))
