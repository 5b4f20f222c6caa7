"""The old environment, a cluster in the lab's API, an ADC in memory that outlives controllers, and controllers with both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from app.home.rig import node, until
from isthmus.app.controller import Controller
from isthmus.app.older import Older
from isthmus.compat.environment import Environment, read
from isthmus.drivers.memory import MemoryDriver
from isthmus.lab.kube import KubeApi
from isthmus.model.facts import DeviceFacts, DeviceTraits, Interface
from isthmus.registry.state import StateDirectory

__all__ = ["OLD", "Cluster", "adc", "node", "until"]

Json = dict[str, Any]
SWITCH = ("kube-system", "citrix-node-controller")
EXPORT = ("kube-system", "kube-cnc-router")
OLD = {
    "NS_IP": "10.0.0.10",
    "NS_USER": "planted-user",
    "NS_PASSWORD": "planted-password",
    "NETWORK": "172.16.3.0/24",
    "REMOTE_VTEPIP": "192.0.2.50",
    "VXLAN_PORT": "3267",
    "VNID": "300",
}


def adc() -> MemoryDriver:
    """Return a device like a NetScaler, without anything on it."""
    own = (Interface("1/1", "02:00:00:00:00:09", 1500, (ip_interface("192.0.2.50/24"),)),)
    traits = DeviceTraits(neighbors="flooded", onlink=False, clamps=False, tunnel_mac="02:00:00:00:00:09")
    return MemoryDriver(facts=DeviceFacts(own, traits))


class Cluster:
    """Everything but the controller, which a test starts as often as it likes; each start begins with an empty state."""

    def __init__(self, api: KubeApi, kubeconfig: Path, directory: Path) -> None:
        self.api = api
        self.kubeconfig = kubeconfig
        self.directory = directory
        self.device = adc()
        self.vacated = 0
        self.older: Older | None = None
        self._starts = 0

    def environment(self, **changes: str | None) -> Environment:
        """Return what the old environment says of this cluster; none takes a variable away."""
        laid = {**OLD, "KUBECONFIG": str(self.kubeconfig), **changes}
        said = {name: text for name, text in laid.items() if text is not None}
        found = read(said, {"netscaler", "external"}, home=Path("/nonexistent"))
        assert not found.problems, found.problems
        return found

    @asynccontextmanager
    async def controller(self, **changes: str | None) -> AsyncIterator[Controller]:
        """Run a controller of the old environment."""
        self._starts += 1
        self.older = Older(self.environment(**changes))
        async with StateDirectory(self.directory / f"state{self._starts}") as state:
            drivers = {
                "netscaler": lambda kind, wiring: self._drive(),
                "external": lambda kind, wiring: self._drive(),
            }
            running = Controller(None, state, drivers=drivers, older=self.older)
            task = asyncio.create_task(running.run())
            try:
                yield running
            finally:
                running.stop()
                await asyncio.wait({task}, timeout=15)
                task.result()

    def _drive(self) -> MemoryDriver:
        async def counted() -> None:
            self.vacated += 1

        self.device.vacate = counted
        return self.device

    # --- objects ------------------------------------------------------------------------------------------------

    def find(self, name: tuple[str, str]) -> Json | None:
        """Return a ConfigMap, or none."""
        listed = (one["metadata"] | {"data": one.get("data", {})} for one in self.api.list("ConfigMap"))
        return next((one for one in listed if (one["namespace"], one["name"]) == name), None)

    def switch(self, data: dict[str, str] | None = None, **metadata: Any) -> None:
        """Create the switch, or write it anew and keep its head."""
        found = self.find(SWITCH)
        head = {"namespace": SWITCH[0], "name": SWITCH[1], **metadata}
        if found is not None:
            head = {key: value for key, value in found.items() if key != "data"} | metadata
        self.api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": data or {}})

    def delete_switch(self) -> None:
        """Delete the switch as a user does."""
        self.api.delete("ConfigMap", SWITCH[1], SWITCH[0])

    def attached(self) -> list[str]:
        """Return the nodes that have a place on some overlay."""
        return sorted(
            one["metadata"]["name"]
            for one in self.api.list("Node")
            if any(key.startswith("isthmus.dev/overlay.") for key in one["metadata"].get("annotations") or {})
        )

    def applied(self) -> bool:
        """Say whether the ADC reaches both nodes and the export says so."""
        export = self.find(EXPORT)
        routes = {"route 10.244.1.0/24", "route 10.244.2.0/24"}
        marks = {"Node-192.0.2.101", "Node-192.0.2.102"}
        return routes <= self.device.resources.keys() and export is not None and marks <= export["data"].keys()

    def removed(self) -> bool:
        """Say whether nothing of ours is left anywhere."""
        return not self.device.resources and not self.attached() and self.find(EXPORT) is None
