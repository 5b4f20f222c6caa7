"""The node side of flannel's VXLAN backend, for all nodes of a lab, by code of the lab's own.

For each lab node it makes ``flannel.1`` (and ``flannel-v6.1``), writes the node's annotations through the API, follows
all Nodes, and programs every other Node that `leases` accepts: neighbour, then FDB entry, then on-link route, in
flanneld's order, foreign Nodes included. One loop and one watch serve all nodes, where reality has one process each.

Not imitated: direct routing, learning, GBP, backends other than VXLAN, iptables rules, subnet.env, the CNI plugin. The
confusing thing: what the real one leaves behind, this one leaves behind too. After a changed MAC the old FDB entry stays.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from isthmus.errors import LabError
from isthmus.lab.net.build import Network
from isthmus.lab.net.command import Output, ip_batch, run
from isthmus.lab.net.kubeapi import Changed, KubeClient, Listed
from isthmus.lab.net.leases import PORT, VNI, Ignored, Lease, Remote, annotations_for, read_node, update_counts
from isthmus.lab.net.netns import offloads_off, write_sysctls
from isthmus.lab.net.topology import Family, NodePlan, family_of, vtep_mac

DEVICES: dict[Family, str] = {"ipv4": f"flannel.{VNI}", "ipv6": f"flannel-v6.{VNI}"}
_AT_ONCE = 4
_MOST_NOTES = 1000


@dataclass(slots=True)
class _Side:
    """One lab node's flanneld."""

    plan: NodePlan
    macs: dict[Family, str]
    leases: dict[tuple[object, ...], Lease] = field(default_factory=dict)


class Flanneld:
    """flanneld on every node of ``network``, talking to the API through ``client``."""

    def __init__(self, client: KubeClient, network: Network) -> None:
        self._client = client
        self._topology = network.topology
        self._families = network.topology.families
        self._sides: dict[str, _Side] = {}
        self._objects: dict[str, dict[str, Any]] = {}
        self._notes: deque[str] = deque(maxlen=_MOST_NOTES)
        self._task: asyncio.Task[None] | None = None
        self._busy = asyncio.Lock()

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what the flanneldd would have logged as errors, oldest first (the last 1,000)."""
        return tuple(self._notes)

    async def start(self, plans: Iterable[NodePlan]) -> None:
        """Start flanneld on the nodes of ``plans``; their Node objects must exist."""
        await asyncio.gather(*(self._make_device(plan) for plan in plans))
        self._task = asyncio.create_task(self._follow(), name="lab-flanneld")

    async def stop(self) -> None:
        """Stop all of them; what they programmed stays, as it does in reality."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def add(self, plan: NodePlan) -> None:
        """Start flanneld on one more node; it reads all Nodes afresh."""
        await self._make_device(plan)
        await self._read_afresh(plan.name)

    def forget(self, name: str) -> None:
        """Stop flanneld on a node that is gone."""
        self._sides.pop(name, None)

    async def set_vtep_mac(self, name: str, macs: dict[Family, str]) -> None:
        """Restart flanneld on a node as after a reboot: new tunnel devices with ``macs``, published, all read afresh."""
        async with self._busy:
            side = self._sides.pop(name)
            await ip_batch(name, [f"link delete {DEVICES[family]}" for family in self._families])
        await self._make_device(side.plan, side.macs | macs)
        await self._read_afresh(name)

    def knows(self, name: str) -> frozenset[str]:
        """Return the Nodes that the flanneld on node ``name`` has programmed."""
        side = self._sides.get(name)
        return frozenset() if side is None else frozenset(lease.node for lease in side.leases.values())

    async def wait_until_meshed(self, *also: str, timeout: float = 10.0) -> None:
        """Wait until every node knows all the others (and the Nodes called ``also``); LabError naming who does not."""
        deadline = asyncio.get_running_loop().time() + timeout
        wanted = {*self._sides, *also}
        while missing := {name: sorted(wanted - {name} - self.knows(name)) for name in self._sides}:
            missing = {name: lacking for name, lacking in missing.items() if lacking}
            if not missing:
                return
            if asyncio.get_running_loop().time() > deadline:
                notes = "; ".join(self.notes[-3:]) or "nothing"
                raise LabError(f"flannel is not meshed after {timeout:g} s, missing: {missing}; it noted: {notes}")
            await asyncio.sleep(0.02)

    async def _read_afresh(self, name: str) -> None:
        async with self._busy:
            found = [lease for item in self._objects.values() if (lease := self._lease_of(item, note=False))]
            await self._program(self._sides[name], added=found)

    async def _make_device(self, plan: NodePlan, macs: dict[Family, str] | None = None) -> None:
        side = _Side(plan, macs or {family: vtep_mac(plan.index, family) for family in self._families})
        mtu = self._topology.underlay_mtu - 50
        lines = []
        for family in self._families:
            device, cidr = DEVICES[family], plan.pod_cidr(family)
            # The kernel lowers the MTU by 20 more where the outer packet is IPv6; flannel asks for the same in both.
            lines += [
                f"link add {device} address {side.macs[family]} mtu {mtu} type vxlan id {VNI} "
                f"local {plan.leg.address(family)} dev {plan.leg.name} dstport {PORT} nolearning",
                f"addr add {cidr.network_address}/{cidr.max_prefixlen} dev {device}"
                + (" nodad" if family == "ipv6" else ""),
                f"link set {device} up",
            ]
        await ip_batch(plan.name, lines)
        devices = [DEVICES[family] for family in self._families]
        await asyncio.to_thread(write_sysctls, plan.name, [(f"ipv6/conf/{one}/accept_ra", "0") for one in devices])
        if not self._topology.offloads:
            await asyncio.to_thread(offloads_off, plan.name, devices)
        self._sides[plan.name] = side
        await self._publish(side)

    async def _publish(self, side: _Side) -> None:
        publics = {family: side.plan.leg.address(family) for family in self._families}
        notes = annotations_for(publics, side.macs)
        await self._client.patch(f"/api/v1/nodes/{side.plan.name}", {"metadata": {"annotations": notes}})

    async def _follow(self) -> None:
        async for news in self._client.follow("/api/v1/nodes"):
            added: list[Lease] = []
            removed: list[Lease] = []
            async with self._busy:
                match news:
                    case Listed(items):
                        self._relisted(items, added, removed)
                    case Changed("DELETED", item):
                        self._gone(str(item["metadata"]["name"]), removed)
                    case Changed(_, item):
                        self._seen(item, added)
                if added or removed:
                    await self._program_all(added, removed)

    def _relisted(self, items: Iterable[dict[str, Any]], added: list[Lease], removed: list[Lease]) -> None:
        items = list(items)
        for name in set(self._objects) - {str(item["metadata"]["name"]) for item in items}:
            self._gone(name, removed)
        for item in items:
            self._seen(item, added)

    def _seen(self, item: dict[str, Any], added: list[Lease]) -> None:
        name = str(item["metadata"]["name"])
        before = self._objects.get(name)
        self._objects[name] = item
        if before is None or update_counts(before, item, self._families):
            lease = self._lease_of(item)
            if lease is not None:
                added.append(lease)

    def _gone(self, name: str, removed: list[Lease]) -> None:
        item = self._objects.pop(name, None)
        if item is not None and (lease := self._lease_of(item, note=False)) is not None:
            removed.append(lease)

    def _lease_of(self, item: dict[str, Any], *, note: bool = True) -> Lease | None:
        try:
            return read_node(item, self._families)
        except Ignored as ignored:
            if note and str(ignored):
                self._notes.append(str(ignored))
            return None

    async def _program_all(self, added: list[Lease], removed: list[Lease]) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(side: _Side) -> None:
            async with gate:
                try:
                    await self._program(side, added=added, removed=removed)
                except LabError as error:
                    # The node was unplugged in between; the other nodes' work goes on.
                    self._notes.append(f"{side.plan.name}: {error}")

        await asyncio.gather(*(one(side) for side in list(self._sides.values())))

    async def _program(self, side: _Side, *, added: Iterable[Lease] = (), removed: Iterable[Lease] = ()) -> None:
        own = tuple(side.plan.pod_cidr(family) for family in self._families)
        new = [lease for lease in added if lease.subnets != own]
        # flanneld removes with the values of the lease it holds for these subnets, not those of the deleted Node.
        old = [lease for gone in removed if (lease := side.leases.get(gone.subnets)) is not None]
        away = [remote for lease in old for remote in lease.remotes]
        here = [remote for lease in new for remote in lease.remotes]
        await self._batch(side, "ip", [f"neigh del {_gateway(one)} dev {_device(one)}" for one in away])
        await self._batch(side, "bridge", [f"fdb del {_entry(one)}" for one in away])
        await self._batch(side, "ip", [f"route del {one.subnet} dev {_device(one)}" for one in away])
        neighbours = [
            f"neigh replace {_gateway(one)} lladdr {one.mac} dev {_device(one)} nud permanent" for one in here
        ]
        routes = [f"route replace {one.subnet} via {_gateway(one)} dev {_device(one)} onlink" for one in here]
        await self._batch(side, "ip", neighbours)
        await self._batch(side, "bridge", [f"fdb replace {_entry(one)}" for one in here])
        await self._batch(side, "ip", routes)
        # Only now, so that who asks what a node knows is told what its kernel has.
        for lease in old:
            del side.leases[lease.subnets]
        side.leases.update({lease.subnets: lease for lease in new})

    async def _batch(self, side: _Side, tool: str, lines: list[str]) -> None:
        """Carry ``lines`` out, going on after a refusal as flanneld does, and note what was refused."""
        if not lines or side.plan.name not in self._sides:
            return
        argv = [tool, "-n", side.plan.name, "-force", "-batch", "-"]
        done: Output = await run(argv, text="\n".join(lines) + "\n", check=False)
        if done.status != 0:
            self._notes.extend(f"{side.plan.name}: {line}" for line in done.err.splitlines()[:20])


def _device(remote: Remote) -> str:
    return DEVICES[family_of(remote.subnet)]


def _gateway(remote: Remote) -> str:
    return str(remote.subnet.network_address)


def _entry(remote: Remote) -> str:
    return f"{remote.mac} dev {_device(remote)} dst {remote.public} self permanent"
