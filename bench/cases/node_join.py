"""``node-join``: a node joins a cluster of 1,000, from its event in the API to the first ping that its pod answers.

The whole way counts: the controller gives the node its place and writes it on the Node, the agent on the node makes its
tunnel end, the gateway gets FDB entry, neighbor and route, and an echo request of the gateway comes back from the pod. The
node leaves and joins again each time, as a new Node with a new uid.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from statistics import median
from typing import Any

from bench.measure import percentile, progress, scaled
from bench.real import known_cluster, start_controller, until_quiet
from bench.row import Row, judged
from isthmus.lab.joined import GATEWAY, JoinedLab, until
from isthmus.lab.net.clients import checksum
from isthmus.lab.net.netns import call_in
from isthmus.lab.net.topology import NodePlan

_JOINS = 100
_MOST_MS = 50.0
_EVERY = 0.001
_PATIENCE = 10.0


async def measure() -> list[Row]:
    """Return the row."""
    nodes, joins = scaled(1000), scaled(_JOINS, least=5)
    taken: list[float] = []
    async with known_cluster(nodes, 0, 0, real=1) as joined:
        plan = joined.lab.network.nodes["node1"]
        api = joined.lab.api
        written = api.get("nodes", "node1")
        await joined.start_agent(plan)
        await start_controller(joined)
        await _gone_or_there(joined, plan, there=True)
        await until_quiet(joined)
        api.delete("nodes", "node1")
        await _gone_or_there(joined, plan, there=False)
        for _ in range(joins + 3):
            await asyncio.sleep(0.1)
            began = time.perf_counter()
            api.put(_fresh(written))
            taken.append((await _first_answer(plan) - began) * 1000)
            progress(f"{len(taken)}/{joins}")
            api.delete("nodes", "node1")
            await _gone_or_there(joined, plan, there=False)
    del taken[:3]  # the first ones warm both processes up
    worst = percentile(taken, 0.99)
    return [
        judged(
            "node-join",
            worst,
            "ms",
            (f"p99 ≤ {_MOST_MS:.0f} ms", worst <= _MOST_MS),
            note=f"{joins} joins on top of {nodes} nodes; p99 shown, median {median(taken):.1f} ms",
        )
    ]


def _fresh(written: dict[str, Any]) -> dict[str, Any]:
    """Return the Node as its kubelet would register it, without what we or the API have added."""
    meta = written["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": meta["name"], "labels": meta.get("labels") or {}},
        "spec": written["spec"],
        "status": written["status"],
    }


async def _gone_or_there(joined: JoinedLab, plan: NodePlan, *, there: bool) -> None:
    """Wait until the gateway has the node's route, or has it no more."""

    async def holds() -> bool:
        return (str(plan.pod_cidr("ipv4")) in await joined.ip("-4", "route")) is there

    await until(holds, timeout=_PATIENCE)


async def _first_answer(plan: NodePlan) -> float:
    """Send echo requests from the gateway to the node's pod, one a millisecond; return when the first is answered."""
    loop = asyncio.get_running_loop()
    one = call_in(GATEWAY, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    one.setblocking(False)
    head = struct.pack("!BBHHH", 8, 0, 0, 77, 1)
    request = struct.pack("!BBHHH", 8, 0, checksum(head), 77, 1)
    answered: asyncio.Future[float] = loop.create_future()
    target = str(plan.pods[0].address("ipv4"))

    def hear() -> None:
        data, sender = one.recvfrom(2048)
        if data[20] == 0 and sender[0] == target and not answered.done():
            answered.set_result(time.perf_counter())

    loop.add_reader(one, hear)
    try:
        async with asyncio.timeout(_PATIENCE):
            while not answered.done():
                with contextlib.suppress(OSError):
                    one.sendto(request, (target, 0))
                await asyncio.sleep(_EVERY)
            return answered.result()
    finally:
        loop.remove_reader(one)
        one.close()
