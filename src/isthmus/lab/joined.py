"""A lab with Isthmus in it: the controller on its gateway, agents on its nodes, started as a user starts them.

Everything goes through files, the command line and packets: no module of the product is imported here, so what the lab sees
is what a user gets. The one confusing thing: with a Linux gateway the controller runs *in the gateway's namespace*, because
the Linux driver programs the host it runs on; with an appliance it runs in the sandbox's root, beside the Kubernetes API, and
has no more of the appliance than its address for management.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from isthmus.errors import LabError
from isthmus.lab.adc.appliances import Device, appliances
from isthmus.lab.net.command import inside
from isthmus.lab.net.lab import Lab, ServesKube
from isthmus.lab.net.processes import Running
from isthmus.lab.net.topology import Device as Kind
from isthmus.lab.net.topology import NodePlan, Topology

ISTHMUS = (sys.executable, "-m", "isthmus")
GATEWAY = "gw1"
LINK = "lab"
CLASS = "isthmus.dev/load-balancer"


class JoinedLab:
    """A :class:`Lab` and the controller that joins it by ``path``; use it as ``async with``."""

    def __init__(
        self,
        topology: Topology,
        path: str,
        *,
        pools: bool = True,
        options: Mapping[str, Any] | None = None,
        api: ServesKube | None = None,
        netscaler: Mapping[str, Any] | None = None,
        on_nodes: int | None = None,
    ) -> None:
        """``options`` are merged into the ClusterLink's spec, ``netscaler`` into the appliance's block; ``api`` is
        as of the Lab.

        ``on_nodes`` is how many addresses an appliance has on the nodes' segment for its traffic; by default one where the
        path may need it.
        """
        self.lab = Lab(topology, api=api)
        self.path = path
        self.gateway = topology.gateway_plans[0].name
        self.seat = "" if topology.device == "netscaler" else GATEWAY
        self.devices: tuple[Device, ...] = ()
        self.controller: Running | None = None
        self.agents: dict[str, Running] = {}
        self._pools = pools
        self._options = dict(options or {})
        self._netscaler_options = dict(netscaler or {})
        self._on_nodes = (1 if path in ("direct", "auto") else 0) if on_nodes is None else on_nodes
        self._stack = contextlib.AsyncExitStack()

    @property
    def config(self) -> Path:
        """Return the directory with the user's objects."""
        return self.lab.directory / "config"

    @property
    def state(self) -> Path:
        """Return the controller's state directory."""
        return self.lab.directory / "state"

    async def __aenter__(self) -> JoinedLab:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.lab)
            if self.lab.topology.device == "netscaler":
                running = appliances(
                    self.lab.topology, self.lab.directory, on_nodes=self._on_nodes, tls=True, admin=0
                )
                self.devices = await stack.enter_async_context(running)
                # Whoever talks to the appliances ends before they do.
                stack.push_async_callback(self.lab.processes.stop_all)
            self.config.mkdir()
            for kind, document in self.documents().items():
                self.write(kind, document)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    # --- what the user writes -----------------------------------------------------------------------------------

    def documents(self) -> dict[str, Any]:
        """Return the user's objects, by file name."""
        topology = self.lab.topology
        link: dict[str, Any] = {
            "cluster": "lab",
            "devices": [self.gateway],
            "path": self.path,
            "nodeGracePeriod": "5s",
        }
        if self.path in ("overlay", "auto"):
            networks = {"ipv4": "172.31.0.0/16", "ipv6": "fd00:31::/64"}
            link["overlay"] = {"networks": [networks[family] for family in topology.families]}
        if self.path == "flannel" and self.devices:
            # The lab's flannel keeps no ConfigMap, so its network is said here, as a user without that right would.
            link["podNetworks"] = [str(network) for network in topology.pod_ranges]
        link |= self._options
        cluster = {
            "kubeconfig": {"path": str(self.lab.kubeconfig)},
            "loadBalancer": {"class": CLASS, "default": True},
        }
        under = topology.gateway_plans[0].under
        device: dict[str, Any] = {
            "driver": topology.device,
            "tunnelAddresses": [str(address.ip) for address in under.addresses],
        }
        if self.devices:
            device["netscaler"] = {**self._netscaler(), **self._netscaler_options}
        documents = {
            "cluster.yaml": _document("KubeCluster", "lab", cluster),
            "device.yaml": _document("EdgeDevice", self.gateway, device),
            "link.yaml": _document("ClusterLink", LINK, link),
        }
        if self._pools:
            segment = [str(network) for network in topology.segment_vips]
            routed = [str(network) for network in topology.routed_vips]
            documents["pools.yaml"] = _document("AddressPool", "segment", {"ranges": segment, "priority": 10})
            documents["pools-routed.yaml"] = _document(
                "AddressPool", "routed", {"ranges": routed, "autoAssign": False}
            )
        return documents

    def _netscaler(self) -> dict[str, Any]:
        """Return how to talk to the appliances, with the password in files as a mounted Secret has it."""
        secret = self.lab.directory / "adc"
        secret.mkdir(mode=0o700, exist_ok=True)
        for word in ("username", "password"):
            (secret / word).write_text("nsroot\n")
        authority = self.lab.directory / "adc-ca.pem"
        texts = [
            device.endpoint.ca_path.read_text() for device in self.devices if device.endpoint.ca_path is not None
        ]
        authority.write_text("".join(texts))
        return {
            "urls": [device.endpoint.url for device in self.devices],
            "credentials": {"directory": str(secret)},
            "caFile": str(authority),
            "saveAfter": "500ms",
        }

    def write(self, name: str, document: Any) -> None:
        """Write one of the user's files (JSON is YAML)."""
        (self.config / name).write_text(json.dumps(document, indent=2) + "\n")

    # --- processes ----------------------------------------------------------------------------------------------

    async def start_controller(self, *extra: str) -> Running:
        """Start ``isthmus controller`` where it sits: on the gateway, or beside the appliance."""
        argv = (*ISTHMUS, "controller", "--config", str(self.config), "--state", str(self.state), *extra)
        self.controller = await self.lab.start_process(self.seat, argv, name="controller")
        return self.controller

    async def stop_controller(self) -> int:
        """Stop it gracefully and return its exit status."""
        if self.controller is None:
            raise LabError("the controller does not run")
        status = await self.controller.stop()
        self.controller = None
        return status

    async def start_agent(self, node: NodePlan, *, lab: Lab | None = None) -> Running:
        """Start ``isthmus agent node`` on a node, of a lab beside this one if ``lab`` says so."""
        state = self.lab.directory / f"agent-{node.name}"
        argv = (*ISTHMUS, "agent", "node", "--node", node.name, "--state", str(state))
        kubeconfig = ("--kubeconfig", str((lab or self.lab).kubeconfig))
        self.agents[node.name] = await self.lab.start_process(
            node.name, (*argv, *kubeconfig), name=f"agent-{node.name}"
        )
        return self.agents[node.name]

    async def join(self) -> None:
        """Start the controller, and an agent on every node if the path needs them."""
        await self.start_controller()
        # An appliance cannot be asked whether it reaches anybody, so `auto` may choose the overlay at once.
        if self.path == "overlay" or (self.path == "auto" and self.devices):
            for node in self.lab.network.nodes.values():
                await self.start_agent(node)

    # --- asking -------------------------------------------------------------------------------------------------

    async def isthmus(self, *arguments: str) -> tuple[int, str, str]:
        """Run an ``isthmus`` command where the controller sits; return its exit status, output and errors."""
        process = await asyncio.create_subprocess_exec(
            *inside(self.seat, [*ISTHMUS, *arguments]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    def made(self) -> tuple[str, ...]:
        """Say what there is besides nodes and clients, and how to talk to it; nothing of a Linux gateway."""
        said = []
        for device in self.devices:
            plan, url = device.plan, device.endpoint.url
            addresses = ", ".join(str(one.ip) for one in (*plan.under.addresses, *plan.front.addresses))
            ca = f"--cacert {device.endpoint.ca_path}" if device.endpoint.ca_path else ""
            said.append(f"{plan.name}: a NetScaler with the addresses {addresses}; ask it:")
            said.append(f"  curl -u nsroot:nsroot {ca} {url}/nitro/v1/config/nsip")
            if device.endpoint.admin_url:
                said.append(f"  curl -u nsroot:nsroot {device.endpoint.admin_url}/   (what was asked of it; faults)")
        return tuple(said)

    async def status(self) -> dict[str, dict[str, Any]]:
        """Return ``isthmus status --json``: objects by kind and name."""
        _, out, err = await self.isthmus("status", "--json", "--state", str(self.state))
        if not out.strip():
            raise LabError(f"isthmus status printed nothing: {err.strip()}")
        found: dict[str, dict[str, Any]] = json.loads(out)["objects"]
        return found

    async def until_status(self, true: Callable[[dict[str, dict[str, Any]]], bool], *, timeout: float = 15.0) -> None:
        """Wait until ``true`` holds for the status; LabError with the last status if it does not in time."""
        last: dict[str, dict[str, Any]] = {}

        async def holds() -> bool:
            nonlocal last
            try:
                last = await self.status()
            except LabError:
                return False
            return true(last)

        try:
            await until(holds, timeout=timeout, pause=0.2)
        except LabError as error:
            raise LabError(f"{error}; the status is {json.dumps(last, indent=1)}") from error

    async def ip(self, *arguments: str, namespace: str = "") -> str:
        """Run ``ip`` in a namespace (the gateway's by default) and return its output; LabError if it fails."""
        return await run(inside(namespace or self.gateway, ["ip", *arguments]))

    async def vip_of(self, service: str, *, namespace: str = "default", timeout: float = 15.0) -> list[str]:
        """Wait until a Service's status shows addresses, and return them."""
        found: list[str] = []

        async def shown() -> bool:
            nonlocal found
            item = await self.lab.client.get(f"/api/v1/namespaces/{namespace}/services/{service}")
            ingress = item.get("status", {}).get("loadBalancer", {}).get("ingress") or []
            found = [str(entry["ip"]) for entry in ingress]
            families = item["spec"].get("ipFamilies") or ["IPv4"]
            return len(found) >= len(families)

        await until(shown, timeout=timeout)
        return found


def prompt_topology(nodes: int, path: str, device: Kind) -> Topology:
    """Return the network of a lab with a prompt.

    Flannel has one VNI for both families, and a NetScaler has a VXLAN of one id once: it can join one of them.
    """
    one = device == "netscaler" and path == "flannel"
    return Topology(nodes=nodes, cni="flannel", device=device, families=("ipv4",) if one else ("ipv4", "ipv6"))


async def until(true: Callable[[], Awaitable[bool]], *, timeout: float = 10.0, pause: float = 0.02) -> float:
    """Wait until ``true()`` and return how many seconds it took; LabError when time is up."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not await true():
        if loop.time() - began > timeout:
            raise LabError(f"not so within {timeout:g} s")
        await asyncio.sleep(pause)
    return loop.time() - began


async def run(argv: Sequence[str]) -> str:
    """Run a command to its end and return its output; LabError with what it said if it fails."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode:
        raise LabError(f"{' '.join(argv)}: {err.decode().strip()}")
    return out.decode()


def _document(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "isthmus.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
