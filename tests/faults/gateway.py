"""A gateway that outlives controllers, and what can go wrong on the way to it.

What it holds is the product's own device in memory; the driver in front of it asks the seam before each change, so that a
plan can stop, kill or deceive the controller between any two of them. It refuses who writes with a lower epoch than the
highest it has seen, as a gateway's agent does.

The one confusing thing: a *reboot* ends every connection to the device. The controller hears of it as of any lost connection,
and what it finds afterwards is nothing, or what stood there some time ago.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any

from faults.seam import PROCESS, Process, Seam
from isthmus.drivers.base import Adapted, Observation, Outcome, ProbeResult, ProbeTarget
from isthmus.drivers.memory import MemoryDriver
from isthmus.errors import DeviceFenced, DeviceUnreachable
from isthmus.model.facts import DeviceFacts
from isthmus.model.plan import Change
from isthmus.model.resources import AnyResource, Route

Judge = Callable[[Change, "Gateway", Process, int], None]


class Gateway:
    """The device itself. ``judge`` is shown every change before it takes effect."""

    def __init__(self, facts: DeviceFacts, judge: Judge) -> None:
        self.memory = MemoryDriver(facts=facts)
        self.epoch = 0
        self.refused = 0
        self.connected: list[SeamDriver] = []
        self._judge = judge
        self._kept: list[dict[str, AnyResource]] = [{}]

    @property
    def resources(self) -> dict[str, AnyResource]:
        """Return what it holds of ours."""
        return self.memory.resources

    @property
    def spec(self) -> dict[str, Any]:
        """Return the spec of the EdgeDevice."""
        return {"driver": "memory"}

    @property
    def facts(self) -> DeviceFacts:
        """Return what it tells of itself."""
        return self.memory.facts

    @property
    def foreign(self) -> Mapping[str, str]:
        """Return what of others stands where ours might."""
        return self.memory.foreign

    def holds(self, identity: str) -> bool:
        """Say whether something of ours stands at ``identity``."""
        return identity in self.resources

    def plant(self, identity: str) -> None:
        """Let somebody put up a route of his own."""
        self.memory.foreign[identity] = "route of somebody else"

    def amiss(self, wanted: Mapping[str, AnyResource]) -> list[str]:
        """Return what is not as it should be, in words."""
        found = []
        for identity in sorted(wanted.keys() | self.resources.keys()):
            should, has = wanted.get(identity), self.resources.get(identity)
            if should != has:
                told = (one.describe() if one is not None else "nothing" for one in (should, has))
                found.append("on the gateway should be {} and is {}".format(*told))
        return found

    def carry_out(self, change: Change, epoch: int) -> Outcome:
        """Make one change, unless a newer controller writes here."""
        self.fence(epoch)
        self._judge(change, self, PROCESS.get(), epoch)
        return self.memory._carry_out(change)

    def fence(self, epoch: int) -> None:
        """Refuse a writer whose time is over."""
        if epoch < self.epoch:
            self.refused += 1
            raise DeviceFenced(f"epoch {epoch} is over, {self.epoch} writes")
        self.epoch = epoch

    def keep(self) -> None:
        """Remember what stands now, as what an old configuration would bring back."""
        if self._kept[-1] != self.resources:
            self._kept.append(dict(self.resources))

    def reboot(self, *, empty: bool) -> None:
        """Come back with nothing, or with what stood here before the last changes."""
        self.memory.resources = {} if empty else dict(self._kept[len(self._kept) // 2])
        for driver in list(self.connected):
            driver.disconnect()

    def meddle(self) -> None:
        """Let somebody else remove one of our routes; whoever watches is told."""
        for identity in sorted(self.resources):
            if isinstance(self.resources[identity], Route):
                del self.resources[identity]
                break
        for driver in self.connected:
            driver.moved.set()


class SeamDriver:
    """One process's way to a gateway; a driver as any other."""

    def __init__(self, gateway: Gateway, seam: Seam, epoch: Callable[[], int]) -> None:
        self.gateway = gateway
        self.seam = seam
        self.moved = asyncio.Event()
        self._epoch = epoch
        self._gone = False

    def disconnect(self) -> None:
        """Lose the connection; what waits for news learns of it."""
        self._gone = True
        self.moved.set()

    def _lost(self) -> Any:
        raise DeviceUnreachable("the connection broke")

    def _rebooted(self, *, empty: bool) -> Any:
        self.gateway.reboot(empty=empty)
        raise DeviceUnreachable("the connection broke")

    def _trouble(self) -> dict[str, Callable[[], Any]]:
        return {
            "lost": self._lost,
            "reboot-empty": lambda: self._rebooted(empty=True),
            "reboot-old": lambda: self._rebooted(empty=False),
        }

    def _check(self) -> None:
        if self._gone:
            raise DeviceUnreachable("the connection broke")

    async def open(self) -> None:
        self._gone = False
        self.moved.clear()
        await self.seam.call("device.open", lambda: None, self._trouble())
        if self not in self.gateway.connected:
            self.gateway.connected.append(self)

    async def prepare(self) -> None:
        await self.seam.call("device.prepare", lambda: None, self._trouble())

    async def vacate(self) -> None:
        return None

    async def close(self) -> None:
        if self in self.gateway.connected:
            self.gateway.connected.remove(self)

    async def observe(self, identities: Collection[str] | None = None) -> Observation:
        device = self.gateway.memory

        def look() -> Observation:
            self._check()
            self.gateway.keep()
            if identities is None:
                return Observation(dict(device.resources), dict(device.foreign), device.facts)
            wanted = frozenset(identities)
            ours = {
                identity: device.resources[identity] for identity in sorted(wanted) if identity in device.resources
            }
            foreign = {
                identity: device.foreign[identity] for identity in sorted(wanted) if identity in device.foreign
            }
            return Observation(ours, foreign, device.facts, wanted)

        return await self.seam.call("device.observe", look, self._trouble())

    def adapt(self, desired: Mapping[str, AnyResource]) -> Adapted:
        return self.gateway.memory.adapt(desired)

    def replaces(self, before: AnyResource, after: AnyResource) -> str:
        return self.gateway.memory.replaces(before, after)

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        epoch = self._epoch()
        for change in changes:

            def make(change: Change = change) -> Outcome:
                self._check()
                return self.gateway.carry_out(change, epoch)

            def lost(change: Change = change) -> Outcome:
                return Outcome(make(change).change, "unknown", "no reply")

            def half() -> Outcome:
                make()
                raise DeviceUnreachable("the connection broke")

            trouble = self._trouble() | {
                "reply-lost": lost,
                "unsent": lambda change=change: Outcome(change, "unknown", "no reply"),
                "half-applied": half,
                "refused": lambda change=change: Outcome(change, "refused", "busy"),
            }
            kind = f"device.change {change.action} {change.identity}"
            outcome: Outcome = await self.seam.call(kind, make, trouble)
            yield outcome

    async def drift(self) -> None:
        await self.moved.wait()
        self.moved.clear()
        if PROCESS.get().dead:
            raise asyncio.CancelledError
        self._check()

    async def probe(self, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        reached = [ProbeResult(target, reached=True, milliseconds=0.1) for target in targets]
        return await self.seam.call("device.probe", lambda: reached, {"lost": self._lost})
