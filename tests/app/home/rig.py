"""A home cluster that is also the joined one, devices in memory that outlive controllers, and a controller between them."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, cast

import aiohttp

from isthmus.app.controller import Controller
from isthmus.app.drivers import Wiring
from isthmus.app.home.home import Home
from isthmus.app.tenure import Alone
from isthmus.drivers.base import Driver, Outcome
from isthmus.drivers.memory import MemoryDriver
from isthmus.kube.connection import Connection
from isthmus.kube.kubeconfig import load
from isthmus.kube.pace import Timing
from isthmus.lab.kube import Endpoint, KubeApi
from isthmus.model.facts import DeviceFacts, Interface
from isthmus.model.kinds import EdgeDevice
from isthmus.model.plan import Change
from isthmus.model.schema import crds
from isthmus.registry.state import StateDirectory
from realapi import RealApi
from realapi.reaching import Reach, Refused
from realapi.wiping import wipe

Json = dict[str, Any]

API = "isthmus.dev/v1alpha1"
CLASS = "isthmus.dev/load-balancer"
FAST = Timing(
    idle_check=0.4, probe=1.0, listen=0.05, grace=0.05, read=90.0, healthy=30.0, backoff_first=0.02, backoff_most=0.2
)


def thing(kind: str, name: str, spec: Json, **metadata: Any) -> Json:
    """Return an object of ours."""
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


def node(number: int, **metadata: Any) -> Json:
    """Return a Node on the devices' segment with a pod CIDR of its own."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"n{number}", **metadata},
        "spec": {"podCIDR": f"10.244.{number}.0/24", "podCIDRs": [f"10.244.{number}.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": f"192.0.2.{100 + number}"}]},
    }


def put_flannel(api: Any) -> None:
    """Make it a cluster of two nodes that runs flannel with VXLAN, and publishes its whole network."""
    for number in (1, 2):
        made = node(number)
        made["metadata"]["annotations"] = {
            "flannel.alpha.coreos.com/backend-type": "vxlan",
            "flannel.alpha.coreos.com/backend-data": f'{{"VNI":1,"VtepMAC":"02:00:00:00:00:{number:02x}"}}',
            "flannel.alpha.coreos.com/public-ip": f"192.0.2.{100 + number}",
        }
        api.put(made)
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-flannel"}})
    net = '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}'
    config = {"metadata": {"name": "kube-flannel-cfg", "namespace": "kube-flannel"}, "data": {"net-conf.json": net}}
    api.put({"apiVersion": "v1", "kind": "ConfigMap", **config})


def service(name: str, **spec: Any) -> Json:
    """Return a Service of type LoadBalancer of our class."""
    wanted = {"type": "LoadBalancer", "loadBalancerClass": CLASS, "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": wanted}


async def until(true: Callable[[], bool], seconds: float = 10.0, what: Callable[[], object] = lambda: "") -> None:
    """Poll until ``true`` is so; ``what`` is said if it never is."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"did not become true in time: {what()}"
        await asyncio.sleep(0.01)


async def holds(true: Callable[[], bool], seconds: float = 1.0) -> None:
    """Poll that ``true`` is so all the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert true()
        await asyncio.sleep(0.01)


class Fenced:
    """One controller's way to a device that all share, as a gateway's agent is: each change says in whose term it is."""

    def __init__(self, device: MemoryDriver, wiring: Wiring, epochs: list[int]) -> None:
        self._device = device
        self._wiring = wiring
        self._epochs = epochs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        async for outcome in self._device.apply(changes):
            self._epochs.append(self._wiring.epoch())
            yield outcome


class Place:
    """Everything there is, apart from the controller that a test starts, as often as it likes."""

    def __init__(self, api: Any, endpoint: Endpoint, directory: Path) -> None:
        self.api = api  # a KubeApi, or a Reach into a real server
        self.endpoint = endpoint
        self.directory = directory
        self.devices: dict[str, MemoryDriver] = {}
        self.epochs: dict[str, list[int]] = {}
        """The epochs of all changes on each device, in order."""

    # --- devices ------------------------------------------------------------------------------------------------

    def device(self, name: str) -> MemoryDriver:
        """Return the device called ``name``, which lives as long as the test."""
        if name not in self.devices:
            own = ip_interface(f"192.0.2.{len(self.devices) + 1}/24")
            facts = DeviceFacts((Interface("eth0", "02:00:00:00:00:01", 1500, (own,)),))
            self.devices[name] = MemoryDriver(facts=facts)
        return self.devices[name]

    def drive(self, kind: EdgeDevice, wiring: Wiring) -> Driver:
        """Return the driver of a device, as the table of drivers does."""
        return cast(Driver, Fenced(self.device(kind.name), wiring, self.epochs.setdefault(kind.name, [])))

    def writes(self) -> int:
        """Return how much was ever written: requests to the API and changes on devices."""
        return self.api.faults.writes + sum(device.writes for device in self.devices.values())

    # --- objects ------------------------------------------------------------------------------------------------

    def put(self, kind: str, name: str, spec: Json, **metadata: Any) -> Json:
        """Create an object of ours, or replace its spec and keep what else is in it."""
        found = self.find(kind, name)
        if found is None:
            return self.api.put(thing(kind, name, spec, **metadata))
        return self.api.put({**found, "spec": spec, "metadata": {**found["metadata"], **metadata}})

    def find(self, kind: str, name: str) -> Json | None:
        """Return an object, or none."""
        listed = (one for one in self.api.list(kind) if one["metadata"]["name"] == name)
        return next(listed, None)

    def status(self, kind: str, name: str) -> Json:
        """Return an object's status."""
        return (self.find(kind, name) or {}).get("status") or {}

    def condition(self, kind: str, name: str, type: str) -> Json:
        """Return one condition of an object, empty if it has none."""
        conditions = self.status(kind, name).get("conditions") or []
        return next((one for one in conditions if one["type"] == type), {})

    def is_so(self, kind: str, name: str, type: str, status: str = "True", reason: str | None = None) -> bool:
        """Say whether a condition is so."""
        found = self.condition(kind, name, type)
        return found.get("status") == status and reason in (None, found.get("reason"))

    def events(self, name: str = "") -> list[tuple[str, str]]:
        """Return reason and note of the Events on objects called ``name`` (on all, without)."""
        return [
            (event["reason"], event["note"])
            for event in self.api.list("events.events.k8s.io")
            if not name or event["regarding"]["name"] == name
        ]

    def routes(self, device: str = "gw1") -> list[str]:
        """Return the prefixes that a device routes."""
        found = sorted(identity for identity in self.device(device).resources if identity.startswith("route "))
        return [identity.split()[1] for identity in found]

    def join(self, **link: Any) -> None:
        """Write the usual configuration: one cluster, one device, a direct link between them, and three nodes."""
        for number in (1, 2, 3):
            self.api.put(node(number))
        self.put("KubeCluster", "prod", {"kubeconfig": {"path": str(self.endpoint.kubeconfig_path)}})
        self.put("EdgeDevice", "gw1", {"driver": "memory"})
        self.put("ClusterLink", "main", {"cluster": "prod", "devices": ["gw1"], "path": "direct", **link})

    # --- the controller -----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def controller(
        self,
        *,
        config: Path | None = None,
        state: bool = False,
        allow_deletes: bool = False,
        turn: Alone | None = None,
        connection: Connection | None = None,
    ) -> AsyncIterator[Controller]:
        """Run a controller of its own process, as far as a test can tell; with ``turn`` it is one of several."""
        async with AsyncExitStack() as stack:
            opened = await stack.enter_async_context(StateDirectory(self.directory / "state")) if state else None
            reached = connection or load(self.endpoint.kubeconfig_path)
            home = Home(reached, {"memory", "linux"}, timing=FAST, turn=turn)
            running = Controller(
                config,
                opened,
                home=home,
                allow_deletes=allow_deletes,
                drivers={"memory": self.drive, "linux": self.drive},
                turn=turn,
            )
            task = asyncio.create_task(running.run())
            try:
                yield running
            finally:
                running.stop()
                async with asyncio.timeout(15):
                    await task


@asynccontextmanager
async def place(directory: Path, **options: Any) -> AsyncIterator[Place]:
    """Serve a home cluster with our definitions and our namespace in it."""
    api = KubeApi(tls=False, **options)
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "isthmus-system"}})
    for definition in crds():
        api.put(definition)
    async with api.serving() as endpoint:
        yield Place(api, endpoint, directory)


@asynccontextmanager
async def real_place(directory: Path, server: RealApi) -> AsyncIterator[Place]:
    """Use the tests' real API server as a home cluster; what is in it at the end is wiped out."""
    endpoint = server.endpoint
    api = Reach(endpoint)
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "isthmus-system"}})
    for definition in crds():
        api.put(definition)
    try:
        for definition in crds():
            await until(lambda d=definition: served(api, d), what=lambda d=definition: d["metadata"])  # type: ignore[misc]
        yield Place(api, endpoint, directory)
    finally:
        api.close()
        async with aiohttp.ClientSession(
            endpoint.url,
            headers={"Authorization": f"Bearer {endpoint.token}"},
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=endpoint.ca_path)),
        ) as session:
            await wipe(session)


def served(api: Reach, definition: Json) -> bool:
    """Say whether the objects of a definition can be listed; the real server takes a moment."""
    try:
        api.list(definition["spec"]["names"]["kind"])
    except Refused:
        return False
    return True
