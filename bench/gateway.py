"""A Linux gateway in this process's own namespace: the worker, planner and driver of a controller, without a cluster.

It stands for everything between "the facts are there" and "the kernel has said yes". The one confusing thing: it works
in the sandbox's first namespace, which is nobody else's because each bench has a sandbox of its own.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from bench.world import DEVICE, GATEWAY, UNDERLAY
from isthmus.core.planner import DevicePlanner
from isthmus.core.world import World
from isthmus.drivers.base import Outcome
from isthmus.drivers.linux.driver import LinuxDriver
from isthmus.loop.device import DeviceWorker
from isthmus.loop.recorded import Record, Recorded
from isthmus.model.plan import Change

_PATIENCE = 30.0


class Forgets:
    """A memory that keeps nothing; what it would write is not what is measured."""

    async def load(self, device: str) -> Recorded:
        return ()

    async def save(self, device: str, records: Mapping[str, Record | None], *, whole: bool = False) -> None:
        return None


def make_network() -> None:
    """Give the sandbox's own namespace, which is empty, one link with an address."""
    Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
    tool("ip", "link", "set", "lo", "up")
    tool("ip", "link", "add", UNDERLAY, "type", "veth", "peer", "name", "other0")
    tool("ip", "address", "add", str(GATEWAY), "dev", UNDERLAY)
    for name in (UNDERLAY, "other0"):
        tool("ip", "link", "set", name, "up")


def tool(*command: str, text: str | None = None) -> str:
    """Run ``ip``, ``bridge`` or ``nft`` to its end and return what it printed."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[:300]}")
    return done.stdout


async def tool_seconds(commands: Sequence[tuple[Sequence[str], str]]) -> float:
    """Run commands one after another, each with its input, and return how long all took."""
    began = time.perf_counter()
    for command, text in commands:
        await asyncio.to_thread(tool, *command, text=text)
    return time.perf_counter() - began


class Gateway:
    """A worker over ``world``; ``async with`` starts it and waits until it has looked once."""

    def __init__(self, world: World) -> None:
        self.driver = _Timed("bench")
        self._passed = asyncio.Event()
        planner = DevicePlanner(world, DEVICE, self.driver)
        planner.allow_deletes = True
        self.worker = DeviceWorker(planner, self.driver, Forgets(), on_pass=lambda worker, scopes: self._passed.set())

    async def __aenter__(self) -> Gateway:
        self._task = asyncio.create_task(self.worker.run())
        await self.in_sync()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.worker.stop()
        await self._task
        await self.worker.let_go()

    async def in_sync(self) -> None:
        """Wait for the next pass that leaves nothing to do."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                await self._passed.wait()
                self._passed.clear()
                if self.worker.status.in_sync:
                    return
                if self.worker.status.error:
                    raise RuntimeError(self.worker.status.error)

    async def seconds_to_sync(self) -> float:
        """Have everything looked at and return how long it takes to the last acknowledgement; all must be in sync then."""
        self._passed.clear()
        began = time.perf_counter()
        self.worker.look_at_everything()
        await self.in_sync()
        return self.driver.acknowledged - began


class _Timed(LinuxDriver):
    """The driver, which remembers when the kernel last acknowledged something."""

    acknowledged = 0.0

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        async for outcome in super().apply(changes):
            self.acknowledged = time.perf_counter()
            yield outcome
