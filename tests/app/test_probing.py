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
from core.rig import Rig, endpoints, node, service
from isthmus import metrics
from isthmus.app import probing as probing_module
from isthmus.app.fleet import Fleet
from isthmus.app.probing import Probing
from isthmus.core import silence as silence_module
from isthmus.drivers.base import ProbeResult, ProbeTarget
from isthmus.drivers.memory import MemoryDriver
from isthmus.model.facts import Endpoint


class NoMemory:
    """Remembers nothing."""

    async def load(self, device: str) -> list[Any]:
        return []

    async def save(self, device: str, records: object, *, whole: bool = False) -> None:
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
    monkeypatch.setattr(silence_module, "GRACE", 0.0)


def three_nodes() -> Rig:
    rig = Rig()
    rig.put(*(node(f"n{number}", f"192.0.2.1{number}", f"10.244.{number}.0/24") for number in (1, 2, 3)))
    return rig


def named(probing: Probing, *nodes: str) -> bool:
    """Say whether exactly ``nodes`` are named."""
    texts = probing.report("lab").texts
    return len(texts) == len(nodes) and all(f"node {node}:" in text for node, text in zip(nodes, texts, strict=True))


async def test_a_silent_node_is_named_until_it_answers() -> None:
    """It is said once, and its recovery once."""
    rig = three_nodes()
    rig.driver.silent.add(ip_address("192.0.2.12"))
    with capture_logs() as logs:
        async with probed(rig, rig.driver) as probing:
            await until(lambda: named(probing, "n2"))
            report = probing.report("lab")
            assert "gw: node n2: its end of the path, 192.0.2.12, does not answer 192.0.2.1" in report.texts[0]
            assert (report.nodes, report.asked, report.silent, report.kinds["unreachable"]) == (3, 3, 1, 1)
            assert (metrics.PROBE_SILENT, ("lab", "gw", "unreachable"), 1) in list(probing.readings())
            rig.driver.silent.clear()
            await until(lambda: named(probing))
    said = [entry["event"] for entry in logs if entry["event"] in ("black hole", "node answers again")]
    assert said == ["black hole", "node answers again"]


async def test_a_node_that_flaps_fills_no_log() -> None:
    """It is named in the status each time; the log says it twice, and then when it has been well for a minute."""
    rig = three_nodes()
    with capture_logs() as logs:
        async with probed(rig, rig.driver) as probing:
            for _ in range(5):
                rig.driver.silent.add(ip_address("192.0.2.12"))
                await until(lambda: named(probing, "n2"))
                rig.driver.silent.clear()
                await until(lambda: named(probing))
    said = [entry["event"] for entry in logs if entry["event"] in ("black hole", "node answers again")]
    assert said == ["black hole", "node answers again", "black hole"]


async def test_who_is_gone_or_not_ready_is_not_counted() -> None:
    """Nodes that come and go are not asked-about for ever, and a link that is gone leaves nothing."""
    rig = three_nodes()
    rig.driver.silent.add(ip_address("192.0.2.12"))
    async with probed(rig, rig.driver) as probing:
        await until(lambda: probing.report("lab").asked == 3 and named(probing, "n2"))
        probing._fleet.touch(rig.world.put_node("east", "n1", None))
        await until(lambda: probing.report("lab").nodes == 2)
        rig.put(node("n2", "192.0.2.12", "10.244.2.0/24", not_ready_since=1.0))
        await until(lambda: named(probing) and probing.report("lab").nodes == 1)
        del rig.world.links["lab"]
        await until(lambda: not probing._asking)
        assert not list(probing.readings())


async def test_a_pod_is_asked_while_its_slice_says_that_it_is_ready() -> None:
    """A pod that does not answer on a node that does is told; another pod in its place begins anew."""
    rig = three_nodes()
    rig.put(service("default/web", 80), endpoints("default/web-1", "web", Endpoint(ip_address("10.244.2.9"), "n2")))
    rig.driver.silent.add(ip_address("10.244.2.9"))
    async with probed(rig, rig.driver) as probing:
        await until(lambda: named(probing, "n2"))
        assert "a pod on it, 10.244.2.9, does not answer" in probing.report("lab").texts[0]
        assert probing.report("lab").kinds == {"unreachable": 0, "mtu": 0, "pod": 1}
        rig.put(endpoints("default/web-1", "web", Endpoint(ip_address("10.244.2.10"), "n2")))
        await until(lambda: named(probing))


class Failing(MemoryDriver):
    """Trips over every probe."""

    async def probe(self, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        raise OSError("out of sockets")


class Hanging(MemoryDriver):
    """Never ends a probe."""

    async def probe(self, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        await asyncio.Event().wait()
        return []


@pytest.mark.parametrize("bad", [Failing, Hanging])
async def test_one_device_that_cannot_probe_is_nobody_elses_trouble(bad: type[MemoryDriver]) -> None:
    """A probe that fails or hangs costs that device's answers and nothing else (law 5)."""
    rig = three_nodes()
    rig.driver.silent.add(ip_address("192.0.2.13"))
    with capture_logs() as logs:
        async with probed(rig, bad(facts=rig.driver.facts), rig.driver) as probing:
            await until(lambda: named(probing, "n3"))
            assert probing.report("lab").asked == 0, "of the device that cannot ask, nothing is known"
    crashed = [entry for entry in logs if entry["event"] == "probing crashed"]
    assert bool(crashed) == (bad is Failing)
    assert all(entry["device"] == "gw" for entry in crashed)


async def test_five_thousand_nodes_are_asked_in_slices() -> None:
    """No call to a driver is large."""
    rig = Rig()
    rig.put(*(node(f"n{i}", f"192.0.2.{i % 250 + 2}", f"10.{i >> 8}.{i & 255}.0/24") for i in range(5000)))
    sizes: list[int] = []

    class Counting(MemoryDriver):
        async def probe(self, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
            sizes.append(len(targets))
            return await super().probe(targets)

    async with probed(rig, Counting(facts=rig.driver.facts)) as probing:
        await until(lambda: probing.report("lab").asked == 5000)
        assert max(sizes) <= 2 * probing_module.SLICE
