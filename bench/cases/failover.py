"""``failover``: a node dies, its Node object stays Ready; how long new requests still fail, with fast probes.

Requests start every few milliseconds from a client, each a connection of its own, and one that is not answered within
900 ms has failed. The figure is when the last failed one began, counted from the moment the node's cable was pulled; the
worst of several deaths. No controller takes part in it, though one runs: the gateway asks the nodes itself.
"""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_address
from statistics import median

from bench.measure import progress, scaled
from bench.row import Row, judged
from isthmus.lab.joined import JoinedLab, until
from isthmus.lab.net.clients import fetch
from isthmus.lab.net.nodes import Workload
from isthmus.lab.net.topology import CLIENT_NEAR, Address, Topology

_DEATHS = 10
_NODES = 3
_EVERY = 0.005
_ANSWER = 0.9  # below a second, after which TCP sends its SYN again and finds another pod
_LISTEN = 1.2
_MOST = 0.5
_PROBE = {"interval": "100ms", "timeout": "100ms", "failures": 2, "rises": 2}


async def measure() -> list[Row]:
    """Return the row."""
    deaths = scaled(_DEATHS, least=2)
    taken: list[float] = []
    lost = 0
    topology = Topology(nodes=_NODES, families=("ipv4",), cni="none")
    async with JoinedLab(topology, "overlay") as joined:
        device = joined.documents()["device.yaml"]
        device["spec"]["linux"] = {"memberProbe": _PROBE}
        joined.write("device.yaml", device)
        await joined.join()
        await joined.lab.publish(Workload(name="web", pods=dict.fromkeys(joined.lab.pod_names(), "ready")))
        (vip,) = [ip_address(text) for text in await joined.vip_of("web", timeout=30)]
        for death in range(deaths):
            progress(f"{death}/{deaths}")
            await _served_by_all(vip)
            node = f"node{death % _NODES + 1}"
            failed = await _while_dying(joined, node, vip)
            lost += len(failed)
            taken.append(max(failed, default=0.0))
    worst = max(taken)
    return [
        judged(
            "failover",
            worst,
            "s",
            (f"≤ {_MOST} s", worst <= _MOST),
            note=(
                f"{deaths} deaths; worst shown, median {median(taken):.2f} s, {lost / deaths:.0f} failed requests each "
                f"(one every {_EVERY * 1000:.0f} ms, {_ANSWER * 1000:.0f} ms to answer); probes every 100 ms"
            ),
        )
    ]


async def _served_by_all(vip: Address) -> None:
    """Wait until each pod answers in its turn, so that the node that dies next is one in use."""

    async def all_there() -> bool:
        found = [await fetch(CLIENT_NEAR, vip, 80, timeout=_ANSWER) for _ in range(2 * _NODES)]
        return len({one.pod for one in found if one.ok}) == _NODES

    await until(all_there, timeout=20, pause=0.1)


async def _while_dying(joined: JoinedLab, node: str, vip: Address) -> list[float]:
    """Pull a node's cable under load; return when (seconds after that) each request began that failed. Mend it."""
    failed: list[float] = []

    async def one() -> None:
        began = time.monotonic() - died
        if not (await fetch(CLIENT_NEAR, vip, 80, timeout=_ANSWER)).ok:
            failed.append(began)

    died = time.monotonic()  # a few milliseconds early: the command that pulls the cable has to start
    async with asyncio.TaskGroup() as group:
        group.create_task(joined.lab.network.set_node_link(node, up=False))
        while time.monotonic() < died + _LISTEN:
            group.create_task(one())
            await asyncio.sleep(_EVERY)
    await joined.lab.network.set_node_link(node, up=True)
    return failed
