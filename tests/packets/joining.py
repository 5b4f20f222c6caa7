"""A joined lab as packet tests use it: what a cluster, an operator and a passer-by do, and what can be seen of it.

Everything is asked of the network, the kernel or the state directory's status; decisions are never looked into. The one
confusing thing: :meth:`Rig.status` reads the state directory in this process, which is what ``isthmus status`` does in
its own; a process a poll would keep a small machine busy with starting interpreters.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from isthmus.errors import LabError, StateError
from isthmus.lab.joined import GATEWAY, LINK, JoinedLab, until
from isthmus.lab.net.clients import fetch
from isthmus.lab.net.command import command_in, ip_batch
from isthmus.lab.net.lab import Lab, ServesKube
from isthmus.lab.net.nodes import State, Workload
from isthmus.lab.net.pods import HTTP_PORT
from isthmus.lab.net.processes import Running
from isthmus.lab.net.topology import CLIENT_FAR, CLIENT_NEAR, Address, Family, Topology, family_of
from isthmus.lab.remote import RemoteLab
from isthmus.registry.state import StateDirectory

__all__ = ["CLIENT_FAR", "CLIENT_NEAR", "GATEWAY", "LINK", "Rig", "eventually", "joined_lab", "until"]

POD_CIDRS = "isthmus.dev/pod-cidrs"


class Rig:
    """A joined lab, and short words for what tests do to it."""

    def __init__(self, joined: JoinedLab) -> None:
        self.joined = joined

    @property
    def lab(self) -> Lab:
        """Return the lab underneath."""
        return self.joined.lab

    @property
    def gateway(self) -> str:
        """Return the namespace and name of the (first) gateway."""
        return self.joined.gateway

    @property
    def families(self) -> tuple[Family, ...]:
        """Return the lab's IP versions."""
        return self.lab.topology.families

    # --- Services -----------------------------------------------------------------------------------------------

    async def serve(
        self, name: str = "web", *, nodes: Sequence[str] | None = None, families: Sequence[Family] = (), **spec: Any
    ) -> list[Address]:
        """Publish a Service over all pods (on ``nodes``), wait until its addresses answer, and return them."""
        workload = self.workload(name, nodes=nodes, families=families, **spec)
        await self.lab.publish(workload)
        vips = await self.vips(name)
        if any(protocol == "TCP" for _, protocol in workload.ports):
            for vip in vips:
                await self.answers(vip, workload.ports[0][0])
        return vips

    def workload(
        self,
        name: str = "web",
        *,
        nodes: Sequence[str] | None = None,
        families: Sequence[Family] = (),
        state: State = "ready",
        **spec: Any,
    ) -> Workload:
        """Return a workload over all pods (on ``nodes``), in the lab's families unless some are named."""
        chosen = tuple(families) or self.families
        return Workload(name=name, pods=dict.fromkeys(self.lab.pod_names(nodes), state), families=chosen, **spec)

    async def vips(self, name: str) -> list[Address]:
        """Wait until a Service shows its addresses, and return them."""
        return [ip_address(text) for text in await self.joined.vip_of(name)]

    async def answers(self, vip: Address, port: int = 80, *, client: str = CLIENT_NEAR, timeout: float = 10) -> float:
        """Wait until ``vip`` answers ``client`` and return how many seconds that took."""

        async def one() -> bool:
            return (await fetch(client, vip, port, timeout=0.3)).ok

        return await until(one, timeout=timeout)

    async def service_condition(self, name: str) -> dict[str, Any]:
        """Return our condition in a Service's status, empty if it has none."""
        item = await self.lab.client.get(f"/api/v1/namespaces/default/services/{name}")
        found = item.get("status", {}).get("conditions") or []
        return next((dict(one) for one in found if one["type"] == "isthmus.dev/Served"), {})

    async def until_condition(self, name: str, reason: str, *, timeout: float = 10) -> dict[str, Any]:
        """Wait until our condition of a Service has ``reason``, and return it."""

        async def holds() -> bool:
            return (await self.service_condition(name)).get("reason") == reason

        await until(holds, timeout=timeout, pause=0.05)
        return await self.service_condition(name)

    # --- pods and nodes -----------------------------------------------------------------------------------------

    async def reached(self, nodes: Sequence[str] | None = None, *, timeout: float = 20) -> float:
        """Wait until the gateway reaches every address of every pod (on ``nodes``); return how many seconds it took."""
        pods = [pod for pod in self.lab.network.pods if nodes is None or pod.node in nodes]
        loop = asyncio.get_running_loop()
        began = loop.time()
        for pod in pods:
            for address in pod.addresses:

                async def answers(where: Address = address.ip, who: str = pod.name) -> bool:
                    return (await fetch(self.gateway, where, HTTP_PORT, timeout=0.4)).pod == who

                await until(answers, timeout=max(0.5, timeout - (loop.time() - began)))
        return loop.time() - began

    async def pod_answers(self, node: str, *, family: Family | None = None, timeout: float = 0.4) -> bool:
        """Say whether the first pod on ``node`` answers the gateway."""
        pod = self.lab.network.nodes[node].pods[0]
        return (await fetch(self.gateway, pod.address(family or self.families[0]), HTTP_PORT, timeout=timeout)).ok

    async def routes(self) -> str:
        """Return the gateway's main table, both families."""
        return (await self.ip("-4", "route")) + (await self.ip("-6", "route"))

    async def ip(self, *arguments: str, where: str = "") -> str:
        """Run ``ip`` in a namespace."""
        return (await command_in(where or self.gateway, ["ip", *arguments])).out

    async def bridge(self, where: str = "") -> str:
        """Return the forwarding entries of a namespace."""
        return (await command_in(where or self.gateway, ["bridge", "fdb", "show"])).out

    async def nft(self, *arguments: str, where: str = "") -> str:
        """Run ``nft`` in a namespace."""
        return (await command_in(where or self.gateway, ["nft", *arguments])).out

    async def until_gone(self, text: str, *, timeout: float = 10) -> float:
        """Wait until the gateway's routes do not mention ``text``."""

        async def gone() -> bool:
            return text not in await self.routes()

        return await until(gone, timeout=timeout)

    # --- status -------------------------------------------------------------------------------------------------

    async def status(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return what ``isthmus status`` shows: objects by kind and name; empty before there is any."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        try:
            with StateDirectory.read(self.joined.state) as reader:
                for (kind, name), entry in reader.read_status().items():
                    found.setdefault(kind, {})[name] = dict(entry.value)
        except StateError:
            return {}
        return found

    async def of(self, kind: str, name: str = "lab") -> dict[str, Any]:
        """Return the status of one object, empty if there is none."""
        return (await self.status()).get(kind, {}).get(name, {})

    async def until(
        self, kind: str, name: str, true: Callable[[Mapping[str, Any]], object], *, timeout: float = 15
    ) -> dict[str, Any]:
        """Wait until the status of one object satisfies ``true`` and return it; LabError with the last one if not."""
        last: dict[str, Any] = {}

        async def holds() -> bool:
            nonlocal last
            last = await self.of(kind, name)
            return bool(last) and bool(true(last))

        try:
            await until(holds, timeout=timeout, pause=0.05)
        except LabError as error:
            raise LabError(f"{kind} {name}: {error}; its status is {last}; log: {self.log()[-3000:]}") from error
        return last

    async def device(self, true: Callable[[Mapping[str, Any]], object], *, timeout: float = 15) -> dict[str, Any]:
        """Wait until the gateway's status satisfies ``true``."""
        return await self.until("EdgeDevice", self.gateway, true, timeout=timeout)

    def log(self) -> str:
        """Return the end of the running controller's log."""
        return self.joined.controller.read_log() if self.joined.controller is not None else ""

    # --- the controller -----------------------------------------------------------------------------------------

    async def start(self, *extra: str) -> Running:
        """Start the controller and wait until it has made a pass with everything known."""
        running = await self.joined.start_controller(*extra)
        await self.settled()
        return running

    async def settled(self, *, timeout: float = 15) -> dict[str, Any]:
        """Wait until the running controller knows the cluster and the gateway is in sync; return the gateway's status."""
        last: dict[str, Any] = {}

        async def holds() -> bool:
            nonlocal last
            last = await self.status()
            wanted = (("Controller", "controller", "running"), ("KubeCluster", "lab", "inSync"))
            return all(
                last.get(kind, {}).get(name, {}).get(word)
                for kind, name, word in (*wanted, ("EdgeDevice", self.gateway, "inSync"))
            )

        try:
            await until(holds, timeout=timeout, pause=0.05)
        except LabError as error:
            raise LabError(f"not settled: {error}; the status is {last}; log: {self.log()[-3000:]}") from error
        found: dict[str, Any] = last["EdgeDevice"][self.gateway]
        return found

    async def restart(self) -> dict[str, Any]:
        """Stop and start the controller in good order; return the device's status once it has settled."""
        await self.joined.stop_controller()
        await self.joined.start_controller()
        return await self.settled()

    async def crash(self) -> None:
        """Kill the controller as a power cut would."""
        running = self.joined.controller
        assert running is not None, "it runs"
        running.process.kill()
        await running.process.wait()
        self.joined.controller = None

    # --- the API server -----------------------------------------------------------------------------------------

    async def cut_api(self) -> None:
        """Make the API unreachable from the gateway, as a pulled cable would; what is under way falls silent."""
        await command_in(self.gateway, ["nft", "-f", "-"], text=_CUT)

    async def mend_api(self) -> None:
        """Let the gateway reach the API again; it does not matter if it could."""
        await command_in(self.gateway, ["nft", "-f", "-"], text="add table inet cut\ndelete table inet cut\n")

    # --- what somebody else does --------------------------------------------------------------------------------

    async def wipe_gateway(self) -> None:
        """Take from the gateway all that a reboot takes: our links, routes, addresses and the nft table."""
        links = [line.split(":")[1].split("@")[0].strip() for line in (await self.ip("-o", "link")).splitlines()]
        lines = [f"link del {name}" for name in links if name not in ("lo", "front", "under")]
        await ip_batch(self.gateway, lines)
        for version in ("-4", "-6"):
            await self.ip(version, "route", "flush", "proto", "200")
        for link in ("lo", "front", "under"):
            for line in (await self.ip("-o", "addr", "show", "dev", link)).splitlines():
                address = line.split()[3]
                if address.endswith(("/32", "/128")) and not address.startswith(("127.", "::1", "fe80")):
                    await self.ip("addr", "del", address, "dev", link)
        await command_in(self.gateway, ["nft", "delete", "table", "inet", "isthmus_main"])


_CUT = """
table inet cut {
    chain out { type filter hook output priority -300; tcp dport 6443 drop; }
    chain in { type filter hook input priority -300; tcp sport 6443 drop; }
}
"""


@contextlib.asynccontextmanager
async def joined_lab(
    path: str,
    *,
    join: bool = True,
    options: Mapping[str, Any] | None = None,
    more_cidrs: bool = False,
    remote: bool = False,
    api: ServesKube | None = None,
    **numbers: Any,
) -> AsyncIterator[Rig]:
    """Build a lab, join it by ``path`` and wait until every pod is reached; ``numbers`` are the topology's.

    ``remote`` has the controller away from the gateways, with an agent on each.
    """
    numbers.setdefault("cni", "flannel" if path == "flannel" else "none")
    own = {word: numbers.pop(word) for word in ("netscaler", "on_nodes") if word in numbers}
    made = (RemoteLab if remote else JoinedLab)(Topology(**numbers), path, options=options, api=api, **own)
    async with made as joined:
        rig = Rig(joined)
        if more_cidrs:
            for plan in joined.lab.network.nodes.values():
                others = [str(one) for one in plan.pod_cidrs if one != plan.pod_cidr(family_of(one))]
                await joined.lab.cluster.annotate(plan.name, {POD_CIDRS: ", ".join(others)})
        if join:
            await joined.join()
            # With policy routes only their sources reach anybody, and whoever asks on the device itself is none of them.
            if "policyRoutes" not in (options or {}):
                await rig.reached(timeout=30)
        yield rig


async def eventually(true: Callable[[], Awaitable[bool]], what: str, *, timeout: float = 10) -> float:
    """Wait until ``true()``; LabError that says ``what`` was waited for if it does not come."""
    try:
        return await until(true, timeout=timeout, pause=0.05)
    except LabError as error:
        raise LabError(f"{what}: {error}") from error
