"""A device that carries packets: whatever its API configures is so in its namespace, some milliseconds later.

One task looks at the whole configuration when something has changed, compares what is wanted with what is made, and changes
the difference; requests are answered when that is done, so that a client that has been answered finds it done. The one
confusing thing: a secondary of a pair, and a device that is starting, want nothing, and so take everything away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from ipaddress import ip_interface
from typing import Self

from isthmus.lab.adc.announcing import announce
from isthmus.lab.adc.places import Places, places
from isthmus.lab.adc.plans import Name, Probe, Service, probes, services
from isthmus.lab.adc.probing import Probing
from isthmus.lab.adc.routing import Roads, roads
from isthmus.lab.adc.serving import Serving
from isthmus.lab.adc.things import Kernel, Key
from isthmus.lab.adc.wiring import Wiring
from isthmus.lab.nitro.appliance import Appliance
from isthmus.lab.nitro.kinds import Value
from isthmus.lab.nitro.system import Port

_log = logging.getLogger(__name__)
_BOOTING = 0.02  # seconds between looks at a device that does not answer


class Plane:
    """The packets of one device, carried between ``async with`` and its end."""

    def __init__(self, device: Appliance, wiring: Wiring, *, pace: float = 1.0, settle: bool = True) -> None:
        """Carry for ``device``; ``pace`` shortens the pauses of monitors, ``settle`` lets requests wait for the kernel."""
        loop = asyncio.get_running_loop()
        self.device = device
        self.wiring = wiring
        self._settle = settle
        self._kernel = Kernel(wiring.namespace)
        self._probing = Probing(wiring.namespace, self._felt, pace=pace)
        self._serving = Serving(wiring.namespace, self._answers, loop.time)
        self._probes: dict[Name, tuple[Probe, ...]] = {}
        self._services: dict[str, Service] = {}
        self._dirty = True
        self._unread: list[str] = []
        self._asked = self._done = 0
        self._moved = asyncio.Event()
        self._finished = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        device.ports = tuple(Port(cable.ifnum, cable.mac, cable.mtu) for cable in wiring.cables)

    async def __aenter__(self) -> Self:
        await self._kernel.open()
        self.device.carrier = self
        self._see()
        self.changed()
        self._task = asyncio.create_task(self._run())
        await self._wait(self._asked)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.device.carrier = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._serving.close()
        await self._probing.close()
        await self._kernel.close()

    @property
    def made(self) -> int:
        """Return how many things stand in the kernel."""
        return len(self._kernel.made)

    def changed(self) -> None:
        """Hear that the configuration is another than before, or the device's role."""
        self._dirty = True
        self._felt()

    def _felt(self) -> None:
        """Hear that a member's health is another; that changes who serves, and nothing in the kernel."""
        self._asked += 1
        self._moved.set()

    async def settled(self) -> None:
        """Wait until what has been asked for so far is so."""
        if self._settle:
            await self._wait(self._asked)

    def up(self, group: Value, server: Value, port: Value) -> bool:
        """Say whether a member answers its monitors; in a pair the primary's opinion counts."""
        return self._answers((group, server, port))

    def _answers(self, name: Name) -> bool:
        asked = self._probes.get(name)
        return asked is not None and all(self._probing.up(probe) for probe in asked)

    async def _wait(self, ask: int) -> None:
        async with self._finished:
            await self._finished.wait_for(lambda: self._done >= ask)

    async def _run(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            asked, dirty = self._asked, self._dirty or not self.device.up
            self._dirty = False
            try:
                if dirty:
                    await self._look()
                else:
                    await self._serving.become(self._services)
            except Exception:
                # A bug here must not end the device; it is in the log, and whoever waits goes on.
                _log.exception("the configuration could not be realised")
            async with self._finished:
                self._done = max(self._done, asked)
                self._finished.notify_all()
            if not self.device.up:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._moved.wait(), _BOOTING)
                self._dirty = True
                self._moved.set()

    def _see(self) -> None:
        """Tell the configuration who knows the members' health: the device that leads."""
        if self.device.primary:
            self.device.config.running.health = self.device.config.saved.health = self

    async def _look(self) -> None:
        device = self.device
        if not device.up:
            await self._serving.close()
            self._probes, self._services = {}, {}
            self._probing.become(())
            await self._kernel.become({})
            return
        self._see()
        running, primary = device.running, device.primary
        management = ip_interface(f"{device.address}/{device.netmask}")
        where = places(running, self.wiring, management, primary=primary)
        ways = roads(running, self.wiring, where) if primary else Roads()
        self._tell(ways)
        self._services = services(running, where, ways) if primary else {}
        new = await self._kernel.become({**where.things, **ways.things})
        self._probes = probes(running, where, ways) if primary else {}
        self._probing.become(probe for asked in self._probes.values() for probe in asked)
        await self._serving.become(self._services)
        self._announce(new, where)

    def _tell(self, ways: Roads) -> None:
        if ways.unread != self._unread:
            self._unread = ways.unread
            for name in ways.unread:
                _log.warning("policy route %s has conditions that are not imitated; it is not in force", name)

    def _announce(self, new: list[Key], where: Places) -> None:
        fresh = {key[1:] for key in new if key[0] == "address"}
        for cable in self.wiring.cables:
            found = [
                place.address
                for place in where.addresses
                if place.link == cable.link and place.answers and (place.link, place.address) in fresh
            ]
            if found:
                announce(self.wiring.namespace, cable.link, cable.mac, found)
