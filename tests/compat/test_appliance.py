"""The old environment and the old ConfigMap against the lab's NetScaler: what stands on it, and that nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from isthmus.app.controller import Controller
from isthmus.app.older import Older
from isthmus.compat.environment import read
from isthmus.lab.nitro import Appliance, serving
from isthmus.registry.state import StateDirectory

from .rig import EXPORT, OLD, SWITCH, Cluster, node, until


class Adc:
    """A NetScaler with a subnet on the nodes' segment, and the controller that the old environment makes."""

    def __init__(self, device: Appliance, url: str, cluster: Cluster, directory: Path) -> None:
        self.device, self.cluster = device, cluster
        self._url, self._directory, self._starts = urlsplit(url), directory, 0

    @asynccontextmanager
    async def controller(self, **changes: str) -> AsyncIterator[Controller]:
        """Run a controller with the product's own drivers."""
        said = {
            **OLD,
            "NS_IP": self._url.hostname or "",
            "NS_PORT": str(self._url.port),
            "NS_PROTOCOL": "http",
            "KUBECONFIG": str(self.cluster.kubeconfig),
            **changes,
        }
        environment = read(said, {"netscaler"}, home=Path("/nonexistent"))
        assert not environment.problems, environment.problems
        self._starts += 1
        async with StateDirectory(self._directory / f"adc{self._starts}") as state:
            running = Controller(None, state, older=Older(environment))
            task = asyncio.create_task(running.run())
            try:
                yield running
            finally:
                running.stop()
                await asyncio.wait({task}, timeout=20)
                task.result()

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Return what the device holds of a kind."""
        return [dict(row) for row in self.device.running.find(kind)]

    def prefixes(self) -> set[str]:
        return {row["network"] for row in self.rows("route")}


@pytest.fixture
async def adc(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Adc]:
    monkeypatch.setenv("NS_USER", "nsroot")
    monkeypatch.setenv("NS_PASSWORD", "nsroot")
    device = Appliance()
    async with serving(device) as endpoint:
        made = Adc(device, endpoint.url, cluster, tmp_path)
        snip = {"ipaddress": "192.0.2.50", "netmask": "255.255.255.0", "type": "SNIP"}
        device.write("POST", "nsip", {"nsip": snip})
        yield made


async def test_what_the_old_controller_made_stands_and_goes(adc: Adc) -> None:
    """VXLAN, its source, its address and a flooding entry and a route per node; deleting the switch leaves none of it."""
    before = {kind: adc.rows(kind) for kind in KINDS}
    async with adc.controller():
        adc.cluster.switch()
        await until(lambda: {"10.244.1.0", "10.244.2.0"} <= adc.prefixes(), 20, what=lambda: adc.rows("route"))
        (vxlan,) = adc.rows("vxlan")
        assert (str(vxlan["id"]), str(vxlan["port"])) == ("300", "3267")
        assert "172.16.3.254" in {row["ipaddress"] for row in adc.rows("nsip")}
        assert {row["vtep"] for row in adc.rows("bridgetable")} == {"192.0.2.101", "192.0.2.102"}
        gateways = {row["gateway"] for row in adc.rows("route")}
        await until(lambda: (adc.cluster.find(EXPORT) or {"data": {}})["data"].get("Node-192.0.2.102") is not None)
        data = (adc.cluster.find(EXPORT) or {})["data"]
        assert {data["Interface-192.0.2.101"], data["Interface-192.0.2.102"]} <= gateways
        adc.cluster.api.put(node(3))
        await until(lambda: "10.244.3.0" in adc.prefixes(), 20)
        adc.cluster.delete_switch()
        await until(lambda: adc.cluster.find(SWITCH) is None, 20)
        assert {kind: adc.rows(kind) for kind in KINDS} == before
    assert not adc.device.config.changed, "what was removed is saved as removed, also by who stops at once"
    adc.device.reboot()
    assert {kind: adc.rows(kind) for kind in KINDS} == before


async def test_a_restart_in_sync_writes_nothing_to_it(adc: Adc) -> None:
    """A new process finds the ADC as it should be: reads, a login and a logout, and no change."""
    async with adc.controller():
        adc.cluster.switch()
        await until(lambda: {"10.244.1.0", "10.244.2.0"} <= adc.prefixes(), 20)
        await until(lambda: adc.cluster.attached() == ["n1", "n2"])
        await asyncio.sleep(0.5)
    before = {kind: adc.rows(kind) for kind in KINDS}
    async with adc.controller() as running:
        await until(lambda: bool(running.fleet.workers), 20)
        await until(lambda: all(one.status.passes for one in running.fleet.workers.values()), 20)
        await asyncio.sleep(0.5)
        assert {kind: adc.rows(kind) for kind in KINDS} == before


async def test_a_cluster_name_makes_policy_routes(adc: Adc) -> None:
    """With CLUSTER_NAME pods are reached by policy routes from the overlay's own address, and no static route is made."""
    async with adc.controller(CLUSTER_NAME="prod"):
        adc.cluster.switch()
        await until(lambda: len(adc.rows("nspbr")) == 2, 20, what=lambda: adc.rows("nspbr"))
        assert {"10.244.1.0", "10.244.2.0"}.isdisjoint(adc.prefixes())
        adc.cluster.delete_switch()
        await until(lambda: adc.cluster.find(SWITCH) is None, 20)
        assert adc.rows("nspbr") == []


KINDS = (
    "vxlan",
    "vxlan_srcip_binding",
    "vxlan_nsip_binding",
    "nsip",
    "bridgetable",
    "route",
    "nspbr",
    "policypatset",
)
