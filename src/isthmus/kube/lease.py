"""A Lease in a Kubernetes API, as one candidate for it: keeps trying, renews, and says whether it is held now.

What to do when is decided by :mod:`isthmus.core.election`; here requests are sent, with the version that they rest on, and
the answers are timed. A watch on the one Lease wakes whoever waits, so that a Lease that was given back is taken at once;
where the watch fails, reading every few seconds still works.

The one confusing thing: the clock. It is the kernel's that never jumps and that goes on while the machine is suspended. The
times that stand in the Lease are for people; nobody compares them with a clock.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from isthmus.core import election
from isthmus.core.election import Read, Record, Renew, Seat, Take, Terms, Wait
from isthmus.errors import KubeConflict, KubeError, KubeForbidden, KubeNotFound, KubeUnreachable
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import LEASES
from isthmus.telemetry import get_logger

__all__ = ["EPOCH", "Lease", "lease_document", "never_jumps", "record_of"]

EPOCH = "isthmus.dev/epoch"
"""Annotation on a Lease: the number of its holder's term, which rises with each acquisition."""
_WATCH_AGAIN = 30.0
_ALLOW = "allow it (deploy/base/home has the rights), or run the one controller there is with --no-leader-election"
_PART_OF = {"app.kubernetes.io/part-of": "isthmus"}


def never_jumps() -> float:
    """Return seconds of a clock that nobody sets and that goes on in suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """One Lease and our candidacy for it while :meth:`run` runs. ``moved`` is called whenever what we know of it changed."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        name: str,
        me: str,
        terms: Terms,
        *,
        labels: Mapping[str, str] | None = None,
        moved: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = never_jumps,
        wall: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.me = me
        self.failing = ""
        self.breaks = 0
        """How often the time to write has ended and begun again."""
        self._labels = {**_PART_OF, **(labels or {})}
        self._client = client
        self._namespace = namespace
        self._moved = moved
        self._clock = clock
        self._wall = wall
        self._jitter = jitter
        self._seat = Seat(me, terms)
        self._terms = terms
        self._standing: dict[str, Any] | None = None
        self._woken = asyncio.Event()
        self._told: tuple[object, ...] = ()
        self._log = get_logger("kube").bind(lease=name)

    def holds(self) -> bool:
        """Say whether we may write now."""
        return self._seat.holds(self._clock())

    @property
    def epoch(self) -> int:
        """Return the epoch of our own term, also of one that has lapsed; 0 if we have none."""
        return self._seat.epoch

    @property
    def holder(self) -> str:
        """Return who held it when it was last read, or an empty text."""
        return self._seat.record.holder if self._seat.record is not None else ""

    async def run(self) -> None:
        """Be a candidate until cancelled; nothing that an API answers ends this."""
        watch = asyncio.create_task(self._watch())
        try:
            while True:
                await self._turn()
                self._tell()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def release(self) -> None:
        """Give it back, if it is ours, so that others need not wait; call it after :meth:`run` has ended."""
        seat, self._seat = self._seat, Seat(self.me, self._terms)
        if not seat.epoch:
            return
        try:
            async with asyncio.timeout(self._terms.renew / 2):
                while not await self._gave_back(seat.epoch):
                    pass
        except KubeNotFound:
            return
        except (KubeError, TimeoutError) as error:
            self._log.warning("not given back; others wait until it expires", error=str(error) or "no answer in time")

    async def _gave_back(self, epoch: int) -> bool:
        """Take our name out of what stands; say whether that is done. A renewal that was cut short may stand there by now."""
        standing = await self._client.get(LEASES, self.name, self._namespace)
        found = record_of(standing)
        if (found.holder, found.epoch) != (self.me, epoch):
            return True
        document = lease_document(standing, self._head(), "", epoch, self._terms, self._wall())
        document["spec"]["leaseDurationSeconds"] = 1
        try:
            await self._client.replace(LEASES, document)
        except KubeConflict:
            return False
        return True

    # --- steps --------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        match election.next_step(self._seat, self._clock()):
            case Read():
                await self._answered(self._read)
            case Wait(seconds):
                woken = await self._sleep(seconds)
                if woken or not self._seat.epoch:
                    await self._answered(self._read)
            case Take():
                epoch = election.new_epoch(self._seat.highest, int(self._wall() * 1000))
                await self._answered(lambda: self._write(epoch, took=True))
            case Renew():
                await self._answered(lambda: self._write(self._seat.epoch, took=False))

    async def _sleep(self, seconds: float) -> bool:
        # A little more than asked: replicas that were started together must not ask together for ever.
        pause = seconds if self._seat.epoch else seconds * (1 + self._jitter() / 10)
        try:
            async with asyncio.timeout(pause):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    async def _answered(self, ask: Callable[[], Any]) -> None:
        """Ask once, for as long as the answer is worth something; take note of how that ended."""
        try:
            async with asyncio.timeout(self._terms.renew / 2):
                await ask()
        except TimeoutError:
            self._failed(KubeUnreachable(f"no answer about lease {self.name} within {self._terms.renew / 2:.1f} s"))
        except KubeError as error:
            self._failed(error)
        else:
            if self.failing:
                self._log.info("the lease answers again")
            self.failing = ""

    def _failed(self, error: KubeError) -> None:
        text = f"{error}; {_ALLOW}" if isinstance(error, KubeForbidden) else str(error)
        if not self.failing:
            self._log.warning("the lease cannot be used now, nothing is written without it", error=text)
        self.failing = text
        self._seat = election.failed(self._seat, self._clock())

    async def _read(self) -> None:
        try:
            found: dict[str, Any] | None = await self._client.get(LEASES, self.name, self._namespace)
        except KubeNotFound:
            found = None
        self._standing = found
        record = record_of(found) if found is not None else None
        self._seat = election.read(self._seat, record, self._clock())

    async def _write(self, epoch: int, *, took: bool) -> None:
        sent_at = self._clock()
        document = lease_document(self._standing, self._head(), self.me, epoch, self._terms, self._wall(), took=took)
        try:
            if self._standing is None:
                answer = await self._client.create(LEASES, document)
            else:
                answer = await self._client.replace(LEASES, document)
        except KubeNotFound:
            if self._standing is None:
                raise KubeNotFound(f"namespace {self._namespace} is not in the home cluster; create it") from None
            await self._read()  # deleted meanwhile
            return
        except KubeConflict:
            await self._read()  # somebody was there before us; what stands decides
            return
        self._standing = answer
        if not self.holds():
            self.breaks += 1
        self._seat = election.taken(self._seat, epoch, sent_at) if took else election.renewed(self._seat, sent_at)

    def _head(self) -> dict[str, Any]:
        return {"name": self.name, "namespace": self._namespace, "labels": self._labels}

    def _tell(self) -> None:
        now = (self.holds(), self._seat.epoch, self.holder, self.failing)
        if now != self._told:
            self._told = now
            self._moved()

    # --- being woken --------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Wake the candidate when somebody else moved the Lease."""
        while True:
            pause = self._terms.retry * (1 + self._jitter())
            try:
                async with self._client.watch(
                    LEASES, self._namespace, field_selector=f"metadata.name={self.name}"
                ) as events:
                    async for event in events:
                        if event.name == self.name and (event.type == "DELETED" or self._is_news(event.object)):
                            self._woken.set()
            except KubeForbidden as error:
                self._log.warning("the lease cannot be watched, so it is read now and then", error=str(error))
                pause = _WATCH_AGAIN
            except KubeError as error:
                self._log.debug("the watch of the lease ended", reason=str(error))
            await asyncio.sleep(pause)

    def _is_news(self, document: Mapping[str, Any] | None) -> bool:
        """Say whether a Lease that was seen is another than the one we know; our own renewals are none."""
        if document is None:
            return True
        record, known = record_of(document), self._seat.record
        if self._seat.epoch and (record.holder, record.epoch) == (self.me, self._seat.epoch):
            return False
        return record != known


def record_of(document: Mapping[str, Any]) -> Record:
    """Return what a Lease says; what somebody wrote into it that does not parse counts as not said."""
    spec = document.get("spec") or {}
    annotations = (document.get("metadata") or {}).get("annotations") or {}
    text = str(annotations.get(EPOCH) or "")
    duration = spec.get("leaseDurationSeconds")
    return Record(
        holder=str(spec.get("holderIdentity") or ""),
        epoch=int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else 0,
        stamp=f"{spec.get('acquireTime')} {spec.get('renewTime')}",
        duration=float(duration) if isinstance(duration, int) and duration > 0 else 0.0,
    )


def lease_document(
    standing: Mapping[str, Any] | None,
    head: Mapping[str, Any],
    holder: str,
    epoch: int,
    terms: Terms,
    wall: float,
    *,
    took: bool = False,
) -> dict[str, Any]:
    """Return the Lease to write over ``standing``: its version, so that it is this one, and whatever others wrote into it."""
    metadata = dict(standing["metadata"]) if standing is not None else dict(head)
    metadata["annotations"] = {**(metadata.get("annotations") or {}), EPOCH: str(epoch)}
    metadata.pop("managedFields", None)
    before = (standing or {}).get("spec") or {}
    now = datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {**before, "holderIdentity": holder, "leaseDurationSeconds": math.ceil(terms.duration), "renewTime": now}
    if took or standing is None:
        spec["acquireTime"] = now
        spec["leaseTransitions"] = int(before.get("leaseTransitions") or 0) + int(
            before.get("holderIdentity") != holder
        )
    return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}
