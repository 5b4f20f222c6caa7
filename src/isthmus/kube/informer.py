"""Keeps the facts of one kind in one cluster current, says how fresh they are, and when they are not to be believed.

Lists once (streamed where the API offers it, else in pages), then watches; resumes where it was, lists again when it must,
and compares: only what really changed is told, as keys, never as events. Nothing disappears on ignorance (``belief``), and
a silent watch is not taken for a quiet cluster (``liveness``). It runs in one task and keeps no raw objects.

The one confusing thing: ``failing`` and ``suspect`` are different troubles. *Failing* means that we hear nothing now;
the facts are those of ``freshness``. *Suspect* means that we do hear, and what we hear is not to be believed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Hashable, ItemsView, KeysView, Mapping
from typing import Any, Generic, TypeVar

from isthmus.errors import (
    KubeError,
    KubeExpired,
    KubeForbidden,
    KubeInvalid,
    KubeThrottled,
    KubeUnauthorized,
    KubeUnreachable,
)
from isthmus.kube.belief import Belief
from isthmus.kube.client import KubeClient
from isthmus.kube.listed import Listed, Lister
from isthmus.kube.liveness import Verdict, Where, prove
from isthmus.kube.pace import Backoff, Timing
from isthmus.kube.parse import Projection
from isthmus.kube.store import IndexFunction, Store
from isthmus.kube.watch import WatchEvent, WatchStream
from isthmus.metrics import WATCH_EVENTS, WATCH_EXPIRED, WATCH_LISTS, WATCH_RESTARTS
from isthmus.model.facts import ObjectKey
from isthmus.telemetry import get_logger

__all__ = ["BLIND", "Informer"]

F = TypeVar("F")
Batch = list[WatchEvent[Any]]

BLIND = 30.0
"""Seconds without proof that a watch lives after which it counts as dead; a live one proves itself every ten."""

log = get_logger("kube")


class Informer(Generic[F]):
    """The current facts of one kind in one cluster; ``run`` keeps them so until it is cancelled.

    ``on_change`` gets the keys whose facts changed, appeared or disappeared. ``on_suspect`` gets ``suspect`` whenever it
    changes. ``identity`` returns the cluster's identity (kube-system's uid); it is asked before a list is believed.

    ``synced`` is set once the first list is complete. ``freshness`` is the monotonic time of the last proof that nothing was
    missed. ``broken`` names the objects that cannot be decoded, with the reason; what was known of them before stays.
    """

    def __init__(
        self,
        client: KubeClient,
        projection: Projection[F],
        *,
        on_change: Callable[[set[ObjectKey]], None],
        on_suspect: Callable[[str | None], None] | None = None,
        identity: Callable[[], Awaitable[str]] | None = None,
        indexes: Mapping[str, IndexFunction[F]] | None = None,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        source: random.Random | None = None,
    ) -> None:
        self.kind = projection.kind
        self.synced = asyncio.Event()
        self.resource_version = ""
        self.freshness = float("-inf")
        self.failing: str | None = None
        self.broken: dict[ObjectKey, str] = {}
        self._client = client
        self._projection = projection
        self._on_change = on_change
        self._on_suspect = on_suspect
        self._ask_identity = identity
        self._identity: str | None = None
        self._where = Where(namespace=namespace, label_selector=label_selector, field_selector=field_selector)
        self._lister = Lister(client, projection, self._where)
        self._timing = timing or Timing()
        self._clock = clock
        self._source = source or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._backoff = Backoff(self._timing.backoff_first, self._timing.backoff_most, self._source)
        self._store: Store[F] = Store(indexes)
        self._belief = Belief(self.kind.plural)
        self._told: str | None = None
        self._watched = False
        self._labels = (client.connection.name, projection.kind.plural)
        self._must_list = True
        self._began_empty = self._stayed_empty = False
        self._streams = True
        self._refused_watches = 0
        self._watching_since: float | None = None
        self._hurry = asyncio.Event()
        self._log = log.bind(cluster=client.connection.name, kind=str(self.kind))

    # -- what is known

    def __len__(self) -> int:
        return len(self._store)

    def get(self, key: ObjectKey) -> F | None:
        """Return the facts under ``key``; cluster-scoped kinds have an empty namespace."""
        return self._store.get(key)

    def keys(self) -> KeysView[ObjectKey]:
        """Return a live view of the keys."""
        return self._store.keys()

    def items(self) -> ItemsView[ObjectKey, F]:
        """Return a live view of keys and facts."""
        return self._store.items()

    def by(self, index: str, value: Hashable) -> list[F]:
        """Return the facts that ``index`` files under ``value``, in the order of their keys."""
        return self._store.by(index, value)

    @property
    def suspect(self) -> str | None:
        """Return why some facts are kept although the API no longer shows them; none while all is believed."""
        return self._belief.suspect

    @property
    def proven(self) -> bool:
        """Say whether an empty list is more than one moment's answer: seconds later there was still nothing to be seen."""
        return not self._began_empty or self._stayed_empty

    def accept_empty(self) -> None:
        """Believe the API after all, because a person says so: what was held goes, another cluster is taken for ours."""
        if self._belief.foreign is not None:
            self._identity = None
            self._hurry.set()
        gone = self._belief.accept()
        self._tell({key for key in gone if self._store.remove(key)})

    # -- keeping it current

    async def run(self) -> None:
        """List, watch, resume, for ever. Ends only by cancellation, or by an error in a callback."""
        while True:
            wait, self._watching_since = 0.0, None
            try:
                await self._follow()
            except KubeThrottled as error:
                wait = error.retry_after
                self._fail(error)
            except KubeError as error:
                self._fail(error)
            if self._lived() >= self._timing.healthy:
                self._backoff.reset()
            try:
                async with asyncio.timeout(wait + self._backoff.pause()):
                    await self._hurry.wait()
            except TimeoutError:
                continue
            self._hurry.clear()

    def _lived(self) -> float:
        """Return for how long the last watch stood, below 0 if none did: a long list or time-out is no sign of health."""
        return -1.0 if self._watching_since is None else self._clock() - self._watching_since

    async def _follow(self) -> None:
        """Get from wherever we are to a watch, and follow it to its end."""
        try:
            if self._must_list and self._streams and await self._streamed():
                return
            if self._must_list:
                await self._list()
            await self._watch(None)
        except (KubeUnreachable, KubeThrottled, KubeUnauthorized, KubeForbidden):
            raise
        except KubeError as error:
            if isinstance(error, KubeExpired):
                WATCH_EXPIRED.labels(*self._labels).inc()
            outlived = isinstance(error, KubeExpired) and not self._must_list
            # A position may be one that the API cannot serve at all (in its future, after a restore): twice no, list again.
            self._refused_watches += 1
            self._must_list = self._must_list or outlived or self._refused_watches >= 2
            if not outlived:
                raise

    async def _streamed(self) -> bool:
        """List and watch on one connection; say whether the API offers that."""
        try:
            await self._watch(Listed(self._projection))
        except KubeInvalid:
            self._streams = False  # an API without streamed lists refuses them at once
        return self._streams

    async def _list(self) -> None:
        listed, version = await self._lister.list()
        await self._adopt(listed, version)

    async def _watch(self, listed: Listed[F] | None) -> None:
        """Watch until the server ends it; with ``listed``, the list comes first on the same connection."""
        timing = self._timing
        if self._watched:
            WATCH_RESTARTS.labels(*self._labels).inc()
        self._watched = True
        opening = self._client.watch(
            self.kind,
            type=self._projection.wire,
            resource_version=self.resource_version if listed is None else "",
            initial_events=listed is not None,
            timeout_seconds=self._source.randint(timing.watch_least, timing.watch_most),
            read_timeout=timing.read,
            **self._where,
        )
        async with opening as stream:
            if listed is None:
                self._watching_since = self._clock()
                self._alive()
            while listed is not None or not self._must_list:
                batch = await self._next(stream, complete=listed is None)
                if batch is None:
                    break
                if listed is not None:
                    listed, batch = await self._gather(listed, batch)
                    self._watching_since = self._clock() if listed is None else None
                self._take(batch)
        if listed is not None:
            raise KubeUnreachable(f"list {self.kind}: the stream ended before the list was complete")

    async def _next(self, stream: WatchStream[Any], *, complete: bool) -> Batch | None:
        """Return what the watch says next, none at its end; when it is silent, find out whether it is dead."""
        try:
            async with asyncio.timeout(self._timing.idle_check * self._source.uniform(0.8, 1.0)):
                return await stream.batch()
        except TimeoutError:
            if not complete:
                self._streams = False  # perhaps it ignores what it does not know, and will never end the list
                raise KubeUnreachable(f"list {self.kind}: fell silent before the list was complete") from None
        proof = await prove(self._client, self.kind, self._where, self.resource_version, self._timing)
        unseen = self._belief.suspect_empty or (proof.verdict is Verdict.CURRENT and self._began_empty)
        if proof.verdict is Verdict.WENT_BACK or (proof.occupied and unseen):
            self._must_list = True
        elif proof.verdict is Verdict.BEHIND:
            try:
                async with asyncio.timeout(self._timing.grace):
                    return await stream.batch()
            except TimeoutError:
                raise KubeUnreachable(f"watch {self.kind}: silent although the API has newer events") from None
        elif proof.verdict is Verdict.CURRENT:
            self._stayed_empty = not proof.occupied
            self._alive()
        return []

    async def _gather(self, listed: Listed[F], batch: Batch) -> tuple[Listed[F] | None, Batch]:
        """Add events to a streamed list; once its end is there, adopt it and return the events after it."""
        for position, event in enumerate(batch):
            key = (event.namespace, event.name)
            if event.type == "BOOKMARK":
                if event.initial_end:
                    await self._adopt(listed, event.resource_version)
                    return None, batch[position + 1 :]
            elif event.type == "DELETED":
                listed.forget(key)
            elif event.broken is not None:
                listed.broken[key] = event.broken.reason
            else:
                listed.take(key, event.object)
        return listed, []

    # -- taking it in

    async def _adopt(self, listed: Listed[F], version: str) -> None:
        """Make a complete list our state, as far as it is to be believed, and tell what really changed."""
        if not version:
            raise KubeError(f"list {self.kind}: has no resourceVersion, so it is no list")
        WATCH_LISTS.labels(*self._labels).inc()
        await self._check_identity()
        await self._check_empty(listed)
        gone = self._belief.judge(self._store.keys(), listed.facts.keys() | listed.broken.keys(), version)
        changed = {key for key, facts in listed.facts.items() if self._store.put(key, facts)}
        changed |= {key for key in gone if self._store.remove(key)}
        self._name_broken(listed.broken)
        self._began_empty, self._stayed_empty = not self._store and not self.broken, False
        self.resource_version = version
        self._must_list = False
        self._alive()
        self.synced.set()
        self._tell(changed)

    async def _check_empty(self, listed: Listed[F]) -> None:
        """Ask once more where a first list shows nothing: there is nothing yet that would make it doubtful.

        Else one wrong answer at a start is believed, and a device is emptied of what a former process put there.
        """
        if listed or self.synced.is_set():
            return
        _, occupied = await self._client.collection_version(self.kind, **self._where)
        if occupied:
            raise KubeError(f"list {self.kind}: was empty, and was not when asked again")

    async def _check_identity(self) -> None:
        if self._ask_identity is None:
            return
        identity = await self._ask_identity()
        if self._identity is None:
            self._identity = identity
        foreign = identity != self._identity
        self._belief.foreign = (
            f"the API is another cluster's now (kube-system was {self._identity}, is {identity}): nothing of it is taken"
            if foreign
            else None
        )
        if foreign:
            self._tell(set())
            raise KubeError(f"list {self.kind}: {self._belief.foreign}")

    def _take(self, batch: Batch) -> None:
        """Apply events; an object that cannot be decoded keeps what was known of it."""
        if batch:
            WATCH_EVENTS.labels(*self._labels).inc(len(batch))
        changed: set[ObjectKey] = set()
        for event in batch:
            key = (event.namespace, event.name)
            if event.type == "DELETED":
                self.broken.pop(key, None)
                self._belief.event(key)
                if self._store.remove(key):
                    changed.add(key)
            elif event.type in ("ADDED", "MODIFIED"):
                if self._belief.suspect_empty or self._began_empty:
                    self._must_list = True  # it is not empty any more, so a list tells what else there is, or is gone
                self._belief.event(key)
                single = Listed(self._projection)
                if event.broken is not None:
                    single.broken[key] = event.broken.reason
                else:
                    single.take(key, event.object)
                if single.broken:
                    self._name_broken(self.broken | single.broken)
                else:
                    self.broken.pop(key, None)
                    if self._store.put(key, single.facts[key]):
                        changed.add(key)
            if event.resource_version:
                self.resource_version = event.resource_version
                self._belief.seen(event.resource_version)
        if batch:
            self._alive()
            self._tell(changed)

    def _name_broken(self, broken: dict[ObjectKey, str]) -> None:
        for key, reason in broken.items():
            if self.broken.get(key) != reason:
                self._log.warning("object cannot be decoded", object="/".join(key), reason=reason)
        self.broken = broken

    def _tell(self, changed: set[ObjectKey]) -> None:
        if self._told != self.suspect:
            self._told = self.suspect
            self._log.warning("cluster in doubt" if self._told else "cluster believed again", reason=self._told)
            if self._on_suspect is not None:
                self._on_suspect(self._told)
        if changed:
            self._on_change(changed)

    def _alive(self) -> None:
        self.freshness = self._clock()
        self._refused_watches = 0
        if self.failing is not None:
            self.failing = None
            self._client.hearing.well(str(self.kind))

    def _fail(self, error: KubeError) -> None:
        self.failing = str(error)
        self._client.hearing.failed(str(self.kind), error)
