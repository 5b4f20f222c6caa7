"""One worker per device: look, compare, fix; at start, on a surprise and on a timer everything, else only what is dirty.

The worker owns the order of things in time and nothing else: what to do is the planner's, how to do it the driver's. A
device that is down keeps what it has and is tried again; nobody else waits for it.

The one confusing thing: before anything has been heard from a cluster, the worker may already write. That is the state the
device had when it was last known, from disk, creates only: a gateway that boots while the cluster is away serves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import Protocol

import msgspec

from isthmus.core.planner import DevicePlanner, restoring
from isthmus.drivers.base import Driver, Outcome
from isthmus.errors import DeviceError, IsthmusError
from isthmus.loop.queue import KeyedQueue
from isthmus.model.plan import Plan, Refusal, Scope
from isthmus.model.resources import AnyResource
from isthmus.telemetry import get_logger

Recorded = Sequence[tuple[AnyResource, tuple[Scope, ...]]]


class Whole(Enum):
    """The key that stands for the whole device."""

    EVERYTHING = "everything"


class Memory(Protocol):
    """Where the last applied state is kept over a restart."""

    async def load(self, device: str) -> Recorded: ...
    async def save(self, device: str, recorded: Recorded) -> None: ...


class DeviceStatus(msgspec.Struct, frozen=True):
    """How a device stands after its last pass."""

    reachable: bool = False
    in_sync: bool = False
    error: str = ""
    owned: int = 0
    writes: int = 0
    drift: int = 0
    passes: int = 0
    last_plan: str = ""
    plan: Plan | None = None
    conflicts: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    held: tuple[str, ...] = ()


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
    ) -> None:
        self.planner = planner
        self.driver = driver
        self.status = DeviceStatus()
        self._memory = memory
        self._on_pass = on_pass
        self._resync = resync
        self._clock = clock
        self._queue: KeyedQueue[Scope | Whole] = KeyedQueue()
        self._log = get_logger("loop").bind(device=planner.device)
        self._unsaved = False
        self._stopping = False

    def dirty(self, scopes: Iterable[Scope]) -> None:
        """Ask for ``scopes`` to be looked at again."""
        for scope in scopes:
            self._queue.add(scope)

    def look_at_everything(self, delay: float = 0.0) -> None:
        """Ask for a full pass."""
        self._queue.add(Whole.EVERYTHING, delay)

    def serves(self, scope: Scope) -> bool:
        """Say whether everything ``scope`` wants stands on the device as of the last pass (and it wants something)."""
        wanted = self.planner.wishes.of(scope)
        return bool(wanted) and all(identity in self.planner.observed for identity in wanted)

    async def run(self) -> None:
        """Work until cancelled or :meth:`stop`; a failing device is logged once when it fails and once when it recovers."""
        failures = 0
        while not self._stopping:
            try:
                await self.driver.open()
                await self._work(recovered=failures > 0)
                return
            except DeviceError as error:
                if failures == 0:
                    self._log.warning("device failed", error=str(error))
                failures += 1
                self.status = msgspec.structs.replace(self.status, reachable=False, in_sync=False, error=str(error))
                self._on_pass(self, ())
                await self.driver.close()
                await asyncio.sleep(min(30.0, 0.5 * 2 ** min(failures, 6)))
            except asyncio.CancelledError:
                raise
            except IsthmusError as error:
                self._log.error("pass failed", error=str(error))
                await asyncio.sleep(1.0)

    async def stop(self) -> None:
        """Finish the change under way, remember the state, let go of the device."""
        self._stopping = True
        self.look_at_everything()

    # --- one device's life --------------------------------------------------------------------------------------

    async def _work(self, *, recovered: bool) -> None:
        await self._observe()
        await self._restore()
        self.status = msgspec.structs.replace(self.status, reachable=True, error="")
        if recovered:
            self._log.info("device recovered")
        self.look_at_everything()
        watchers = [asyncio.create_task(self._watch_drift()), asyncio.create_task(self._save_often())]
        try:
            while True:
                keys = await self._take(watchers[0])
                if self._stopping:
                    break
                await self._pass(keys)
        finally:
            for task in watchers:
                task.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)
            await self._save()

    async def _take(self, drift: asyncio.Task[None]) -> set[Scope | Whole]:
        taking = asyncio.create_task(self._queue.take())
        try:
            await asyncio.wait({taking, drift}, return_when=asyncio.FIRST_COMPLETED)
            if drift.done():
                await drift  # raises what stopped the watching: without it we would be blind
            return await taking
        finally:
            taking.cancel()

    async def _pass(self, keys: set[Scope | Whole]) -> None:
        now = self._clock()
        scopes = {key for key in keys if isinstance(key, Scope)} | set(self.planner.due(now))
        whole = Whole.EVERYTHING in keys
        before = self.planner.observed if whole else {}
        if whole:
            await self._observe()
            self._queue.add(Whole.EVERYTHING, self._resync())
            plan = self.planner.full(now)
        else:
            plan = self.planner.keyed(scopes, now)
        drifted = _drift(before, self.planner.observed) if whole and self.status.passes else 0
        if drifted:
            self._log.warning("drift found", things=drifted)
        unknown = await self._apply(plan, now)
        for scope, at in self.planner.rechecks.items():
            self._queue.add(scope, max(0.05, at - now))
        self.status = msgspec.structs.replace(
            self.status,
            in_sync=not unknown and not self.planner.held and not self.planner.device_refusals,
            passes=self.status.passes + 1,
            drift=self.status.drift + drifted,
            owned=len(self.planner.observed),
            last_plan=plan.summary() if not plan.empty or not self.status.last_plan else self.status.last_plan,
            conflicts=tuple(conflict.describe() for conflict in self.planner.all_conflicts),
            refusals=tuple(refusal.describe() for refusal in self.planner.all_refusals),
            held=tuple(item.describe() for _, item in sorted(self.planner.held.items())),
        )
        touched = scopes | {scope for change in plan.changes for scope in change.scopes}
        self._on_pass(self, set(self.planner.wishes.scopes()) if whole else touched)

    async def _apply(self, plan: Plan, now: float) -> bool:
        """Carry ``plan`` out; return whether something is not known to stand."""
        if plan.empty:
            return False
        self._unsaved = True
        unknown: set[str] = set()
        counts = {"done": 0, "refused": 0, "unknown": 0}
        async for outcome in self.driver.apply(plan.changes):
            counts[outcome.result] += 1
            self._take_outcome(outcome, unknown, now)
        self.status = msgspec.structs.replace(self.status, writes=self.status.writes + len(plan.changes))
        self._log.info("plan applied", plan=plan.summary(), checksum=plan.checksum(), **counts)
        if unknown:
            observation = await self.driver.observe(unknown)
            self.planner.see(observation.resources, observation.foreign, None, unknown)
            again = {s for identity in unknown for s in self.planner.owners.get(identity, ())}
            for scope in again:
                self._queue.failed(scope)
            if not again:
                self.look_at_everything(1.0)
        else:
            for scope in {scope for change in plan.changes for scope in change.scopes}:
                self._queue.done(scope)
        return bool(unknown)

    def _take_outcome(self, outcome: Outcome, unknown: set[str], now: float) -> None:
        change = outcome.change
        match outcome.result:
            case "done":
                self.planner.carried_out(change, now)
            case "refused":
                self._log.warning("change refused", change=change.describe(), reason=outcome.reason)
                self.planner.device_refusals[change.identity] = tuple(
                    Refusal(scope, "DeviceRefused", f"{change.identity}: {outcome.reason}")
                    for scope in change.scopes or self.planner.owners.get(change.identity, ())
                )
            case "unknown":
                unknown.add(change.identity)
        if outcome.disturbed:
            self.look_at_everything()

    # --- looking ------------------------------------------------------------------------------------------------

    async def _observe(self) -> None:
        observation = await self.driver.observe()
        self.planner.see(observation.resources, observation.foreign, observation.facts)

    async def _watch_drift(self) -> None:
        while True:
            await self.driver.drift()
            self.look_at_everything(0.05)

    # --- remembering --------------------------------------------------------------------------------------------

    async def _restore(self) -> None:
        recorded = await self._memory.load(self.planner.device)
        changes = restoring(self.planner, recorded)
        if changes:
            self._log.info("restoring the last applied state", changes=len(changes))
            await self._apply(Plan(self.planner.device, changes), self._clock())

    async def _save_often(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            await self._save()

    async def _save(self) -> None:
        if not self._unsaved:
            return
        self._unsaved = False
        owners: Mapping[str, tuple[Scope, ...]] = self.planner.owners
        recorded = [(resource, owners.get(identity, ())) for identity, resource in self.planner.observed.items()]
        try:
            await self._memory.save(self.planner.device, recorded)
        except IsthmusError as error:
            self._unsaved = True  # tried again; until then a reboot restores an older state
            self._log.warning("state not saved", error=str(error))


def _drift(before: Mapping[str, AnyResource], after: Mapping[str, AnyResource]) -> int:
    """Return how many things of ours are not as we left them."""
    return sum(1 for identity in before.keys() | after.keys() if before.get(identity) != after.get(identity))
