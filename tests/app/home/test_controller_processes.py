"""Controllers as processes: one that is killed is replaced, and one that was stopped and wakes up later writes nothing."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from .rig import Place, node, service, until
from .test_two_controllers import lease, others, quiet


@pytest.fixture(autouse=True)
def configured(home: Place) -> None:
    """Write one cluster, one device, a link, a pool and a Service."""
    home.put("KubeCluster", "prod", {"kubeconfig": {"path": str(home.endpoint.kubeconfig_path)}})
    home.put("EdgeDevice", "gw1", {"driver": "memory", "tunnelAddresses": ["192.0.2.1"]})
    home.put("ClusterLink", "main", {"cluster": "prod", "devices": ["gw1"], "path": "direct"})
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    home.api.put(node(1))
    home.api.put(service("web"))
    home.api.put(slice_of_the_api())


def slice_of_the_api() -> dict[str, object]:
    """Return the EndpointSlice that each living cluster has: a first list of none is not believed for some seconds."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.200"], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    }


@asynccontextmanager
async def process(home: Place, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a controller with the fast profile."""
    with log.open("wb") as out:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "isthmus", "controller", "--home", str(home.endpoint.kubeconfig_path),
            "--lease-profile", "fast", stdout=out, stderr=out,
        )  # fmt: skip
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


@asynccontextmanager
async def leader_and_standby(
    home: Place, tmp_path: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.subprocess.Process]]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(process(home, tmp_path / "one"))
        await until(lambda: home.is_so("VirtualIP", "198.51.100.0", "Ready"), 30, (tmp_path / "one").read_text)
        two = await stack.enter_async_context(process(home, tmp_path / "two"))
        await until(lambda: "stands by" in (tmp_path / "two").read_text(), 30, (tmp_path / "two").read_text)
        await quiet(home)
        yield one, two


async def test_a_killed_leader_is_replaced_in_time(home: Place, tmp_path: Path) -> None:
    """Three seconds after SIGKILL a new Service has its address, from the other controller."""
    async with leader_and_standby(home, tmp_path) as (one, _):
        before = lease(home)["holderIdentity"]
        one.kill()
        began = time.monotonic()
        home.api.put(service("shop"))
        await until(lambda: home.find("VirtualIP", "198.51.100.1") is not None, 10, (tmp_path / "two").read_text)
        assert time.monotonic() - began < 3.0
        assert lease(home)["holderIdentity"] != before


async def test_a_leader_that_wakes_up_later_writes_nothing(home: Place, tmp_path: Path) -> None:
    """Stopped for five seconds, with work in hand that was done by another meanwhile: not one request that writes."""
    async with leader_and_standby(home, tmp_path) as (one, _):
        before = lease(home)["holderIdentity"]
        one.send_signal(signal.SIGSTOP)
        home.api.put(node(2))
        home.api.put(service("shop"))
        await asyncio.sleep(5.0)
        assert lease(home)["holderIdentity"] not in ("", before)
        assert home.find("VirtualIP", "198.51.100.1") is not None
        written = await quiet(home)
        one.send_signal(signal.SIGCONT)
        log = tmp_path / "one"
        await until(lambda: "another controller leads" in log.read_text(), 10, log.read_text)
        await until(lambda: log.read_text().count("controller started") == 2, 10, log.read_text)
        await asyncio.sleep(2.0)
        assert others(home) == written
        assert one.returncode is None, "it goes on as a standby"
        assert "stands by" in log.read_text()


async def test_a_leader_asked_to_end_hands_over(home: Place, tmp_path: Path) -> None:
    """SIGTERM ends it with 0, and the other leads within a second of that."""
    async with leader_and_standby(home, tmp_path) as (one, _):
        one.terminate()
        async with asyncio.timeout(20):
            assert await one.wait() == 0
        await until(lambda: '"leads"' in (tmp_path / "two").read_text(), 1.0, (tmp_path / "two").read_text)
