"""The whole lab in one ``async with``: network, pods, Kubernetes API, nodes and, if asked for, flannel.

    async with Lab(Topology(nodes=3)) as lab:
        answer = await lab.fetch("client-near", vip, 80)

What it joins stays in reach (`network`, `api`, `cluster`, `flanneld`, `processes`), so that a test can break each part by
itself. Everything runs in this process's event loop and in the sandbox around it (see `sandbox`). The confusing thing is
the API's address: it listens on the lab's control address, which gateways and nodes reach over the underlay, and which
nothing outside the sandbox can see; `kubeconfig` names it.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, Self, TypeVar

from isthmus.errors import LabError
from isthmus.lab.kube import Endpoint, KubeApi
from isthmus.lab.net import matrix
from isthmus.lab.net.build import Network
from isthmus.lab.net.clients import Answer, fetch
from isthmus.lab.net.flanneld import Flanneld
from isthmus.lab.net.kubeapi import KubeClient
from isthmus.lab.net.nodes import Cluster, Workload
from isthmus.lab.net.pods import PodServers
from isthmus.lab.net.processes import Processes, Running
from isthmus.lab.net.sandbox import in_sandbox
from isthmus.lab.net.topology import Address, Family, NodePlan, Topology

T = TypeVar("T")

API_PORT = 6443
SERVICE_CIDRS: Mapping[Family, str] = {"ipv4": "10.96.0.0/16", "ipv6": "fd00:10:96::/112"}


class ServesKube(Protocol):
    """A Kubernetes API server that can be told where to listen: the lab's own, or a real one."""

    def serving(
        self, host: str, port: int, *, directory: Path | None, names: tuple[str, ...]
    ) -> AbstractAsyncContextManager[Endpoint]:
        """Listen while the block runs; ``names`` are further addresses that its certificate is to be good for."""
        ...


class Lab:
    """A running lab.

    ``allocate_pod_cidrs`` gives Nodes created without pod CIDRs the next free ones, as kube-controller-manager does.
    ``api`` may be given to start from a server with other settings or with objects in it, or from another server.
    A lab ``beside`` another is a second cluster on that one's network: nodes, pods and an API of its own, nothing else.
    """

    def __init__(
        self,
        topology: Topology | None = None,
        *,
        api: ServesKube | None = None,
        allocate_pod_cidrs: bool = True,
        beside: Lab | None = None,
    ) -> None:
        self.topology = topology or Topology()
        neighbor: Network | None = None if beside is None else beside.network
        self.network: Network = Network(self.topology, beside=neighbor)
        ranges = tuple(str(one) for one in self.topology.pod_ranges) if allocate_pod_cidrs else ()
        services = tuple(SERVICE_CIDRS[family] for family in self.topology.families)
        self.api: ServesKube = api or KubeApi(service_cidrs=services, cluster_cidrs=ranges)
        self.pods = PodServers()
        self._stack = contextlib.AsyncExitStack()
        self._directory: Path | None = None
        self._endpoint: Endpoint | None = None
        self._client: KubeClient | None = None
        self._processes: Processes | None = None
        self._cluster: Cluster | None = None
        self._flanneld: Flanneld | None = None

    @property
    def directory(self) -> Path:
        """Return the lab's own directory: logs, certificates, kubeconfig. It goes with the lab."""
        return _there(self._directory)

    @property
    def endpoint(self) -> Endpoint:
        """Return where the Kubernetes API is and what a client needs."""
        return _there(self._endpoint)

    @property
    def kubeconfig(self) -> Path:
        """Return the path of an administrator's kubeconfig."""
        return self.endpoint.kubeconfig_path

    @property
    def client(self) -> KubeClient:
        """Return the lab's own client of the API."""
        return _there(self._client)

    @property
    def cluster(self) -> Cluster:
        """Return the cluster's side: register nodes, publish workloads, say who is ready."""
        return _there(self._cluster)

    @property
    def processes(self) -> Processes:
        """Return the processes that were started in the lab."""
        return _there(self._processes)

    @property
    def flanneld(self) -> Flanneld:
        """Return flannel's node side; LabError in a lab with ``cni="none"``."""
        if self._flanneld is None:
            raise LabError('This lab has no flannel; build it with Topology(cni="flannel").')
        return self._flanneld

    async def __aenter__(self) -> Self:
        if not in_sandbox():
            raise LabError("A lab only runs inside its sandbox: start through isthmus.lab.net.sandbox.")
        async with contextlib.AsyncExitStack() as stack:
            self._directory = Path(tempfile.mkdtemp(prefix="isthmus-lab-", dir="/run"))
            stack.callback(shutil.rmtree, self._directory, ignore_errors=True)
            await stack.enter_async_context(self.network)
            self._processes = Processes(self._directory)
            stack.push_async_callback(self._processes.stop_all)
            stack.push_async_callback(self.pods.stop_all)
            await self.pods.start(self.network.pods)
            host = str(self.topology.control.addresses[0].ip)
            others = tuple(str(address.ip) for address in self.topology.control.addresses[1:])
            port = API_PORT + self.topology.cluster - 1
            serving = self.api.serving(host=host, port=port, directory=self._directory, names=others)
            self._endpoint = await stack.enter_async_context(serving)
            client = KubeClient(self._endpoint.url, token=self._endpoint.token, ca_path=self._endpoint.ca_path)
            self._client = await stack.enter_async_context(client)
            self._cluster = Cluster(self._client, self.topology)
            for plan in self.network.nodes.values():
                await self._cluster.register(plan)
            if self.topology.cni == "flannel":
                self._flanneld = Flanneld(self._client, self.network)
                stack.push_async_callback(self._flanneld.stop)
                await self._flanneld.start(self.network.nodes.values())
                await self._flanneld.wait_until_meshed(timeout=30)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def fetch(
        self, client: str, address: Address, port: int, path: str = "/", *, timeout: float = 3.0
    ) -> Answer:
        """GET from the namespace ``client``."""
        return await fetch(client, address, port, path, timeout=timeout)

    async def start_process(
        self, namespace: str, argv: Sequence[str], *, name: str = "", env: Mapping[str, str] | None = None
    ) -> Running:
        """Start a long-running process inside ``namespace``; its log is a file in `directory`."""
        return await self.processes.start(namespace, argv, name=name, env=env)

    async def add_node(self, index: int | None = None) -> NodePlan:
        """Add a node with its pods, register it, and let flannel take it up."""
        plan = await self.network.add_node(index)
        await self.pods.start(plan.pods)
        await self.cluster.register(plan)
        if self._flanneld is not None:
            await self._flanneld.add(plan)
        return plan

    async def remove_node(self, name: str, *, silently: bool = False) -> None:
        """Unplug a node and delete its Node object; ``silently`` leaves the object, as when a machine dies."""
        plan = self.network.nodes.get(name)
        if self._flanneld is not None:
            self._flanneld.forget(name)
        if plan is not None:
            await self.pods.stop(pod.name for pod in plan.pods)
        await self.network.remove_node(name)
        if not silently:
            await self.cluster.delete(name)

    async def publish(self, workload: Workload) -> None:
        """Make a Service with endpoints out of ``workload``."""
        await self.cluster.publish(workload, self.network.pods)

    async def reach(self, *, sources: Sequence[str] | None = None, timeout: float = 1.5) -> matrix.Matrix:
        """Return the reachability matrix; from gateways and pods unless ``sources`` says otherwise."""
        return await matrix.reach(self.network, sources=sources, timeout=timeout)

    def pod_names(self, nodes: Iterable[str] | None = None) -> list[str]:
        """Return the names of the pods (on ``nodes``)."""
        chosen = set(self.network.nodes if nodes is None else nodes)
        return [pod.name for pod in self.network.pods if pod.node in chosen]


def _there(thing: T | None) -> T:
    if thing is None:
        raise LabError("The lab is not up: use it inside its `async with`.")
    return thing
