"""``restart``: the controller is restarted on a gateway with 1,000 VIPs in sync. It may look, and must not write.

What the kernel tells of changes to links, addresses, routes and nftables is counted, and so are writes to the API; the
figure is the time from the start of the process until it says that all is in sync.
"""

from __future__ import annotations

import asyncio
import time

from bench.kernel import News
from bench.measure import percentile, progress, scaled
from bench.real import known_cluster, start_controller, until, until_live, until_quiet
from bench.row import Row, judged
from isthmus.lab.joined import GATEWAY, JoinedLab
from isthmus.registry.state import StateDirectory

_TIMES = 3
_MUST = (
    (("Controller", "controller"), "running"),
    (("KubeCluster", "lab"), "inSync"),
    (("EdgeDevice", GATEWAY), "inSync"),
)


async def measure() -> list[Row]:
    """Return the row."""
    services, nodes = scaled(1000), scaled(1000)
    taken: list[float] = []
    async with known_cluster(nodes, services, 10) as joined:
        await start_controller(joined)
        await until_live(joined, services)
        await until_quiet(joined)
        api_writes = joined.lab.api.faults.writes
        async with News(GATEWAY) as news:
            # That silence is silence, not deafness: a change of our own must be heard.
            await joined.ip("route", "add", "unreachable", "192.0.0.1/32", "table", "77")
            await joined.ip("route", "del", "unreachable", "192.0.0.1/32", "table", "77")
            await asyncio.sleep(0.2)
            if not news.changes:
                raise RuntimeError("the kernel's news are not heard")
            news.changes = 0
            for number in range(_TIMES):
                progress(f"{number}/{_TIMES}")
                await joined.stop_controller()
                began = time.monotonic()
                await start_controller(joined)
                await until(lambda: _in_sync(joined), "a controller in sync", pause=0.02)
                taken.append(time.monotonic() - began)
            await until_quiet(joined)
            writes = news.changes
        api_writes = joined.lab.api.faults.writes - api_writes
    return [
        judged(
            "restart",
            percentile(taken, 0.5),
            "s",
            ("0 writes", writes == 0 and api_writes == 0),
            note=(
                f"{services} VIPs, {nodes} nodes, {_TIMES} restarts: {writes} changes in the kernel, {api_writes} writes "
                "to the API; seconds from the process's start to in sync"
            ),
        )
    ]


def _in_sync(joined: JoinedLab) -> bool:
    """Return whether the running process says that cluster and gateway are in sync; one that stops says it runs no more."""
    with StateDirectory.read(joined.state) as state:
        found = state.read_status()
    return all(key in found and found[key].value.get(word) for key, word in _MUST)
