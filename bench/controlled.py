"""A worker, planner and NetScaler driver over a world of facts: a controller without a cluster, before a device over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from bench.gateway import Forgets
from bench.world import DEVICE, LINK
from isthmus.app.drivers import DRIVERS, Wiring
from isthmus.core.planner import DevicePlanner
from isthmus.core.world import World
from isthmus.loop.device import DeviceWorker
from isthmus.model.plan import Scope
from isthmus.model.resources import AnyResource

_PATIENCE = 200.0


class Controlled:
    """One life of it; ``async with`` starts it and waits until all is in sync."""

    _epoch = 0

    def __init__(self, world: World) -> None:
        Controlled._epoch += 1
        epoch = Controlled._epoch
        self._passed = asyncio.Event()
        driver = DRIVERS["netscaler"](world.devices[DEVICE], Wiring(lambda: epoch))
        planner = DevicePlanner(world, DEVICE, driver)
        planner.allow_deletes = True
        self.worker = DeviceWorker(planner, driver, Forgets(), on_pass=lambda worker, scopes: self._passed.set())

    async def __aenter__(self) -> Controlled:
        self._task = asyncio.create_task(self.worker.run())
        await self.in_sync()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.worker.stop()
        await self._task
        await self.worker.let_go()

    @property
    def resources(self) -> dict[str, AnyResource]:
        """Return what stands on the device, as it was read or written last."""
        return dict(self.worker.planner.observed)

    async def in_sync(self) -> None:
        """Wait for the next pass that leaves nothing to do; raise if the device cannot be used or refuses something."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                await self._passed.wait()
                self._passed.clear()
                status = self.worker.status
                if status.error or status.refusals or status.conflicts:
                    raise RuntimeError(status.error or str((*status.refusals, *status.conflicts)[:3]))
                if status.in_sync:
                    return

    async def seconds_after(self, scopes: Iterable[Scope]) -> float:
        """Say that ``scopes`` have changed, and return how long it takes until that stands."""
        self._passed.clear()
        began = time.perf_counter()
        self.worker.dirty(scopes)
        await self.in_sync()
        return time.perf_counter() - began


def of_service(number: int) -> Scope:
    """Return the scope of one Service of the world."""
    return Scope("service", LINK, f"shop/s{number}")


def of_node(number: int) -> Scope:
    """Return the scope of one node of the world."""
    return Scope("node", LINK, f"node{number}")
