"""Kubernetes Events on users' own objects: what we did or could not do, where its owner looks for it (``kubectl describe``).

An Event is a courtesy, so it never holds anybody up: ``tell`` returns at once, a failed write is logged and forgotten. The
same news about the same object becomes a count on one Event (a series), not a hundred Events; one object can cause a burst
and then a trickle, whatever flaps.

The one confusing thing: an Event lives in the namespace of what it regards, and in ``default`` for what has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from isthmus.errors import KubeConflict, KubeError, KubeNotFound, KubeThrottled
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import EVENTS
from isthmus.telemetry import get_logger, reconcile_id

__all__ = ["EventWriter", "Regarding"]

RECONCILE = "isthmus.dev/reconcile"
"""Annotation of an Event: the ``reconcile`` of the log lines of the same pass."""
_SERIES_GAP = 600.0
"""Seconds after which the same news is a new Event: API servers forget Events after an hour."""
_MOST_SERIES = 4096
_MOST_WAITING = 1000
_BURST = 10.0
_REFILL = 1 / 60.0

log = get_logger("kube")


@dataclass(frozen=True, slots=True)
class Regarding:
    """The object that an Event is about."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class _News:
    regarding: Regarding
    type: Literal["Normal", "Warning"]
    reason: str
    action: str
    note: str


@dataclass(slots=True)
class _Series:
    event: str
    count: int
    last: float


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


class EventWriter:
    """Writes Events to one cluster in the background, while ``run`` runs.

    ``instance`` tells replicas apart. ``dropped`` counts what the limits kept from being told. ``clock`` is epoch seconds.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        instance: str = "",
        clock: Callable[[], float] = time.time,
        burst: float = _BURST,
        refill: float = _REFILL,
    ) -> None:
        self.dropped = 0
        self._client = client
        self._instance = instance or f"isthmus-{socket.gethostname()}"[:128]
        self._clock = clock
        self._burst = burst
        self._refill = refill
        self._waiting: OrderedDict[_News, int] = OrderedDict()
        self._causes: dict[_News, str] = {}
        self._series: OrderedDict[_News, _Series] = OrderedDict()
        self._buckets: OrderedDict[Regarding, _Bucket] = OrderedDict()
        self._something = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._complained = False

    def tell(
        self, regarding: Regarding, reason: str, note: str, *, warning: bool = False, action: str = "Reconcile"
    ) -> None:
        """Say that ``reason`` (one CamelCase word) happened to ``regarding``; ``note`` is the sentence.

        Never raises and never waits. Beyond an object's allowance, repeated news is only counted and other news dropped.
        """
        news = _News(regarding, "Warning" if warning else "Normal", reason[:128], action[:128], note[:1024])
        if news in self._waiting:
            self._waiting[news] += 1
        elif len(self._waiting) >= _MOST_WAITING or not self._may(regarding):
            if news in self._series:
                self._series[news].count += 1  # told with the next one that may be
            else:
                self.dropped += 1
        else:
            self._waiting[news] = 1
            self._causes[news] = reconcile_id()
            self._idle.clear()
            self._something.set()

    async def drained(self) -> None:
        """Wait until everything told so far was written or given up."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write what was told, one Event at a time, until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            while self._waiting:
                news, times = self._waiting.popitem(last=False)
                try:
                    await self._write(news, times)
                    self._complained = False
                except KubeError as error:
                    self.dropped += 1
                    if not self._complained:
                        self._complained = True
                        cluster = self._client.connection.name
                        log.warning("events cannot be written", cluster=cluster, reason=str(error))
                    if isinstance(error, KubeThrottled):
                        await asyncio.sleep(error.retry_after)
            self._idle.set()

    def _may(self, regarding: Regarding) -> bool:
        """Take from the object's own allowance: a burst, then one a minute."""
        now = self._clock()
        bucket = self._buckets.pop(regarding, None) or _Bucket(self._burst, now)
        bucket.tokens = min(self._burst, bucket.tokens + max(0.0, now - bucket.filled) * self._refill)
        bucket.filled = now
        self._buckets[regarding] = bucket
        if len(self._buckets) > _MOST_SERIES:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    async def _write(self, news: _News, times: int) -> None:
        now = self._clock()
        cause = self._causes.pop(news, "")
        series = self._series.pop(news, None)
        if series is not None and now - series.last <= _SERIES_GAP:
            series.count += times
            series.last = now
            try:
                await self._count(news, series)
            except KubeNotFound:
                series = None  # it has expired: the next lines write a new one
        else:
            series = None
        if series is None:
            series = _Series(_name(news, now), times, now)
            with contextlib.suppress(KubeConflict):  # a lost answer to the same create: it has been said
                await self._client.create(EVENTS, self._event(news, series, cause))
        self._series[news] = series
        if len(self._series) > _MOST_SERIES:
            self._series.popitem(last=False)

    async def _count(self, news: _News, series: _Series) -> None:
        patch = {"series": {"count": series.count, "lastObservedTime": _micro(series.last)}}
        await self._client.patch(EVENTS, series.event, patch, news.regarding.namespace or "default")

    def _event(self, news: _News, series: _Series, cause: str) -> dict[str, Any]:
        regarding = {
            "apiVersion": news.regarding.api_version,
            "kind": news.regarding.kind,
            "name": news.regarding.name,
            "namespace": news.regarding.namespace,
            "uid": news.regarding.uid,
        }
        event: dict[str, Any] = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": series.event, "namespace": news.regarding.namespace or "default"},
            "eventTime": _micro(series.last),
            "reportingController": "isthmus.dev/isthmus",
            "reportingInstance": self._instance,
            "regarding": {key: text for key, text in regarding.items() if text},
            "type": news.type,
            "reason": news.reason,
            "action": news.action,
            "note": news.note,
        }
        if cause:
            event["metadata"]["annotations"] = {RECONCILE: cause}
        if series.count > 1:
            event["series"] = {"count": series.count, "lastObservedTime": _micro(series.last)}
        return event


def _name(news: _News, now: float) -> str:
    """Return a name that is unique per news and moment, and valid whatever the object is called."""
    digest = hashlib.sha256(repr((news, now)).encode()).hexdigest()[:16]
    return f"{news.regarding.name[:200].rstrip('.-')}.{digest}"


def _micro(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
