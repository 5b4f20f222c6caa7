"""Probing: who does not answer twice in a row is told, nobody waits for anybody, and what is gone is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.home.rig import until
from core.rig import Rig, node
from isthmus.app import probing as probing_module
from isthmus.app.fleet import Fleet
from isthmus.app.probing import Probing
from isthmus.drivers.base import ProbeResult, ProbeTarget
from isthmus.drivers.memory import MemoryDriver

KEY = ("lab", "gw")


class NoMemory:
    """Remembers nothing."""

    async def load(self, device: str) -> list[Any]:
        return []

    async def save(self, device: str, recorded: object) -> None:
        return None


@asynccontextmanager
async def probed(rig: Rig, *drivers: MemoryDriver) -> AsyncIterator[Probing]:
    """Run probing over a rig's world with its devices ``gw``, ``gw2`` ...; all of them are looked at."""
    names = ["gw", *(f"gw{number}" for number in range(2, len(drivers) + 1))]
    for name in names[1:]:
        rig.kind("EdgeDevice", name, {"driver": "memory"})
    rig.kind("ClusterLink", "lab", {"cluster": "east", "devices": names, "path": "direct"})
    by_name = dict(zip(names, drivers, strict=True))
    fleet = Fleet(
        rig.world,
        NoMemory(),
        passed=lambda device, scopes: None,
        moved=lambda device: None,
        drivers={"memory": lambda kind, wiring: by_name[kind.name]},
    )
    await fleet.follow()
    await until(lambda: all(worker.status.reachable for worker in fleet.workers.values()))
    probing = Probing(rig.world, fleet)
    task = asyncio.create_task(probing.run())
    try:
        yield probing
        assert not task.done(), "probing never ends by itself"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await fleet.stop()


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing_module, "PAUSE", 0.02)


def three_nodes() -> Rig:
    rig = Rig()
    rig.put(*(node(f"n{number}", f"192.0.2.1{number}", f"10.244.{number}.0/24") for number in (1, 2, 3)))
    return rig


async def test_a_silent_node_is_named_until_it_answers() -> None:
    """Only a node that misses twice is silent; it is said once, and its recovery once."""
    rig = three_nodes()
    rig.driver.silent.add(ip_address("192.0.2.12"))
    with capture_logs() as logs:
        async with probed(rig, rig.driver) as probing:
            await until(lambda: set(probing.silent("lab")) == {"n2"})
            assert "192.0.2.12" in probing.silent("lab")["n2"]
            rig.driver.silent.clear()
            await until(lambda: not probing.silent("lab"))
    said = [entry["event"] for entry in logs if entry["event"] in ("black hole", "node answers again")]
    assert said == ["black hole", "node answers again"]


async def test_who_is_gone_is_not_counted() -> None:
    """Nodes that come and go are not asked-about for ever, and a link that is gone leaves nothing."""
    rig = three_nodes()
    async with probed(rig, rig.driver) as probing:
        await until(lambda: probing.asked("lab") == 3)
        rig.put(node("n9", "192.0.2.19", "10.244.9.0/24"))
        probing._fleet.touch(rig.world.put_node("east", "n1", None))
        await until(lambda: probing.asked("lab") == 2)
        del rig.world.links["lab"]
        await until(lambda: not probing._asked)
        assert not probing._turn
        assert not probing._silent


class Failing(MemoryDriver):
    """Trips over every probe."""

    async def probe(self, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        raise OSError("out of sockets")


async def test_one_device_that_cannot_probe_is_nobody_elses_trouble() -> None:
    """A probe that ends in an error of any kind costs that device's answers and nothing else (law 5)."""
    rig = three_nodes()
    with capture_logs() as logs:
        async with probed(rig, Failing(facts=rig.driver.facts), rig.driver) as probing:
            await until(lambda: len(probing._asked.get(("lab", "gw2"), ())) == 3)
            assert not probing._asked.get(KEY)
    assert any(entry["event"] == "probing crashed" and entry["device"] == "gw" for entry in logs)
