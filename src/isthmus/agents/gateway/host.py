"""The gateway's own network as the agent keeps it: restored at the start, written by one writer at a time, recorded.

What is recorded is what controllers ordered and the kernel took, not what is found: a gateway comes back to its orders, even
if somebody had changed things by hand before the power went.

The one confusing thing: after a reboot the record is put back piece by piece for as long as no controller was heard, because
an interface may come up later than this process. The first order of a controller ends that; from then on only orders count.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from isthmus import metrics
from isthmus.agents.gateway.fence import Fence
from isthmus.core.diff import compare, ordered
from isthmus.core.restore import stands
from isthmus.core.wishes import Verdict
from isthmus.drivers.base import Driver, Observation, Outcome, ProbeResult, ProbeTarget
from isthmus.errors import DeviceError, DeviceUnreachable, IsthmusError
from isthmus.model.plan import Change
from isthmus.model.resources import AnyResource
from isthmus.telemetry import get_logger

__all__ = ["Host", "Memory"]

BATCH = 1000
"""So many changes are written before the epoch is looked at again."""
_RESTORE_AGAIN, _RESTORE_SELDOM = 1.0, 30.0
_REOPEN = 1.0


class Memory(Protocol):
    """Where the last applied state is kept over a reboot."""

    async def load(self) -> list[AnyResource]: ...
    async def save(self, resources: list[AnyResource]) -> None: ...


class Host:
    """The host's driver, behind one lock for writers; :meth:`run` until cancelled, after :meth:`begin`."""

    def __init__(self, driver: Driver, fence: Fence, memory: Memory) -> None:
        self.driver = driver
        self.fence = fence
        self.start = secrets.token_hex(8)
        self.moves = 0
        self.moved = asyncio.Event()
        self._memory = memory
        self._record: dict[str, AnyResource] = {}
        self._missing = False
        self._unsaved = False
        self._writing = asyncio.Lock()
        self._heard = asyncio.Event()
        self._failed = asyncio.Event()
        self._log = get_logger("agent")

    async def begin(self) -> None:
        """Open the host and put its last applied state back; raise a ``DeviceError`` where it cannot be a gateway."""
        await self.driver.open()
        self._record = {resource.identity: resource for resource in await self._memory.load()}
        if self._record:
            await self._restore()
        # What stands here without a record (the state directory was lost) is worth coming back as well.
        found = await self.driver.observe()
        self._unsaved = bool(found.resources.keys() - self._record.keys())
        self._record = {**found.resources, **self._record}

    async def run(self) -> None:
        """Watch the host, restore what could not be restored yet, keep the record on disk."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch())
                group.create_task(self._restore_rest())
                group.create_task(self._save_often())
        finally:
            with suppress(IsthmusError):
                await self._save()

    def addresses(self, observation: Observation) -> set[str]:
        """Return the host's own addresses that others may know it by: none of ours, no link-local ones."""
        own = {
            str(address.ip)
            for interface in observation.facts.interfaces
            if not interface.ours
            for address in interface.addresses
            if not address.is_link_local
        }
        return own - {identity.rpartition(" ")[2] for identity in self._record if identity.startswith("vip ")}

    def ailments(self) -> Sequence[str]:
        """Say what only a restart would mend: nothing is known to."""
        return ()

    def unseen(self) -> Sequence[str]:
        """Say what keeps this host from being the gateway that it was ordered to be."""
        found = []
        if self._failed.is_set():
            found.append("the host's network cannot be used now; it is opened anew")
        if self._missing and not self._heard.is_set():
            found.append("some of the last applied state could not be restored yet")
        return found

    def readings(self) -> Iterator[metrics.Reading]:
        """Yield what is now."""
        yield metrics.READY, (), float(not self.unseen())
        yield metrics.GATEWAY_EPOCH, (), float(self.fence.highest)
        yield metrics.GATEWAY_RECORDED, (), len(self._record)

    # --- what is asked ------------------------------------------------------------------------------------------

    async def observe(self, identities: Collection[str] | None) -> Observation:
        """Return what the host holds."""
        with self._noticing():
            return await self.driver.observe(identities)

    async def probe(self, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        """Send echo requests."""
        return await self.driver.probe(targets)

    async def prepare(self, epoch: int) -> None:
        """Make the host ready to be written to, on behalf of ``epoch``; raise ``StaleEpoch``."""
        await self.fence.admit(epoch)
        async with self._writing:
            self.fence.check(epoch)
            self._heard.set()
            with self._noticing():
                await self.driver.prepare()

    async def vacate(self, epoch: int) -> None:
        """Remove what is empty, on behalf of ``epoch``; raise ``StaleEpoch``."""
        await self.fence.admit(epoch)
        async with self._writing:
            self.fence.check(epoch)
            with self._noticing():
                await self.driver.vacate()

    async def apply(
        self, epoch: int, changes: Sequence[Change], *, may: Callable[[], bool] = lambda: True
    ) -> AsyncGenerator[Outcome, None]:
        """Carry ``changes`` out in batches; raise ``StaleEpoch`` once a higher epoch came, the rest is then not tried.

        ``may`` is asked before each batch, too: whoever it says no to writes no more.
        """
        await self.fence.admit(epoch)
        async with self._writing:
            self._heard.set()
            for begin in range(0, len(changes), BATCH):
                self.fence.check(epoch)
                if not may():
                    return
                with self._noticing():
                    async for outcome in self._carry_out(changes[begin : begin + BATCH]):
                        yield outcome

    # --- writing ------------------------------------------------------------------------------------------------

    async def _carry_out(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Write what this host can have: no caller is believed to have checked that."""
        wanted = {change.identity: change.after for change in changes if change.after is not None}
        adapted = self.driver.adapt(wanted)
        possible = [change for change in changes if change.identity not in adapted.refused or change.after is None]
        spelled = [_spelled(change, adapted.resources.get(change.identity)) for change in possible]
        outcomes = self.driver.apply(spelled)
        for change in changes:
            if change.after is not None and change.identity in adapted.refused:
                yield Outcome(change, "refused", adapted.refused[change.identity])
                continue
            found = await anext(outcomes, None)
            if found is None:
                yield Outcome(change, "unknown", "the host said nothing about it")
                continue
            self._note(found)
            yield Outcome(change, found.result, found.reason, found.disturbed)

    def _note(self, outcome: Outcome) -> None:
        if outcome.result != "done":
            return
        if outcome.change.after is None:
            self._record.pop(outcome.change.identity, None)
        else:
            self._record[outcome.change.identity] = outcome.change.after
        self._unsaved = True

    # --- coming back --------------------------------------------------------------------------------------------

    async def _restore(self) -> None:
        """Create what the record has and the host has not; what stands there is newer and is left alone."""
        await self.driver.prepare()
        adapted = self.driver.adapt(self._record)
        observed = await self.driver.observe()
        changes = []
        for identity, resource in adapted.resources.items():
            if stands(observed.resources.get(identity)):
                continue
            step = compare(identity, Verdict(resource, ()), resource, None, observed.foreign)
            if isinstance(step, Change):
                changes.append(step)
        self._missing = False
        counts = {"done": 0, "refused": 0, "unknown": 0}
        async for outcome in self.driver.apply(ordered(changes)):
            counts[outcome.result] += 1
            self._missing = self._missing or outcome.result != "done" or outcome.disturbed
        if counts["done"]:
            self._log.info("last applied state restored", **counts)
            self.moves += 1

    async def _restore_rest(self) -> None:
        pause = _RESTORE_AGAIN
        while self._missing and not self._heard.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._heard.wait()
            pause = min(2 * pause, _RESTORE_SELDOM)
            async with self._writing:
                if not self._heard.is_set():
                    try:
                        await self._restore()
                    except DeviceError as error:
                        self._log.warning("not restored yet", error=str(error))

    async def _save_often(self) -> None:
        loop = asyncio.get_running_loop()
        pause = 1.0
        while True:
            await asyncio.sleep(pause)
            began = loop.time()
            try:
                await self._save()
            except IsthmusError as error:
                self._log.warning("state not saved", error=str(error))
            # The record of ten thousand Services takes a moment to spell; that is never more than a twentieth of the time.
            pause = max(1.0, 20 * (loop.time() - began))

    async def _save(self) -> None:
        if self._unsaved:
            self._unsaved = False
            try:
                await self._memory.save(list(self._record.values()))
            except BaseException:
                self._unsaved = True
                raise

    # --- watching -----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Count how often the host moved; a driver that has lost its sockets is opened anew."""
        while True:
            drift = asyncio.create_task(self.driver.drift())
            failed = asyncio.create_task(self._failed.wait())
            try:
                await asyncio.wait({drift, failed}, return_when=asyncio.FIRST_COMPLETED)
                if drift.done() and not self._failed.is_set():
                    drift.result()
                    self._tell_moved()
                    continue
            except IsthmusError as error:
                self._log.warning("watching the host failed", error=str(error))
            finally:
                drift.cancel()
                failed.cancel()
                await asyncio.gather(drift, failed, return_exceptions=True)
            await self._reopen()

    async def _reopen(self) -> None:
        async with self._writing:
            await self.driver.close()
            while True:
                try:
                    await self.driver.open()
                except IsthmusError as error:
                    self._log.warning("the host cannot be used now", error=str(error))
                    await asyncio.sleep(_REOPEN)
                else:
                    break
            self._failed.clear()
        self._tell_moved()

    def _tell_moved(self) -> None:
        self.moves += 1
        self.wake()

    def wake(self) -> None:
        """Have everybody who listens look again."""
        self.moved.set()
        self.moved = asyncio.Event()

    def _noticing(self) -> _Noticing:
        return _Noticing(self._failed)


class _Noticing:
    """Notes that the driver failed as a whole, so that it is opened anew."""

    def __init__(self, failed: asyncio.Event) -> None:
        self._failed = failed

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, DeviceUnreachable):
            self._failed.set()


def _spelled(change: Change, after: AnyResource | None) -> Change:
    if change.after is None or after is None or after == change.after:
        return change
    return msgspec.structs.replace(change, after=after)
