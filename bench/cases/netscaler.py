"""``netscaler``: what a controller costs a NetScaler, in seconds and in requests, at 20 ms a request and 1 ms an item.

Worker, planner, driver and client are real, and speak HTTP over loopback to the lab's appliance in another process. The
reference is a client without anything (:func:`bench.appliance.by_hand`) that sends the least there is to send, in as few
requests as can be; the minimum that requests are counted against is the same.

The one confusing thing: *items* are what a device works on, *requests* what a network waits for. Both are counted, by kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from statistics import median

from bench.appliance import Count, Device, Step, by_hand, device, options
from bench.controlled import Controlled, of_node, of_service
from bench.measure import in_turns, percentile, profiled, progress, scaled
from bench.nitro_rows import MEMBERS, steps
from bench.row import Row, compared, judged
from bench.world import CLUSTER, empty_world, node, put_nodes, put_service, put_services
from isthmus.core.world import World
from isthmus.model.resources import AnyResource, Tunnel

_MEMBERS = 5
_AT_ONCE = 200
_ECONOMY = 1.05


async def measure() -> list[Row]:
    """Return the rows."""
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as made:
        async with device() as found:
            bench = _Bench(found, Path(made))
            rows = [await bench.few(), await bench.change(), *await bench.cold()]
            return [*rows, *await bench.economy()]


class _Bench:
    """The benches over one device."""

    def __init__(self, found: Device, folder: Path) -> None:
        self.device = found
        self._options = options(found.url, folder)

    @contextlib.asynccontextmanager
    async def _cold(self, nodes: int) -> AsyncIterator[tuple[World, Controlled]]:
        """Run a controller over ``nodes`` nodes, all joined, before a device that was empty."""
        await self.device.empty()
        world = self._world(nodes)
        async with Controlled(world) as controlled:
            yield world, controlled

    def _world(self, nodes: int) -> World:
        world = empty_world("netscaler", netscaler=self._options)
        put_nodes(world, nodes)
        return world

    async def few(self) -> Row:
        """Twenty Services more on a device with nodes and nothing else."""
        count, nodes = scaled(20), scaled(50)
        standing: list[AnyResource] = []
        written: list[AnyResource] = []

        async def ours() -> float:
            async with self._cold(nodes) as (world, controlled):
                standing[:] = controlled.resources.values()
                put_services(world, count, _MEMBERS, nodes)
                taken = await controlled.seconds_after(map(of_service, range(count)))
                written[:] = controlled.resources.values()
            return taken

        async def theirs() -> float:
            await self.device.empty()
            await by_hand(self.device.url, steps(standing, first=True))
            return await _seconds_by_hand(self.device.url, steps(written, first=False, standing=standing))

        await ours()  # what is sent by hand is what ours has written
        found = await in_turns(ours, theirs, pairs=3)
        worst = max(found.ours)
        note = f"{count} Services with {_MEMBERS} members on {nodes} nodes; reference: the same rows by hand"
        return compared("netscaler-20", found, "s", ("≤ 2 s", worst <= 2.0), note=note)

    async def change(self) -> Row:
        """One Service's pods change where there are 400."""
        count, nodes, rounds = scaled(400), scaled(400), scaled(30)
        taken: list[float] = []
        async with self._cold(nodes) as (world, controlled):
            put_services(world, count, _MEMBERS, nodes)
            await controlled.seconds_after(map(of_service, range(count)))
            for number in range(rounds):
                put_service(world, number % count, _MEMBERS + 1 - number % 2, nodes)
                taken.append(await controlled.seconds_after([of_service(number % count)]))
                progress(f"change {number}/{rounds}")
        worst = percentile(taken, 0.99)
        note = f"one member more or less, {rounds} times among {count} Services; p99, median {median(taken):.3f} s"
        return judged("netscaler-change", worst, "s", ("≤ 0.5 s", worst <= 0.5), note=note)

    async def cold(self) -> list[Row]:
        """A thousand nodes and a thousand Services on an empty device, and then a restart."""
        count = scaled(1000)
        await self.device.empty()
        world = self._world(count)
        put_services(world, count, _MEMBERS, count)
        progress("cold")
        began = time.perf_counter()
        with profiled():
            async with Controlled(world) as controlled:
                taken = time.perf_counter() - began
                resources = controlled.resources
        await self.device.order("reset-counters")
        progress("restart")
        began = time.perf_counter()
        async with Controlled(world) as controlled:
            again = time.perf_counter() - began
        writes = sum(one.requests for one in (await self.device.counted()).values())
        reads = await self.device.read()
        await self.device.empty()
        progress("by hand")
        reference = await _seconds_by_hand(self.device.url, steps(resources.values(), first=True))
        size = f"{count} nodes, {count} Services with {_MEMBERS} members"
        return [
            judged(
                "netscaler-cold",
                taken,
                "s",
                ("≤ 60 s", taken <= 60.0),
                reference=reference,
                ratio=taken / reference,
                note=f"{size}, from nothing; reference: the same rows by hand, nothing read",
            ),
            judged(
                "netscaler-restart",
                again,
                "s",
                ("0 writes", writes == 0),
                ("≤ 10 s", again <= 10.0),
                note=f"{size}, in sync: {reads} requests to look, {writes} to write",
            ),
        ]

    async def economy(self) -> list[Row]:
        """What is asked of the device for a first sync, for one node, and for one member."""
        count = scaled(50)
        await self.device.empty()
        world = self._world(count)
        put_services(world, count, _MEMBERS, count)
        async with Controlled(world) as controlled:
            first = controlled.resources
            size = f"{count} nodes, {count} Services with {_MEMBERS} members"
            rows = [_economy("netscaler-first", size, await self._spent(), _least(steps(first.values(), first=True)))]
            world.put_node(CLUSTER, f"node{count}", node(count))
            await controlled.seconds_after([of_node(count)])
            joined = [one for name, one in controlled.resources.items() if name not in first]
            links = [one for one in first.values() if isinstance(one, Tunnel)]
            least = _least(steps([*links, *joined], first=False, standing=links))
            rows.append(_economy("netscaler-join", "one node more", await self._spent(), least))
            put_service(world, 1, _MEMBERS + 1, count)
            await controlled.seconds_after([of_service(1)])
            least = {f"add {MEMBERS}": Count(1, 1), "save nsconfig": Count(1, 1)}
            rows.append(_economy("netscaler-member", "one member more", await self._spent(), least))
        return rows

    async def _spent(self) -> dict[str, Count]:
        """Return what was written until all is saved, and count from zero."""
        async with asyncio.timeout(60):
            while (await self.device.shown())["unsaved"]:  # noqa: ASYNC110 - another process, which does not tell
                await asyncio.sleep(0.2)
        found = await self.device.counted()
        await self.device.order("reset-counters")
        return found


def _least(found: Iterable[Step]) -> dict[str, Count]:
    least: dict[str, Count] = {}
    for _, kind, query, rows in found:
        name = f"{'save' if 'save' in query else 'add'} {kind}"
        before = least.get(name, Count())
        least[name] = Count(before.requests - (-len(rows) // _AT_ONCE), before.items + len(rows))
    return least


async def _seconds_by_hand(url: str, found: list[Step]) -> float:
    began = time.perf_counter()
    await by_hand(url, found)
    return time.perf_counter() - began


def _economy(name: str, what: str, spent: Mapping[str, Count], least: Mapping[str, Count]) -> Row:
    items, least_items = (sum(one.items for one in counts.values()) for counts in (spent, least))
    requests, least_requests = (sum(one.requests for one in counts.values()) for counts in (spent, least))
    kinds = "; ".join(
        f"{kind} {spent.get(kind, Count()).items}/{least.get(kind, Count()).items}"
        f" in {spent.get(kind, Count()).requests}/{least.get(kind, Count()).requests}"
        for kind in sorted(spent.keys() | least.keys())
    )
    return judged(
        name,
        items,
        "items",
        (f"≤ {_ECONOMY:g}x", items <= _ECONOMY * least_items),
        reference=least_items,
        ratio=items / least_items,
        note=f"{what}: {requests} requests, {least_requests} at least; items/least in requests/least: {kinds}",
    )
