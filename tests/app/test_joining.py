"""Several clusters and devices in one controller: what they share, and that the trouble of one is nobody else's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from app.home.rig import FAST, holds, node, service, thing, until
from isthmus.app import fleet as fleet_module
from isthmus.app import joined as joined_module
from isthmus.app import keeping_up
from isthmus.app.controller import Controller
from isthmus.core.world import World
from isthmus.drivers.base import Observation
from isthmus.drivers.memory import MemoryDriver
from isthmus.errors import StateError
from isthmus.kube import informer as informer_module
from isthmus.lab.kube import KubeApi
from isthmus.model.facts import DeviceFacts, Interface
from isthmus.model.kinds import ACCEPT_ANSWER, VirtualIP
from isthmus.registry.state import StateDirectory


class Fleet:
    """Two clusters, each joined to a device of its own, and a directory with the configuration."""

    def __init__(self, directory: Path) -> None:
        self.config, self.state = directory / "config", directory / "state"
        self.config.mkdir()
        self.apis = {name: KubeApi(tls=False) for name in ("east", "west")}
        self.devices: dict[str, MemoryDriver] = {}
        for name in self.apis:
            own = (ip_interface("192.0.2.1/24"),)
            self.devices[f"gw-{name}"] = MemoryDriver(
                facts=DeviceFacts((Interface("eth0", "02:00:00:00:00:01", 1500, own),))
            )

    def write(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        """Write one object."""
        (self.config / f"{kind}-{name}.json").write_text(json.dumps(thing(kind, name, spec)))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve both clusters, and write how they are joined."""
        async with AsyncExitStack() as stack:
            for name, api in self.apis.items():
                endpoint = await stack.enter_async_context(api.serving())
                self.write("KubeCluster", name, {"kubeconfig": {"path": str(endpoint.kubeconfig_path)}})
                self.write("EdgeDevice", f"gw-{name}", {"driver": "memory"})
                self.write("ClusterLink", name, {"cluster": name, "devices": [f"gw-{name}"], "path": "direct"})
                api.put(node(1))
            yield

    @asynccontextmanager
    async def controller(self) -> AsyncIterator[Controller]:
        """Run a controller."""
        async with StateDirectory(self.state) as state:
            running = Controller(self.config, state, drivers={"memory": lambda kind, wiring: self.devices[kind.name]})
            task = asyncio.create_task(running.run())
            try:
                yield running
                assert not task.done(), "it runs until it is told to stop"
            finally:
                running.stop()
                async with asyncio.timeout(15):
                    await task

    def address(self, cluster: str, name: str) -> str:
        """Return the address that a Service shows, empty if it has none."""
        for found in self.apis[cluster].list("services"):
            if found["metadata"]["name"] == name:
                ingress = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
                return ingress[0]["ip"] if ingress else ""
        return ""

    def routes(self, cluster: str) -> list[str]:
        """Return what the device of a cluster routes."""
        return sorted(key for key in self.devices[f"gw-{cluster}"].resources if key.startswith("route "))


@pytest.fixture
async def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    monkeypatch.setattr(joined_module, "_AGAIN", 0.05)
    monkeypatch.setattr(keeping_up, "_FIRST", 0.05)
    monkeypatch.setattr(
        informer_module, "Timing", lambda: FAST
    )  # a silent watch is found out in a second, not in twenty
    made = Fleet(tmp_path)
    async with made.serving():
        yield made


async def test_a_freed_address_goes_to_whoever_waits_in_any_cluster(fleet: Fleet) -> None:
    """A Service of one cluster gets the address that another cluster's Service gave back (MetalLB 1586)."""
    fleet.write("AddressPool", "tiny", {"ranges": ["198.51.100.7"]})
    fleet.apis["east"].put(service("first"))
    async with fleet.controller() as running:
        await until(lambda: fleet.address("east", "first") == "198.51.100.7")
        fleet.apis["west"].put(service("second"))
        await until(lambda: "default/second" in running._joining.clusters["west"].service.waiting)
        fleet.apis["east"].delete("services", "first", "default")
        await until(lambda: fleet.address("west", "second") == "198.51.100.7")


async def test_services_that_come_together_do_not_fight_over_one_address(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty Services that appear at once are fifty claims: nobody asks for what another is just being given."""
    asked: list[str] = []
    create = StateDirectory.create_claim

    async def counting(self: StateDirectory, vip: VirtualIP) -> None:
        asked.append(vip.name)
        await create(self, vip)

    monkeypatch.setattr(StateDirectory, "create_claim", counting)
    fleet.write("AddressPool", "pool", {"ranges": ["198.51.100.0/25"]})
    for number in range(25):
        for api in fleet.apis.values():
            api.put(service(f"s{number}"))
    async with fleet.controller() as running:
        await until(lambda: len(running.world.vips) == 50)
    assert len(asked) == 50


async def test_a_claim_that_cannot_be_kept_is_free_for_others(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service that was told that nothing is free, because a claim was under way that failed, is told of its end."""
    create, failing = StateDirectory.create_claim, asyncio.Event()

    async def broken(self: StateDirectory, vip: VirtualIP) -> None:
        if vip.spec.holder is not None and vip.spec.holder.cluster == "east":
            await failing.wait()
            raise StateError("the disk is full")
        await create(self, vip)

    monkeypatch.setattr(StateDirectory, "create_claim", broken)
    fleet.write("AddressPool", "tiny", {"ranges": ["198.51.100.7"]})
    fleet.apis["east"].put(service("first"))
    async with fleet.controller() as running:
        await until(lambda: bool(running._allocator._under_way))
        fleet.apis["west"].put(service("second"))
        await until(lambda: "default/second" in running._joining.clusters["west"].service.waiting)
        failing.set()
        await until(lambda: fleet.address("west", "second") == "198.51.100.7")


async def test_a_bug_in_following_one_cluster_is_that_clusters_trouble(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where our own code trips over what a cluster says, it is told there, followed anew, and nobody else notices."""
    put, left = World.put, [3]

    def tripping(self: World, cluster: str, *rest: Any) -> Any:
        if cluster == "west" and rest[0] == "nodes" and left[0]:
            left[0] -= 1
            raise LookupError("a bug")
        return put(self, cluster, *rest)

    monkeypatch.setattr(World, "put", tripping)
    async with fleet.controller() as running:
        west = None
        await until(lambda: "west" in running._joining.clusters)
        west = running._joining.clusters["west"]
        await until(lambda: "LookupError('a bug')" in (west.failing() or ""))
        await until(lambda: fleet.routes("east") == ["route 10.244.1.0/24"])
        await until(lambda: fleet.routes("west") == ["route 10.244.1.0/24"])
        await until(lambda: west.failing() is None)


async def test_a_cluster_followed_anew_takes_nothing_away(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was heard before a crash stands until the cluster has been read again; what went meanwhile then goes."""
    fleet.apis["west"].put(node(2))
    async with fleet.controller() as running:
        both = ["route 10.244.1.0/24", "route 10.244.2.0/24"]
        await until(lambda: fleet.routes("west") == both)
        put, broken = World.put, [True]

        def tripping(self: World, cluster: str, *rest: Any) -> Any:
            if cluster == "west" and broken[0]:
                raise LookupError("a bug")
            return put(self, cluster, *rest)

        monkeypatch.setattr(World, "put", tripping)
        fleet.apis["west"].delete("nodes", "n2")
        await until(lambda: "LookupError('a bug')" in (running._joining.clusters["west"].failing() or ""))
        await until(lambda: "nodes" in running.world.view("west").pending)
        await holds(lambda: fleet.routes("west") == both, 0.3)
        broken[0] = False
        await until(lambda: fleet.routes("west") == both[:1])


async def test_a_dead_device_delays_no_other(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """One device hangs for ever and the other serves, and neither its end nor the process's waits for it long (law 5)."""

    class Hanging(MemoryDriver):
        async def observe(self, identities: Any = None) -> Observation:
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

    monkeypatch.setattr(fleet_module, "_GRACE", 0.2)
    fleet.devices["gw-west"] = Hanging()
    fleet.write("AddressPool", "pool", {"ranges": ["198.51.100.7"]})
    fleet.apis["east"].put(service("web"))
    async with asyncio.timeout(30), fleet.controller():
        await until(lambda: fleet.address("east", "web") == "198.51.100.7")
        fleet.apis["east"].put(node(2))
        await until(lambda: len(fleet.routes("east")) == 2)


async def test_a_person_ends_a_doubt(fleet: Fleet) -> None:
    """An API restored from a backup takes nothing away until a person says that what it shows now is meant."""
    backup = fleet.apis["east"].backup()
    fleet.apis["east"].put(node(2))
    fleet.apis["east"].put(node(3))
    async with fleet.controller() as running:
        await until(lambda: len(fleet.routes("east")) == 3)
        fleet.apis["east"].restore(backup)
        fleet.apis["east"].close_watches()
        await until(lambda: bool(running.world.view("east").suspect))
        assert len(fleet.routes("east")) == 3
        written = json.loads((fleet.config / "KubeCluster-east.json").read_text())
        written["metadata"]["annotations"] = {ACCEPT_ANSWER: "restored on purpose"}
        (fleet.config / "KubeCluster-east.json").write_text(json.dumps(written))
        await until(lambda: len(fleet.routes("east")) == 1)
        assert not running.world.view("east").suspect
