"""All devices of one process: a worker each, and what the clusters' workers must know of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from isthmus import metrics
from isthmus.app.drivers import DRIVERS, UNFENCED, DriverFactory, Wiring
from isthmus.core.ground import Ground
from isthmus.core.planner import DevicePlanner
from isthmus.core.services import answered
from isthmus.core.standing import stirred
from isthmus.core.world import World
from isthmus.drivers.base import ProbeResult, ProbeTarget
from isthmus.errors import DeviceUnreachable
from isthmus.loop.device import DeviceWorker
from isthmus.loop.recorded import Memory
from isthmus.loop.tenure import Always, Tenure
from isthmus.loop.timed import timed
from isthmus.model.facts import DeviceFacts
from isthmus.model.kinds import EdgeDevice
from isthmus.model.plan import Plan, Scope
from isthmus.model.resources import VirtualServer, served_address
from isthmus.telemetry import get_logger

_GRACE = 10.0
"""Seconds that a device has to finish the change under way when its worker ends."""


class Counted(NamedTuple):
    """A plan in numbers, and when it was made (epoch seconds)."""

    at: float
    creates: int
    updates: int
    deletes: int
    withheld: int
    refused: int


class CountingPlanner(DevicePlanner):
    """A planner that remembers what its last plan with anything in it came to, for people to see.

    Not the plan itself: that of a start holds everything there is.
    """

    last: Counted | None = None

    def full(self, now: float) -> Plan:
        """Ask every scope and compare everything."""
        return self._noted(super().full(now), now)

    def keyed(self, scopes: Iterable[Scope], now: float) -> Plan:
        """Ask ``scopes`` and those they touch, and compare only what they want or wanted."""
        return self._noted(super().keyed(scopes, now), now)

    def _noted(self, plan: Plan, now: float) -> Plan:
        if not plan.empty:
            steps = plan.count("create"), plan.count("update"), plan.count("delete")
            self.last = Counted(now, *steps, len(plan.held), len(plan.refusals))
        return plan


class Fleet:
    """The devices' workers by name.

    ``passed`` hears of every pass, ``moved`` when a device's own interfaces changed, ``crashed`` of a worker that ended by an
    error of ours.
    """

    def __init__(
        self,
        world: World,
        memory: Memory,
        *,
        passed: Callable[[str, Collection[Scope]], None],
        moved: Callable[[str], None],
        allow_deletes: bool = False,
        drivers: Mapping[str, DriverFactory] = DRIVERS,
        wiring: Wiring = UNFENCED,
        crashed: Callable[[BaseException], None] = lambda error: None,
        tenure: Callable[[str], Tenure] = lambda device: Always(),
        blind: Callable[[], bool] = lambda: False,
        contended: bool = False,
    ) -> None:
        """``tenure`` says of each device whether it may be written; ``blind`` that nobody can tell whose turn it is.

        ``contended`` says that others may have written before us.
        """
        self._world = world
        self._memory = memory
        self._passed = passed
        self._moved = moved
        self._allow_deletes = allow_deletes
        self._drivers = drivers
        self._wiring = wiring
        self._crashed = crashed
        self._tenure = tenure
        self._blind = blind
        self._contended = contended
        self._log = get_logger("app")
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._facts: dict[str, DeviceFacts] = {}
        self._seen: dict[str, DeviceFacts] = {}
        self._made_for: dict[str, EdgeDevice] = {}
        self.workers: dict[str, DeviceWorker] = {}
        self._ending: set[asyncio.Task[None]] = set()

    # --- what devices there are ---------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Start workers for new devices, stop those of devices that are gone, start anew those wired differently."""
        devices = self._world.devices
        # All at once: a device that hangs in its last change must not hold up the end or the beginning of others twice.
        await asyncio.gather(
            *(self._end(name) for name, made in list(self._made_for.items()) if _other_way(made, devices.get(name)))
        )
        for name, device in devices.items():
            if name not in self.workers:
                self._begin(name, device)

    async def stop(self) -> None:
        """Let every worker finish the change under way and remember its state; how they ended stays to be seen."""
        ends = [self._finish(worker, self.tasks.pop(name)) for name, worker in self.workers.items()]
        await asyncio.gather(*ends, *self._ending)

    def _begin(self, name: str, device: EdgeDevice) -> None:
        tenure = self._tenure(name)
        wiring = replace(self._wiring, epoch=lambda: tenure.epoch)
        driver = timed(self._drivers[device.spec.driver](device, wiring), name)
        planner = CountingPlanner(self._world, name, driver)
        planner.allow_deletes = self._allow_deletes
        worker = DeviceWorker(
            planner,
            driver,
            self._memory,
            on_pass=self._after_pass,
            resync=lambda: self._world.devices[name].spec.resync if name in self._world.devices else 300.0,
            tenure=tenure,
            may_restore=lambda: tenure.holds() or (self._blind() and _is_this_host(device)),
            follows=lambda: self._contended and tenure.holds(),
        )
        self.workers[name] = worker
        self._made_for[name] = device
        task = self.tasks[name] = asyncio.create_task(worker.run(), name=f"device {name}")
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = task.exception() if not task.cancelled() else None
        if error is not None:
            self._crashed(error)

    async def _end(self, name: str) -> None:
        worker, task = self.workers.pop(name), self.tasks.pop(name)
        self._facts.pop(name, None)
        self._seen.pop(name, None)
        self._made_for.pop(name, None)
        # Letting go of a device saves its configuration: whoever is cancelled meanwhile must not take that along.
        finish = asyncio.create_task(self._finish(worker, task), name=f"letting go of {name}")
        self._ending.add(finish)
        finish.add_done_callback(self._ending.discard)
        await asyncio.shield(finish)
        metrics.forget("device", name)
        self._world.sights.forget(name)
        self._hand_on_sights()

    @staticmethod
    async def _finish(worker: DeviceWorker, task: asyncio.Task[None]) -> None:
        await worker.stop()
        try:
            async with asyncio.timeout(_GRACE):
                await asyncio.gather(task, return_exceptions=True)
        except TimeoutError:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await worker.let_go()

    # --- what the devices are told ------------------------------------------------------------------------------

    def is_writing(self, device: str) -> bool:
        """Say whether a plan is being carried out on ``device`` at this moment."""
        return device in self.workers and self.workers[device].handing.under_way

    def touch(self, scopes: Iterable[Scope]) -> None:
        """Have every device that ``scopes`` concern look at them again."""
        per_device: dict[str, list[Scope]] = {}
        for scope in scopes:
            for device in self._world.devices_of(scope):
                per_device.setdefault(device, []).append(scope)
        for device, dirty in per_device.items():
            if device in self.workers:
                self.workers[device].dirty(dirty)

    def look_at_everything(self, devices: Iterable[str] | None = None) -> None:
        """Have ``devices`` (all, if none are named) make a full pass."""
        for name in self.workers if devices is None else devices:
            if name in self.workers:
                self.workers[name].look_at_everything()

    # --- what the devices tell ----------------------------------------------------------------------------------

    def ground(self, link: str, device: str) -> Ground | None:
        """Return where decisions for ``link`` on ``device`` stand, or none while the device was not observed yet."""
        kinds = self._world.links.get(link), self._world.devices.get(device)
        worker = self.workers.get(device)
        if kinds[0] is None or kinds[1] is None or worker is None or not worker.planner.facts.interfaces:
            return None
        return Ground(self._world, kinds[0], kinds[1], worker.planner.facts)

    def serves(self, scope: Scope) -> bool:
        """Say whether for each address of a Service some device answers and carries out all that ``scope`` wants of it."""
        planners = [self.workers[name].planner for name in self._world.devices_of(scope) if name in self.workers]
        found = [answered(planner.wishes.of(scope), planner.observed) for planner in planners]
        addresses = {address for one in found for address in one}
        return bool(addresses) and all(any(one.get(address) for one in found) for address in addresses)

    def has_members(self, scopes: Iterable[Scope]) -> bool:
        """Say whether some virtual server that ``scopes`` want has a member."""
        return any(
            isinstance(resource, VirtualServer) and resource.members
            for scope in scopes
            for device in self._world.devices_of(scope)
            if device in self.workers
            for resource in self.workers[device].planner.wishes.of(scope).values()
        )

    def stands(self, cluster: str, kind: str) -> bool:
        """Say whether something stands, or may stand, that came from objects of ``kind`` in ``cluster``."""
        if any(vip.holder is not None and vip.holder[0] == cluster for vip in self._world.vips.values()):
            return True
        planners = [
            self.workers[name].planner if name in self.workers else None
            for link in self._world.links_of_cluster(cluster)
            for name in link.spec.devices
        ]
        for planner in planners:
            if planner is None or not planner.facts.interfaces:
                return True  # nobody has looked yet
            if kind == "nodes" and planner.observed:
                return True
            if any(served_address(one) is not None for one in planner.observed.values()):
                return True
        return False

    def complaint(self, scope: Scope) -> str | None:
        """Return why a device does not serve ``scope``, if one has said so."""
        for device in self._world.devices_of(scope):
            worker = self.workers.get(device)
            if worker is None:
                continue
            if not worker.status.reachable and worker.status.error:
                return f"{device}: {worker.status.error}"
            found = worker.planner.complaint(scope)
            if found is not None:
                return f"{device}: {found}"
        return None

    async def probe(self, device: str, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        """Send echo requests from ``device``."""
        worker = self.workers.get(device)
        if worker is None or not worker.status.reachable:
            raise DeviceUnreachable(f"{device} cannot be asked now")
        return await worker.driver.probe(targets)

    def _after_pass(self, worker: DeviceWorker, scopes: Collection[Scope]) -> None:
        name = worker.planner.device
        if worker.status.error and not worker.status.reachable:
            self._world.sights.silent(name, time.time())
        self._hand_on_sights()
        facts = worker.planner.facts
        if self._seen.get(name) is not facts:  # a look at everything made them anew
            self._seen[name] = facts
            if self._facts.get(name) != _places(facts):
                self._facts[name] = _places(facts)
                self._moved(name)
        self._passed(name, scopes)

    def _hand_on_sights(self) -> None:
        """Have others look again where what a device showed is what their plans rest on; say which VIPs have moved."""
        for device, scopes in stirred(self._world).items():
            if device in self.workers:
                self.workers[device].dirty(scopes)
        moves = Counter((move.before, move.after) for move in self._world.sights.take_moves())
        for (before, after), count in sorted(moves.items()):
            metrics.TAKEOVERS.labels(after).inc(count)
            self._log.warning("VIPs taken over", device=after, before=before, vips=count)


def _is_this_host(device: EdgeDevice) -> bool:
    """Say whether the device is the machine that we run on: what it had before it booted it gets back from us or nobody."""
    return device.spec.driver == "linux" and getattr(device.spec.linux, "agent", None) is None


def _other_way(made: EdgeDevice, device: EdgeDevice | None) -> bool:
    """Say whether the worker made for ``made`` is not the one that ``device`` needs now."""
    return device is None or _wired(made) != _wired(device)


def _wired(device: EdgeDevice) -> tuple[object, ...]:
    """Return what a driver is made of."""
    spec = device.spec
    ends = spec.tunnel_addresses if spec.driver == "external" else ()
    return spec.driver, spec.linux, spec.netscaler, spec.external, ends


def _places(facts: DeviceFacts) -> DeviceFacts:
    """Return what the device is like, and the interfaces and subnets that are not ours: what we add is no news."""
    return msgspec.structs.replace(
        facts,
        interfaces=tuple(
            msgspec.structs.replace(
                interface,
                addresses=tuple(a for a in interface.addresses if a.network.prefixlen < a.max_prefixlen),
            )
            for interface in facts.interfaces
            if not interface.ours
        ),
    )
