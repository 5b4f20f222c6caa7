"""One worker per device: look, compare, fix; at start, on a surprise and on a timer everything, else only what is dirty.

The worker owns the order of things in time and nothing else: what to do is the planner's, how to do it the driver's. A
device that is down keeps what it has and is tried again; nobody else waits for it.

The one confusing thing: before anything has been heard from a cluster, the worker may already write. That is the state the
device had when it was last known, from disk, creates only: a gateway that boots while the cluster is away serves.

A worker whose tenure does not hold looks and compares as ever, and hands nothing over: it knows all it needs to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable
from enum import Enum

import msgspec

from isthmus.core.planner import DevicePlanner
from isthmus.core.restore import restoring
from isthmus.drivers.base import Driver, Outcome
from isthmus.errors import IsthmusError
from isthmus.loop.contested import AGAIN, Contested
from isthmus.loop.device_status import DeviceStatus, moved_away
from isthmus.loop.following import OTHERS, Awaited
from isthmus.loop.handing_over import HandingOver
from isthmus.loop.measure import Measure
from isthmus.loop.pausing import pause_after
from isthmus.loop.queue import KeyedQueue
from isthmus.loop.recorded import Memory
from isthmus.loop.remarks import Remarks
from isthmus.loop.tenure import Always, Tenure
from isthmus.model.plan import Plan, Refusal, Scope
from isthmus.telemetry import Voice, get_logger, reconciling


class Whole(Enum):
    """The keys that are no scope: the whole device, and whatever time alone has changed."""

    EVERYTHING = "everything"
    DUE = "due"


class DeviceWorker:
    """Keeps one device as it should be; call :meth:`run` once and :meth:`dirty` as often as anything moves."""

    def __init__(
        self,
        planner: DevicePlanner,
        driver: Driver,
        memory: Memory,
        *,
        on_pass: Callable[[DeviceWorker, Collection[Scope]], None] = lambda worker, scopes: None,
        resync: Callable[[], float] = lambda: 300.0,
        clock: Callable[[], float] = time.time,
        tenure: Tenure | None = None,
        may_restore: Callable[[], bool] | None = None,
        follows: Callable[[], bool] = lambda: False,
    ) -> None:
        """``may_restore`` says whether the recorded state may be put back; by default that is a write like any other.

        ``follows`` says that another may have written since our record was kept.
        """
        self.planner = planner
        self.driver = driver
        self.status = DeviceStatus()
        self._memory = memory
        self._on_pass = on_pass
        self._resync = resync
        self._clock = clock
        self._tenure: Tenure = tenure if tenure is not None else Always()
        self._may_restore = may_restore if may_restore is not None else self._tenure.holds
        self._follows = follows
        self._contested = Contested(planner)
        self._queue: KeyedQueue[Scope | Whole] = KeyedQueue()
        self.waiting, self.may_write = self._queue.waiting, self._tenure.holds
        self.handing, self._awaited = HandingOver(driver), Awaited(self._queue)
        self._log = get_logger("loop").bind(device=planner.device)
        self._measure = Measure(planner.device)
        self._voice = Voice()
        self._unsaved = False
        self._save_failed = False
        self._restored = self._remembered = False
        self._followed = False
        self._disturbed = False
        self._failures = 0
        self._remarks = Remarks(self._log)
        self._recheck_at: float | None = None
        self._stop = asyncio.Event()

    def dirty(self, scopes: Iterable[Scope]) -> None:
        """Ask for ``scopes`` to be looked at again."""
        for scope in (dirty := tuple(scopes)):
            self._queue.add(scope)
        self._measure.dirty(dirty)

    def look_at_everything(self, delay: float = 0.0) -> None:
        """Ask for a full pass."""
        self._queue.add(Whole.EVERYTHING, delay)

    async def run(self) -> None:
        """Work until cancelled or :meth:`stop`; a failing device is logged once when it fails and once when it recovers.

        A bug of ours is a failure like any other: it is said, and tried again, and no other device hears of it.
        """
        while not self._stop.is_set():
            try:
                await self.driver.open()
                await self._work()
                return
            except Exception as error:
                self._failed(error)
                await self.let_go()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_after(error, self._failures)):
                        await self._stop.wait()

    async def stop(self) -> None:
        """Finish the plan under way, remember the state, let go of the device."""
        self._stop.set()
        self.look_at_everything()

    # --- one device's life --------------------------------------------------------------------------------------

    def _failed(self, error: Exception) -> None:
        text = str(error) if isinstance(error, IsthmusError) else f"internal error: {error!r}"
        if text != self.status.error and not isinstance(error, IsthmusError):
            self._log.error("device worker crashed", error=text, exc_info=error)
        self._voice.failed(lambda: self._log.warning("device failed", error=text))
        self._measure.failed()
        self._failures += 1
        self.status = msgspec.structs.replace(self.status, reachable=False, in_sync=False, error=text)
        self._tell(())

    async def let_go(self) -> None:
        """Close the driver; whatever that ends in, the device is let go of."""
        try:
            await self.driver.close()
        except Exception as error:
            self._log.error("the device could not be let go of", error=repr(error), exc_info=error)

    def _tell(self, scopes: Collection[Scope]) -> None:
        """Say that a pass over ``scopes`` is over; who listens must not be able to stop the device."""
        try:
            self._on_pass(self, scopes)
        except Exception as error:
            self._log.error("news of a pass was not taken", error=repr(error), exc_info=error)

    async def _work(self) -> None:
        await self._observe()
        await self._restore()
        self.look_at_everything()
        watchers = [asyncio.create_task(self._watch_drift()), asyncio.create_task(self._save_often())]
        try:
            while True:
                keys = await self._take(watchers)
                if self._stop.is_set():
                    break
                with reconciling(), self._measure.one_pass(keys, whole=Whole.EVERYTHING in keys):
                    await self._pass(keys)
                # Only now: a device that answers questions and fails at every change has not recovered.
                self._failures = 0
                self._voice.well(lambda failures: self._log.info("device recovered", after=failures))
        finally:
            for task in watchers:
                task.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)
            await self._save()

    async def _take(self, watchers: Collection[asyncio.Task[None]]) -> set[Scope | Whole]:
        taking = asyncio.create_task(self._queue.take())
        try:
            await asyncio.wait({taking, *watchers}, return_when=asyncio.FIRST_COMPLETED)
            for watcher in watchers:
                if watcher.done():
                    await watcher  # raises what stopped it: without it we would be blind, or forget
            return await taking
        finally:
            taking.cancel()

    async def _pass(self, keys: set[Scope | Whole]) -> None:
        now = self._clock()
        scopes = {key for key in keys if isinstance(key, Scope)} | set(self.planner.due(now))
        # The first pass of a turn looks at everything: what was seen before it may be older than the last writer's work.
        whole = Whole.EVERYTHING in keys or (self._followed and self._tenure.holds())
        if Whole.DUE in keys:
            self._recheck_at = None
        before = self.planner.observed if whole else {}
        # What another writer did while it was not our turn is nobody's tampering.
        expected = self._disturbed or self._followed or not self.status.passes
        if whole:
            self._followed = not self._tenure.holds()
            await self._observe()
            await self._restore()
            self._queue.add(Whole.EVERYTHING, self._resync())
            self._awaited.forget()
            plan = self.planner.full(now)
        else:
            if others := self._awaited.due(scopes):
                await self._see(others)
            plan = self.planner.keyed(scopes, now)
        # What our own change took along (a tunnel made anew loses its routes) is nobody else's doing either.
        drifted = moved_away(before, self.planner.observed) if whole and not expected else 0
        if whole:
            self._disturbed = False
        if drifted:
            self._remarks.drift_found(drifted, plan)
            self._measure.drift(drifted)
        self._remarks.say(self.planner)
        unknown = await self._apply(plan, now, self._may_apply)
        self._wake_for_rechecks(now)
        if whole:
            self._unsaved = True  # who owns what may have moved without a write
        self.status = msgspec.structs.replace(
            self.status,
            reachable=True,
            error="",
            in_sync=not (unknown or self._awaited or self._is_wanting()),
            passes=self.status.passes + 1,
            drift=self.status.drift + drifted,
            owned=len(self.planner.observed),
            last_plan=plan.summary() if not plan.empty or not self.status.last_plan else self.status.last_plan,
            conflicts=tuple(conflict.describe() for conflict in self.planner.all_conflicts),
            refusals=tuple(refusal.describe() for refusal in self.planner.all_refusals),
            held=tuple(item.describe() for _, item in sorted(self.planner.held.items())),
            drifts=tuple(one.describe() for _, one in sorted(self.planner.drifts.items()) if one.answer == "alert"),
            ignored=sum(1 for one in self.planner.drifts.values() if one.answer == "ignore"),
        )
        self._tell(self.planner.asked | {scope for change in plan.changes for scope in change.scopes})

    def _is_wanting(self) -> bool:
        """Say whether the device is not known to hold all it should; what could not be worked out yet is not known."""
        planner = self.planner
        unknown = planner.unread or planner.crashes
        # A foreign thing where one of ours should stand; that two scopes of ours disagree is no such case.
        in_the_way = any(identity not in planner.observed for identity in planner.conflicts)
        return bool(unknown or planner.held or planner.device_refusals or in_the_way)

    def _wake_for_rechecks(self, now: float) -> None:
        """See to it that there is a pass when time alone changes something; that pass takes all that is due."""
        at = min(self.planner.rechecks.values(), default=None)
        if at is not None and (self._recheck_at is None or at < self._recheck_at):
            self._recheck_at = at
            self._queue.add(Whole.DUE, max(0.05, at - now))

    def _may_apply(self) -> bool:
        return self._tenure.holds() and not self._followed

    async def _apply(self, plan: Plan, now: float, tenure: Callable[[], bool]) -> bool:
        """Carry ``plan`` out; return whether something is not known to stand."""
        if not tenure():
            self._followed = True
            if not self._awaited.leave(plan):
                self.look_at_everything(OTHERS)
            return not plan.empty
        if plan.empty:
            return False
        self._unsaved = True
        silent = {change.identity for change in plan.changes}
        unknown: set[str] = set()
        counts = {"done": 0, "refused": 0, "unknown": 0}
        async for outcome in self.handing.outcomes(plan.changes, tenure):
            counts[outcome.result] += 1
            silent.discard(outcome.change.identity)
            self._measure.outcome(outcome)
            self._take_outcome(outcome, unknown, now)
            self._contested.hear(outcome)
        if silent and not tenure():
            self._followed = True  # what is left was not tried; whoever writes now sees to it
            self._log.warning("plan stopped, another may write now", plan=plan.summary(), not_tried=len(silent))
            self.look_at_everything()
            return True
        unknown |= silent  # a change without an outcome is one whose outcome is not known
        writes = self.status.writes + len(plan.changes) - len(self._contested)
        self.status = msgspec.structs.replace(self.status, writes=writes)
        if not self._contested.only(plan):
            self._log.info("plan applied", plan=plan.summary(), checksum=plan.checksum(), **counts)
        again: set[Scope] = set()
        for identity in unknown:
            self.planner.left.forget(identity)
        if unknown:
            await self._see(unknown)
            self._unsaved = True
            for change in plan.changes:
                if change.identity in unknown:
                    scopes = self.planner.owners.get(change.identity, change.scopes)
                    self.planner.unsettled(change.identity, scopes)
                    again.update(scopes)
            for scope in (soon := self._contested.soon(plan, unknown)):
                self._queue.add(scope, AGAIN)
            for scope in again - soon:
                self._queue.failed(scope)
            if not again:
                self.look_at_everything(1.0)
        for scope in {scope for change in plan.changes for scope in change.scopes} - again:
            self._queue.done(scope)
        self._measure.applied(plan, silent=silent, again=again)
        if counts["refused"]:
            await self._see_who_is_there(plan)
        return bool(unknown)

    async def _see(self, identities: Collection[str]) -> None:
        observation = await self.driver.observe(identities)
        self.planner.see(observation.resources, observation.foreign, None, identities)

    async def _see_who_is_there(self, plan: Plan) -> None:
        """Look at what was refused: where somebody else stands, the next pass says so as a conflict."""
        refused = {c.identity for c in plan.changes if c.identity in self.planner.device_refusals}
        observation = await self.driver.observe(refused)
        self.planner.see(observation.resources, observation.foreign, None, refused)
        taken = {c.identity for c in plan.changes if c.identity in observation.foreign}
        self.dirty({scope for change in plan.changes if change.identity in taken for scope in change.scopes})

    def _take_outcome(self, outcome: Outcome, unknown: set[str], now: float) -> None:
        change = outcome.change
        match outcome.result:
            case "done":
                self.planner.carried_out(change, now)
                if change.adopts:
                    self._log.info("taken over by order", thing=change.identity, was=change.adopts)
                self._unsaved = (
                    True  # also if it was saved since the plan began: that was the state before this change
                )
            case "refused":
                self._log.warning("change refused", change=change.describe(), reason=outcome.reason)
                if change.adopts:
                    self.planner.adoptions.refused[change.identity] = outcome.reason
                self.planner.device_refusals[change.identity] = tuple(
                    Refusal(scope, "DeviceRefused", f"{change.identity}: {outcome.reason}")
                    for scope in change.scopes or self.planner.owners.get(change.identity, ())
                )
            case "unknown":
                unknown.add(change.identity)
        if outcome.disturbed:
            self._disturbed = True
            self.planner.left.expect_anything()
            self.look_at_everything()

    # --- looking ------------------------------------------------------------------------------------------------

    async def _observe(self) -> None:
        if self.planner.may_write and self._tenure.holds():
            await self.driver.prepare()
        observation = await self.driver.observe()
        self.planner.see(observation.resources, observation.foreign, observation.facts)

    async def _watch_drift(self) -> None:
        while True:
            await self.driver.drift()
            self.look_at_everything(0.05)

    # --- remembering --------------------------------------------------------------------------------------------

    async def _restore(self) -> None:
        # Once: later the wishes say what should stand, and a record would bring back what was deleted since.
        if self._restored or not self._may_restore():
            return
        recorded = await self._memory.load(self.planner.device)
        if not self.status.passes and not self._remembered:
            self._remembered = True
            self.planner.remember(resource for resource, _ in recorded)
        if self.status.passes or self._follows():
            # Our turn has come late, and the record is of an earlier one: what is known by now is not taken from it.
            recorded = [(one, owners) for one, owners in recorded if any(map(self.planner.known.unread, owners))]
        if self._follows() and self.planner.observed:
            recorded = ()  # it has not lost what it had, and what it has is the last writer's word
        changes = restoring(self.planner, recorded)
        if changes:
            self._log.info("restoring the last applied state", changes=len(changes))
            await self._apply(Plan(self.planner.device, changes), self._clock(), self._may_restore)
        self._restored = True

    async def _save_often(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            await self._save()

    async def _save(self) -> None:
        if not self._unsaved or not self._restored:
            return  # what was not restored yet must not be forgotten
        self._unsaved = False
        planner, taken = self.planner, self.planner.unsaved.take()
        identities = (*planner.observed, *planner.drifts) if taken is None else taken
        records = {identity: planner.record(identity) for identity in identities}
        try:
            await self._memory.save(planner.device, records, whole=taken is None)
        except IsthmusError as error:
            planner.unsaved.put_back(taken)
            self._unsaved = True  # tried again; until then a reboot restores an older state
            if not self._save_failed:
                self._log.warning("state not saved", error=str(error))
            self._save_failed = True
            return
        self._save_failed = False
