"""``memory``: what a controller's process holds in memory with 10,000 Services, 5,000 nodes and 100,000 endpoints.

Measured on the process from outside, interpreter and all, once everything is served and nothing is written any more. The
highest it ever was is told beside it: a limit must be above that.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from bench.measure import scaled
from bench.real import known_cluster, memory_of, start_controller, until, until_live, until_quiet
from bench.row import Row, judged

_ENDPOINTS = 10
_MOST = 150.0


async def measure() -> list[Row]:
    """Return the row."""
    services, nodes = scaled(10_000), scaled(5000)
    async with known_cluster(nodes, services, _ENDPOINTS) as joined:
        await start_controller(joined, "memory")
        seconds = await until_live(joined, services)
        await until_quiet(joined, 8.0)  # the controller settles when nothing has moved for a few seconds
        now, peak = memory_of(joined)
        if path := os.environ.get("BENCH_PROFILE_TO"):
            assert joined.controller is not None, "it runs"
            os.kill(joined.controller.pid, signal.SIGUSR2)
            await until(Path(path).exists, "a profile")
    return [
        judged(
            "memory",
            now,
            "MB",
            (f"≤ {_MOST:.0f} MB", now <= _MOST),
            note=(
                f"{services} Services, {nodes} nodes, {services * _ENDPOINTS} endpoints, all live after "
                f"{seconds:.0f} s; {peak:.0f} MB at most on the way"
            ),
        )
    ]
