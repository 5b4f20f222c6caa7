"""``service-plus-one``: one more Service on top of 10,000, from its event to its elements in nft.

The Service's endpoints are known before it; the clock starts before the API stores the Service and stops when the kernel
says that the element that leads to it was added: claim, plan and transaction lie between. A real controller does it.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median

from bench.kernel import News
from bench.measure import percentile, progress, scaled
from bench.real import known_cluster, put_service, start_controller, until_live, until_quiet, vip
from bench.row import Row, judged
from isthmus.lab.joined import GATEWAY

_ROUNDS = 100
_ENDPOINTS = 10
_MOST_MS = 50.0


async def measure() -> list[Row]:
    """Return the row."""
    services, nodes, rounds = scaled(10_000), scaled(1000), scaled(_ROUNDS, least=10)
    taken: list[float] = []
    async with known_cluster(nodes, services, _ENDPOINTS) as joined:
        await start_controller(joined)
        await until_live(joined, services)
        await until_quiet(joined, 8.0)  # the start is over: the statuses of all Services are written
        async with News(GATEWAY) as news:
            for number in range(services, services + rounds):
                # Addresses are given in order, and the service map's key begins with the address.
                live = news.element(vip(number).packed + bytes((6, 0, 0, 0)))
                began = time.perf_counter()
                put_service(joined.lab.api, number, _ENDPOINTS, nodes)
                async with asyncio.timeout(10):
                    taken.append((await live - began) * 1000)
                progress(f"{len(taken)}/{rounds}")
                # The Service's status is written after; the next one begins when that is over.
                await asyncio.sleep(0.05)
    worst = percentile(taken, 0.99)
    return [
        judged(
            "service-plus-one",
            worst,
            "ms",
            (f"p99 ≤ {_MOST_MS:.0f} ms", worst <= _MOST_MS),
            note=f"{rounds} more on {services} Services; p99 shown, median {median(taken):.1f} ms",
        )
    ]
