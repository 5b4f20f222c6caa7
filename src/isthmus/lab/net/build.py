"""Build a topology out of network namespaces, change it while it is up, take it down.

It knows order and speed: few processes, many lines each, and nodes side by side. It refuses to work outside a sandbox,
where it could meddle with the host's own network. The confusing thing: what exists is `Network.nodes`, not the
topology, which only says what there was to begin with; nodes come and go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Self

from isthmus.errors import LabError
from isthmus.lab.net import batches
from isthmus.lab.net.command import ip_batch, run
from isthmus.lab.net.netns import offloads_off, path_of, write_sysctls
from isthmus.lab.net.sandbox import in_sandbox
from isthmus.lab.net.topology import (
    CLIENT_FAR,
    CLIENT_NEAR,
    CONTROL_LINK,
    FABRIC,
    ROUTER,
    GatewayPlan,
    NodePlan,
    PodPlan,
    Topology,
)

# Two cores are enough to keep four batches busy; more only queue for the kernel's one rtnl lock.
_AT_ONCE = 4


class Network:
    """A lab's network, up between ``async with`` and its end."""

    def __init__(self, topology: Topology, *, beside: Network | None = None) -> None:
        """Describe a network; one ``beside`` another adds its nodes to that one's segment and builds nothing else."""
        self.topology = topology
        self._beside = beside
        self._nodes: dict[str, NodePlan] = {}
        self._made: list[str] = []

    @property
    def nodes(self) -> Mapping[str, NodePlan]:
        """Return the nodes that exist now, by name."""
        return MappingProxyType(self._nodes)

    @property
    def pods(self) -> list[PodPlan]:
        """Return the pods that exist now, ordered by node."""
        return [pod for plan in self._nodes.values() for pod in plan.pods]

    @property
    def gateways(self) -> tuple[GatewayPlan, ...]:
        """Return the gateways."""
        return self.topology.gateway_plans

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Build everything; LabError says which line of which namespace the kernel refused."""
        if not in_sandbox():
            raise LabError("A lab's network is only built inside its sandbox: start through isthmus.lab.net.sandbox.")
        if self._beside is not None:
            try:
                for plan in self.topology.node_plans:
                    await self.add_node(plan.index)
            except BaseException:
                await self.down()
                raise
            return
        if self.exists(FABRIC):
            raise LabError(
                "There is a network in this sandbox already; names are fixed, so there can be one at a time."
            )
        plans = self.topology.node_plans
        fixed = [FABRIC, ROUTER, CLIENT_NEAR, CLIENT_FAR, *(gateway.name for gateway in self.gateways)]
        names = [*fixed, *(name for plan in plans for name in batches.namespaces_of_node(plan))]
        try:
            await self._make(names)
            routers = {ROUTER, *(gateway.name for gateway in self.gateways), *(plan.name for plan in plans)}
            await self._settings(names, routers)
            await ip_batch("", self._links(plans))
            await _together(self._fixed_work() + self._node_work(plans, plans))
            await self._plain_frames(plans)
            self._nodes.update({plan.name: plan for plan in plans})
        except BaseException:
            await self.down()
            raise

    async def down(self) -> None:
        """Take everything down; what was never built, or is gone, does not matter."""
        if not self._made:
            return
        self._nodes.clear()
        names, self._made = self._made, []
        # The root's own leg first: a veth goes at once with its peer, while namespaces are reaped some time later.
        if self._beside is None:
            await run(["ip", "link", "delete", CONTROL_LINK], check=False)
        await run(["ip", "-force", "-batch", "-"], text="".join(f"netns del {name}\n" for name in names), check=False)

    async def add_node(self, index: int | None = None) -> NodePlan:
        """Add node number ``index`` (by default the lowest free number) with its pods."""
        taken = {plan.index for plan in self._nodes.values()}
        if index is None:
            index = next(number for number in range(1, len(taken) + 2) if number not in taken)
        if index in taken:
            raise LabError(f"node{index} is there already")
        plan = self.topology.node(index)
        names = batches.namespaces_of_node(plan)
        await self._make(names)
        await self._settings(names, {plan.name})
        await ip_batch("", self._node_links(plan))
        everyone = [*self._nodes.values(), plan]
        work = self._node_work([plan], everyone)
        work.append((FABRIC, [batches.port(plan.leg, batches.UNDER)]))
        if len(everyone) > batches.PERMANENT_NEIGHBOURS_ABOVE:
            work += [(other.name, batches.neighbours(other, [plan])) for other in self._nodes.values()]
        await _together(work)
        await self._plain_frames([plan])
        self._nodes = {one.name: one for one in sorted(everyone, key=lambda one: one.index)}
        return plan

    async def remove_node(self, name: str) -> None:
        """Remove a node and its pods, as if somebody pulled the plug: nobody else is told."""
        plan = self._known(name)
        del self._nodes[name]
        await ip_batch(FABRIC, [f"link delete {plan.leg.port}"])
        gone = batches.namespaces_of_node(plan)
        await ip_batch("", [f"netns del {one}" for one in gone])
        self._made = [one for one in self._made if one not in gone]

    async def set_node_link(self, name: str, *, up: bool) -> None:
        """Plug a node's underlay cable in or out; the node itself sees its carrier go, and keeps its addresses."""
        plan = self._known(name)
        await ip_batch(FABRIC, [f"link set {plan.leg.port} {'up' if up else 'down'}"])

    async def set_vtep_mac(self, name: str, mac: str, *, link: str = "flannel.1") -> None:
        """Change the MAC of a node's tunnel device behind everybody's back: nobody is told.

        The kernel flushes that device's neighbours, permanent ones included, so the node can no longer send through it.
        """
        await ip_batch(self._known(name).name, [f"link set {link} address {mac}"])

    def exists(self, namespace: str) -> bool:
        """Return whether a namespace is there."""
        return path_of(namespace).exists()

    def _known(self, name: str) -> NodePlan:
        try:
            return self._nodes[name]
        except KeyError:
            raise LabError(f"There is no node {name!r}; there are {', '.join(self._nodes) or 'none'}.") from None

    async def _make(self, names: Sequence[str]) -> None:
        self._made += names
        await ip_batch("", [f"netns add {name}" for name in names])

    async def _settings(self, names: Sequence[str], routers: set[str]) -> None:
        plain = batches.sysctls(self.topology, forward=False)
        forwarding = batches.sysctls(self.topology, forward=True)
        for name in names:
            await asyncio.to_thread(write_sysctls, name, forwarding if name in routers else plain)

    def _links(self, plans: Iterable[NodePlan]) -> list[str]:
        topology = self.topology
        lines = [
            batches.cable(topology.control, topology.underlay_mtu),
            batches.cable(topology.router_front, 1500),
            batches.cable(topology.router_far, 1500, other=topology.client_far),
            batches.cable(topology.client_near, 1500),
        ]
        for gateway in self.gateways:
            lines += [batches.cable(gateway.front, 1500), batches.cable(gateway.under, topology.underlay_mtu)]
        return lines + [line for plan in plans for line in self._node_links(plan)]

    def _node_links(self, plan: NodePlan) -> list[str]:
        mtu = self.topology.pod_mtu
        return [
            batches.cable(plan.leg, self.topology.underlay_mtu),
            *(batches.pod_cable(pod, mtu) for pod in plan.pods),
        ]

    def _fixed_work(self) -> list[tuple[str, list[str]]]:
        topology = self.topology
        fabric = batches.bridges(topology)
        fabric.append(batches.port(topology.control, batches.UNDER))
        fabric += [batches.port(leg, batches.FRONT) for leg in (topology.router_front, topology.client_near)]
        for gateway in self.gateways:
            fabric += [batches.port(gateway.front, batches.FRONT), batches.port(gateway.under, batches.UNDER)]
        fabric += [batches.port(plan.leg, batches.UNDER) for plan in topology.node_plans]
        return [
            (FABRIC, fabric),
            ("", batches.leg_up(topology.control)),
            (ROUTER, batches.router(topology)),
            (CLIENT_NEAR, batches.client(topology.client_near, topology.router_front, topology)),
            (CLIENT_FAR, batches.client(topology.client_far, topology.router_far, topology)),
            *((gateway.name, batches.gateway(gateway, topology)) for gateway in self.gateways),
        ]

    def _node_work(self, plans: Sequence[NodePlan], everyone: Sequence[NodePlan]) -> list[tuple[str, list[str]]]:
        work: list[tuple[str, list[str]]] = []
        for plan in plans:
            lines = batches.node(plan, self.topology)
            if len(everyone) > batches.PERMANENT_NEIGHBOURS_ABOVE:
                lines += batches.neighbours(plan, everyone)
            work.append((plan.name, lines))
            work += [(pod.name, batches.pod(pod, plan, self.topology)) for pod in plan.pods]
        return work

    async def _plain_frames(self, plans: Iterable[NodePlan]) -> None:
        if self.topology.offloads:
            return
        links: dict[str, list[str]] = {"": [CONTROL_LINK]}
        for leg in (self.topology.router_front, self.topology.router_far, self.topology.client_near):
            links.setdefault(leg.namespace, []).append(leg.name)
        links[CLIENT_FAR] = [self.topology.client_far.name]
        for gateway in self.gateways:
            links[gateway.name] = [gateway.front.name, gateway.under.name]
        for plan in plans:
            links[plan.name] = [plan.leg.name, "cni0", *(pod.host_link for pod in plan.pods)]
            links.update({pod.name: ["eth0"] for pod in plan.pods})
        for namespace, names in links.items():
            await asyncio.to_thread(offloads_off, namespace, names)


async def _together(work: Iterable[tuple[str, list[str]]]) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(namespace: str, lines: list[str]) -> None:
        async with gate:
            await ip_batch(namespace, lines)

    async with asyncio.TaskGroup() as group:
        for namespace, lines in work:
            group.create_task(one(namespace, lines))
