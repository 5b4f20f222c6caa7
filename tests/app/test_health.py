"""Whether the controller is ready and healthy: it says no while it does not see a cluster, and for no dead device."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.home.rig import FAST, Place, node, place, until
from isthmus.app import health as health_module
from isthmus.app.controller import Controller
from isthmus.kube import informer as informer_module
from isthmus.kube.kubeconfig import load
from isthmus.lab.kube import KubeApi
from isthmus.loop import session as session_module
from isthmus.metrics import Family
from isthmus.registry.state import StateDirectory
from kube.stub import StallingProxy

from .test_controller import Files


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have watches prove themselves every half second, and count as dead after one and a half."""
    real = informer_module.Informer
    monkeypatch.setattr(health_module, "BLIND", 1.5)
    monkeypatch.setattr(session_module, "Informer", lambda *args, **more: real(*args, **(more | {"timing": FAST})))


@asynccontextmanager
async def controller(files: Files) -> AsyncIterator[Controller]:
    async with StateDirectory(files.state) as state:
        running = Controller(files.config, state, drivers={"memory": lambda kind, wiring: files.driver})
        assert running.health.unseen() == ["the configuration has not been read yet"]
        task = asyncio.create_task(running.run())
        try:
            yield running
        finally:
            running.stop()
            await asyncio.wait({task}, timeout=15)


def readings(running: Controller) -> dict[tuple[str, tuple[str, ...]], float]:
    found = list(running.health.readings())
    assert all(isinstance(family, Family) and len(family.labels) == len(labels) for family, labels, _ in found)
    return {(family.name, labels): value for family, labels, value in found}


async def test_a_half_open_watch_makes_it_unready(tmp_path: Path) -> None:
    """A proxy that keeps TCP up and swallows everything: ready says which watch is dead, and yes again when it heals."""
    api = KubeApi(tls=False)
    api.put(node(1))
    async with api.serving() as endpoint:
        port = int(load(endpoint.kubeconfig_path).server.rpartition(":")[2])
        async with StallingProxy(port).serving() as proxy:
            behind = tmp_path / "kubeconfig"
            behind.write_text(endpoint.kubeconfig_path.read_text("utf-8").replace(f":{port}", f":{proxy.port}"))
            files = Files(tmp_path, behind)
            async with controller(files) as running:
                await until(lambda: not running.health.unseen())
                await asyncio.sleep(2.0)  # a quiet watch proves itself
                assert not running.health.unseen()
                assert readings(running)["isthmus_watch_freshness_seconds", ("prod", "nodes")] < 1.5
                proxy.stalled = True
                await until(lambda: len(running.health.unseen()) == 4)
                assert all("cluster prod: the watch of " in text for text in running.health.unseen())
                assert any("the watch of nodes is dead" in text for text in running.health.unseen())
                assert readings(running)["isthmus_ready", ()] == 0
                assert not running.health.ailments(), "a restart would not give it back its sight"
                proxy.stalled = False
                await until(lambda: not running.health.unseen())


async def test_a_dead_device_is_the_devices_trouble(tmp_path: Path) -> None:
    """It is in the figures; neither ready nor healthy fails for it."""
    api = KubeApi(tls=False)
    api.put(node(1))
    async with api.serving() as endpoint:
        files = Files(tmp_path, endpoint.kubeconfig_path)
        files.driver.reachable = False
        async with controller(files) as running:
            await until(lambda: not running.health.unseen())
            await until(lambda: bool(running.fleet.workers["gw1"].status.error))
            assert not running.health.ailments()
            assert readings(running)["isthmus_device_reachable", ("gw1",)] == 0
            files.driver.reachable = True
            await until(lambda: readings(running)["isthmus_device_in_sync", ("gw1",)] == 1)
            running.fleet.tasks["gw1"].cancel()
            await until(lambda: running.health.ailments() == ["the worker of device gw1 has ended"])


async def test_a_cluster_that_cannot_be_joined_is_named(tmp_path: Path) -> None:
    """Its kubeconfig is not there: ready says so, and the way to it is the reason."""
    files = Files(tmp_path, tmp_path / "nowhere")
    async with controller(files) as running:
        await until(lambda: any("cluster prod: " in text for text in running.health.unseen()))
        assert str(tmp_path / "nowhere") in running.health.unseen()[0]
        assert readings(running)["isthmus_cluster_reachable", ("prod",)] == 0


async def test_home_counts_too(tmp_path: Path) -> None:
    """With a home cluster, ready waits for it, and figures of pools and of its watches are there."""
    async with place(tmp_path) as found:
        found.join()
        found.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
        await _home(found)


async def _home(found: Place) -> None:
    async with found.controller() as running:
        await until(lambda: not running.health.unseen())
        await until(lambda: ("isthmus_pool_addresses", ("pool",)) in readings(running))
        now = readings(running)
        assert now["isthmus_pool_addresses", ("pool",)] == 16
        assert now["isthmus_pool_used_addresses", ("pool",)] == 0
        assert [labels for name, labels in now if name == "isthmus_watch_synced" and labels[1] == "addresspools"]
        await until(lambda: readings(running)["isthmus_link_joined_nodes", ("main", "gw1")] == 3)
