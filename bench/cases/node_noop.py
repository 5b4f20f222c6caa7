"""``node-noop``: 5,000 Nodes whose kubelets say that they still live. Nothing we read has changed, so nothing may happen.

The events go through the informer, the session and the world of a running device's worker; the reference decodes the same
lines into the same facts and drops them. No socket is involved on either side. The one confusing thing: a call to the
device counts even if it only reads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec

from bench.apiserver import event, node_object
from bench.gateway import Forgets
from bench.measure import in_turns, profiled, scaled
from bench.row import Row, compared
from bench.world import CLUSTER, DEVICE, empty_world
from isthmus.core.planner import DevicePlanner
from isthmus.drivers.memory import MemoryDriver
from isthmus.kube import wire
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.informer import Informer
from isthmus.kube.parse import NODE, parse_node
from isthmus.kube.watch import WatchStream
from isthmus.loop.device import DeviceWorker
from isthmus.loop.session import ClusterSession

_PIECE = 64 * 1024


class _Lines:
    """Stands for a response: hands out prepared bytes in pieces of a socket's size, then says nothing more."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.arrived = asyncio.Event()
        self.drained = asyncio.Event()
        self.content = self

    def feed(self, data: bytes) -> None:
        self.pieces = [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)][::-1]
        self.drained.clear()
        self.arrived.set()

    async def readany(self) -> bytes:
        while not self.pieces:
            self.drained.set()
            self.arrived.clear()
            await self.arrived.wait()
        return self.pieces.pop()


class _Client:
    """Stands for an API that lists ``nodes`` once and watches through ``lines``."""

    connection = Connection("http://127.0.0.1:1", name="bench")

    def __init__(self, nodes: int, lines: _Lines) -> None:
        self._nodes = nodes
        self._lines = lines

    async def list_pages(self, kind: object, **_: object) -> AsyncIterator[wire.Page[Any]]:
        body = msgspec.json.encode([node_object(number, 1000) for number in range(self._nodes)])
        yield wire.Page(msgspec.json.decode(body, type=list[wire.Node]), [], "1000", True)

    @asynccontextmanager
    async def watch(self, kind: object, *, type: Any, initial_events: bool, **_: object) -> AsyncIterator[Any]:
        yield WatchStream(cast("Any", self._lines), "watch nodes", type)


class _Counts(MemoryDriver):
    """The device in memory, which counts what it is asked."""

    calls = 0

    async def observe(self, identities: Any = None) -> Any:
        self.calls += 1
        return await super().observe(identities)

    def apply(self, changes: Any) -> Any:
        self.calls += 1
        return super().apply(changes)


async def measure() -> list[Row]:
    """Return the row."""
    count = scaled(5000)
    world = empty_world("memory")
    driver = _Counts()
    planner = DevicePlanner(world, DEVICE, driver)
    worker = DeviceWorker(planner, driver, Forgets())
    lines = _Lines()
    session = ClusterSession(
        CLUSTER,
        cast("KubeClient", _Client(count, lines)),
        world,
        heard=lambda heard: worker.dirty(heard.scopes),
        read=lambda kind: worker.look_at_everything(),
    )
    informer = session.informers["nodes"] = Informer(
        cast("KubeClient", _Client(count, lines)), NODE, on_change=lambda keys: session._changed("nodes", keys)
    )
    informer._streams = False
    tasks = [asyncio.create_task(informer.run()), asyncio.create_task(worker.run())]
    await informer.synced.wait()
    await lines.drained.wait()
    await asyncio.sleep(1.0)
    beats = 0

    def heartbeats() -> bytes:
        nonlocal beats
        beats += 1
        return b"".join(
            event("MODIFIED", node_object(n, 1000 + beats * count + n, heartbeat=beats)) for n in range(count)
        )

    async def ours() -> float:
        data = heartbeats()
        with profiled():
            began = time.process_time()
            lines.feed(data)
            await lines.drained.wait()
            taken = time.process_time() - began
        if informer.resource_version != str(1000 + beats * count + count - 1):
            raise RuntimeError("not all events were taken")
        return taken

    async def theirs() -> float:
        data = heartbeats()
        envelope, node = msgspec.json.Decoder(wire.Envelope), msgspec.json.Decoder(wire.Node)
        began = time.process_time()
        for line in data.splitlines():
            parse_node(node.decode(envelope.decode(line).object))
        return time.process_time() - began

    calls = driver.calls
    found = await in_turns(ours, theirs)
    await asyncio.sleep(0.5)
    calls = driver.calls - calls
    await worker.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return [
        compared(
            "node-noop",
            found,
            "s",
            ("≤ 2x", found.ratio <= 2),
            ("0 device calls", calls == 0),
            note=f"{count} events, {calls} device calls; reference: bare decoding of the same lines into facts",
        )
    ]
