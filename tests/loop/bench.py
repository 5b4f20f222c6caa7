"""A device's worker on the bench: over a rig's world, on the device in memory and virtual time, with what it said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

from structlog.testing import capture_logs

from core.rig import NOW, Rig, endpoints, node, service, vip
from isthmus.core.planner import DevicePlanner
from isthmus.errors import StateError
from isthmus.loop.device import DeviceWorker
from isthmus.loop.recorded import Record, Recorded
from isthmus.model.facts import Endpoint
from isthmus.model.plan import Scope

from .clock import now, virtually

ROUTE = "route 10.244.1.0/24"


class Remembered:
    """A memory that can be asked what it holds, and can fail."""

    def __init__(self, recorded: Recorded = ()) -> None:
        self.recorded = recorded
        self.saves = 0
        self.broken = False

    async def load(self, device: str) -> Recorded:
        return self.recorded

    async def save(self, device: str, records: Mapping[str, Record | None], *, whole: bool = False) -> None:
        if self.broken:
            raise StateError("the disk is full")
        before = {} if whole else {resource.identity: (resource, scopes) for resource, scopes in self.recorded}
        now = [found for found in (before | dict(records)).values() if found is not None]
        if now != self.recorded:
            self.saves += 1  # as the state directory, which does not write what stands there already
        self.recorded = now


class Bench:
    """A worker over a rig's world, with what it said and what it did."""

    def __init__(self, rig: Rig, memory: Remembered | None = None, resync: float = 300.0) -> None:
        self.rig, self.driver = rig, rig.driver
        self.memory = memory or Remembered()
        self.passes: list[set[Scope]] = []
        self.worker = DeviceWorker(
            DevicePlanner(rig.world, "gw", rig.driver),
            rig.driver,
            self.memory,
            on_pass=lambda worker, scopes: self.passes.append(set(scopes)),
            resync=lambda: resync,
            clock=lambda: NOW + now(),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.worker.run())
        try:
            yield task
        finally:
            await self.worker.stop()
            await task

    async def until(self, true: Callable[[], bool], within: float = 60.0) -> None:
        """Let time pass until something is true; fail if it does not become so."""
        end = now() + within
        while not true():
            assert now() < end, f"not within {within} s: {self.worker.status}"
            await asyncio.sleep(0.01)

    def put(self, *facts: Any) -> None:
        self.worker.dirty(self.rig.put(*facts))

    async def settled(self) -> None:
        await self.until(lambda: self.worker.status.in_sync)


def small(**rest: Any) -> Rig:
    """Return a rig with one node and one Service."""
    rig = Rig(**rest)
    rig.put(
        node("n1", "192.0.2.11", "10.244.1.0/24"),
        service("shop/web", 80),
        endpoints("shop/web-1", "web", Endpoint(ip_address("10.244.1.5"), "n1")),
        vip("192.0.2.100", "shop/web"),
    )
    return rig


def story(tell: Callable[[Bench], Coroutine[Any, Any, None]], bench: Bench) -> list[dict[str, Any]]:
    """Run a story on virtual time and return what was logged."""
    with capture_logs() as logs:
        virtually(lambda: tell(bench))
    return [dict(entry) for entry in logs]


def events(logs: Iterable[dict[str, Any]], *names: str) -> list[str]:
    return [entry["event"] for entry in logs if entry["event"] in names]
