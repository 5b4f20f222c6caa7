"""A NetScaler ADC as a device: reads and writes its configuration over NITRO, decides nothing.

The parts are told in modules of their own: what is ours and what it is called (``names``, ``intents``, ``ledger``), how rows
become resources (``read_*``) and resources objects (``shapes``), which requests a change is (``steps``), who may write
(``fence``). The one confusing thing: a look at a few identities leans on the last look at everything for where subnets are.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence

from isthmus.drivers.base import Adapted, Observation, Outcome, ProbeResult, ProbeTarget
from isthmus.drivers.netscaler import probe as probing
from isthmus.drivers.netscaler.adapt import Spelling, adapt
from isthmus.drivers.netscaler.drift import INTERVAL, Mark
from isthmus.drivers.netscaler.facts import facts_of, told_mac
from isthmus.drivers.netscaler.fence import Fence
from isthmus.drivers.netscaler.ledger import Ledger
from isthmus.drivers.netscaler.monitors import remove_monitors
from isthmus.drivers.netscaler.names import Names
from isthmus.drivers.netscaler.nitro.client import Nitro
from isthmus.drivers.netscaler.nitro.credentials import Credentials
from isthmus.drivers.netscaler.nitro.facts import missing_features
from isthmus.drivers.netscaler.observe import Known, look
from isthmus.drivers.netscaler.shapes import Impossible, objects_of
from isthmus.drivers.netscaler.sight import Sight
from isthmus.drivers.netscaler.steps import replaced
from isthmus.drivers.netscaler.store import Store
from isthmus.drivers.netscaler.writer import Writer
from isthmus.errors import DeviceUnreachable
from isthmus.model.facts import DeviceFacts
from isthmus.model.kinds.netscaler import NetScalerOptions
from isthmus.model.plan import Change
from isthmus.model.resources import ZERO_MAC, AnyResource, HealthCheck, Partial, SourceAddress, Tunnel

__all__ = ["NetScalerDriver"]

_FEATURES = ("LB",)


class NetScalerDriver:
    """Drive one NetScaler, or a pair of them.

    ``epoch`` is that of the present writer, asked before each request that writes. ``interval`` is the time in seconds
    between two looks at whether somebody else has changed something.
    """

    def __init__(
        self,
        device: str,
        options: NetScalerOptions,
        credentials: Credentials,
        epoch: Callable[[], int] = lambda: 0,
        *,
        interval: float = INTERVAL,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._device = device
        self._options = options
        self._interval = interval
        self.nitro = Nitro(device, options, credentials, entered=self._enter)
        self._names = Names(options.installation)
        self._ledger = Ledger(self.nitro, self._names)
        self._fence = Fence(device, self._ledger, epoch, timeout=options.timeout, sleep=sleep)
        self._mark = Mark(self.nitro)
        self._known = Known()
        self._store = Store()
        self._mac = options.tunnel_mac or ""
        self._facts = DeviceFacts()
        self._foreign: Mapping[str, str] = {}
        self._busy = asyncio.Lock()
        self._open = False
        self._looked = self._inherited = False
        self._check = _check(options)

    async def open(self) -> None:
        """Log in and see what the device is; write nothing. Raises ``DeviceError`` with what is wrong."""
        await self.nitro.open()
        if not self._mac:
            self._mac = await told_mac(self.nitro)
        self._open = True

    @property
    def save_trouble(self) -> str:
        """Return why the configuration cannot be saved; empty while all is well."""
        return self.nitro.save_trouble

    async def prepare(self) -> None:
        """Switch load balancing on if we may; where it is off, virtual servers are refused and all else stands."""
        self._opened()
        self._fence.check()
        if self._options.enable_features:
            await self.nitro.need(*_FEATURES)
        if not self._inherited:
            # A writer before us may have ended between a change and the save that follows it.
            if await self._mark.unsaved():
                self.nitro.changed()
            self._inherited = True

    @property
    def _balances(self) -> bool:
        return self._options.enable_features or not self._off

    @property
    def _off(self) -> tuple[str, ...]:
        """What of our features is off, as far as the device tells its features at all."""
        return missing_features(_FEATURES, self.nitro.features) if self.nitro.features else ()

    async def vacate(self) -> None:
        """Remove monitors and the ledger, if nothing of ours is left on the device."""
        self._opened()
        async with self._busy:
            sight = await self._look(None)
            if sight.resources or sight.odd:
                return
            self._fence.check()
            await remove_monitors(self.nitro, self._known)
            if self._ledger.begun:
                await self._ledger.vacate()
            await self._mark.written()

    async def close(self) -> None:
        """Save what is not saved, log out, let go of connections; the device keeps what it holds."""
        self._open = self._inherited = False
        await self.nitro.close()

    async def observe(self, identities: Collection[str] | None = None) -> Observation:
        """Return what the device holds: everything, or what stands at ``identities`` alone."""
        self._opened()
        async with self._busy:
            if identities is not None and not self._looked:
                await self._look(None)
            sight = await self._look(None if identities is None else frozenset(identities))
        return Observation(sight.resources, sight.told_foreign(), self._facts, sight.identities)

    async def _look(self, identities: Collection[str] | None) -> Sight:
        mark = ""
        if identities is None:
            mark, _ = await asyncio.gather(self._mark.read(), self.nitro.look_at_features())
        sight = await look(self.nitro, self._names, self._ledger, self._known, self._tunnel_mac, identities)
        self._store.take(sight)
        if identities is None:
            self._facts = facts_of(self._known.places, neighbors=self._options.neighbors, tunnel_mac=self._tunnel_mac)
            self._foreign = sight.told_foreign()
            self._looked = True
            self._mark.seen(mark, self._known.counts)
        return sight

    @property
    def _tunnel_mac(self) -> str:
        # Where nobody knows it, nodes find it by asking.
        return self._mac or ZERO_MAC

    def adapt(self, desired: Mapping[str, AnyResource]) -> Adapted:
        """Return ``desired`` as this device would read it back, and what it refuses by value."""
        return adapt(
            desired, Spelling(self._names, self.nitro.release, self._tunnel_mac, self._check, self._balances)
        )

    def replaces(self, before: AnyResource, after: AnyResource) -> str:
        """Return what of ``before`` only a new object can have, in words; empty where it is changed in place."""
        if isinstance(before, Partial) or isinstance(after, Partial):
            return ""
        if isinstance(before, Tunnel) and isinstance(after, Tunnel) and before.vni != after.vni:
            return "its VNI"
        if isinstance(before, SourceAddress) and isinstance(after, SourceAddress) and before.address.version == 6:
            return "" if before.address == after.address else "its prefix length"

        def any_vni(link: str) -> int:
            return 1 if link else 0

        try:
            return replaced(objects_of(before, self._names, any_vni), objects_of(after, self._names, any_vni))
        except Impossible:
            return ""

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Carry out ``changes`` in order; raises ``DeviceError`` where nothing more can be sent."""
        self._opened()
        if not changes:
            return
        async with self._busy:
            if not self._looked:
                await self._look(None)
            self._fence.check()
            await self._fence.enter(self.nitro)
            writer = Writer(
                self.nitro,
                self._names,
                self._ledger,
                self._known,
                self._store,
                self._look,
                self._fence.check,
                self._mark.wrote,
            )
            try:
                async for outcome in writer.apply(changes):
                    yield outcome
            finally:
                await self._after()

    async def _after(self) -> None:
        """Know the mark that our writes have left; a device that does not answer now is found out by the next look."""
        try:
            await self._mark.written()
        except DeviceUnreachable:
            return

    async def drift(self) -> None:
        """Return when something of the device is not as we know it; the mark is read every ``interval`` seconds."""
        self._opened()
        pause = self._interval
        while True:
            await asyncio.sleep(pause)
            async with self._busy:
                moved = self._looked and await self._mark.moved()
                if not moved and not (self._looked and self._mark.doubtful):
                    pause = self._interval
                    continue
                held, known = dict(self._store.held), (self._foreign, self._facts, self._off)
                await self._look(None)
                if held != self._store.held or known != (self._foreign, self._facts, self._off):
                    return
            # Somebody works on what is none of our business: looking at everything each time would be a burden.
            pause = min(pause * 2, 60.0) if moved else self._interval

    async def probe(self, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        """Raise ``DeviceUnsupported``: NITRO has no way to ask for this that could be relied on."""
        self._opened()
        probing.refuse(self._device, targets)

    async def _enter(self) -> None:
        await self._fence.enter(self.nitro)

    def _opened(self) -> None:
        if not self._open:
            raise DeviceUnreachable(f"{self._device} is not open")


def _check(options: NetScalerOptions) -> HealthCheck | None:
    """Return the check that the user wants of all members; monitors count whole seconds, so parts are rounded up."""
    if options.check is None:
        return None
    interval = max(2, math.ceil(options.check.interval))
    timeout = min(max(1, math.ceil(options.check.timeout)), interval - 1)
    return HealthCheck(interval, timeout, options.check.failures)
