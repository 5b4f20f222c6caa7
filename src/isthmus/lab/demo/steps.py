"""What the demo shows: each step does one thing to the lab and returns what was seen of it.

A step never asks Isthmus whether it did its work if a packet or the kernel can tell; where it must (restarts, conflicts) it
asks as a user does, with the command line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address

from isthmus.errors import LabError
from isthmus.lab.joined import GATEWAY, JoinedLab, until
from isthmus.lab.net.clients import fetch
from isthmus.lab.net.matrix import spread
from isthmus.lab.net.nodes import Workload
from isthmus.lab.net.pods import HTTP_PORT
from isthmus.lab.net.topology import CLIENT_FAR, CLIENT_NEAR, Address

SERVICE = "web"
FOREIGN = "10.250.0.0/24"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to show: a title, and what does it and returns what was seen."""

    title: str
    do: Callable[[Story], Awaitable[str]]


class Story:
    """The demo's lab and what its steps remember of one another."""

    def __init__(self, joined: JoinedLab) -> None:
        self.joined = joined
        self.vip: Address = ip_address("0.0.0.0")
        self.pods = [pod.name for pod in joined.lab.network.pods]

    # --- joining ------------------------------------------------------------------------------------------------

    async def join(self) -> str:
        await self.joined.join()
        seconds = await until(self._all_pods, timeout=20, pause=0.05)
        count = len(self.joined.lab.network.pods)
        return f"{count} of {count} pods answer {GATEWAY}, {seconds:.1f} s after the controller's start"

    async def serve(self) -> str:
        lab = self.joined.lab
        await lab.publish(Workload(name=SERVICE, pods=dict.fromkeys(self.pods, "ready")))
        shown = await self.joined.vip_of(SERVICE)
        self.vip = ip_address(shown[0])

        async def answers() -> bool:
            return (await fetch(CLIENT_NEAR, self.vip, 80, timeout=0.3)).ok

        seconds = await until(answers, timeout=10)
        return f"Service {SERVICE} has {self.vip}; the first answer came {1000 * seconds:.0f} ms later"

    async def near(self) -> str:
        return await self._thirty(CLIENT_NEAR)

    async def far(self) -> str:
        return await self._thirty(CLIENT_FAR)

    async def _thirty(self, client: str) -> str:
        found = await spread(client, self.vip, 80, requests=30)
        counts = sorted(found.pods.values())
        if not found.ok or counts != [10, 10, 10]:
            raise LabError(f"answers by pod: {dict(found.pods)}, failures: {dict(found.failures)}")
        return f"{'/'.join(str(count) for count in counts)} from {', '.join(sorted(found.pods))}"

    # --- nodes come, change and go ------------------------------------------------------------------------------

    async def node_joins(self) -> str:
        lab = self.joined.lab
        plan = await lab.add_node()
        pod = plan.pods[0]

        async def answers() -> bool:
            return (await fetch(GATEWAY, pod.address("ipv4"), HTTP_PORT, timeout=0.3)).ok

        seconds = await until(answers, timeout=10, pause=0.005)
        return f"{plan.name}: {pod.name} answers {1000 * seconds:.0f} ms after its Node was registered"

    async def mac_changes(self) -> str:
        lab = self.joined.lab
        node = lab.network.nodes["node2"]
        pod = node.pods[0]
        new = "02:00:00:0b:ad:02"
        await lab.flanneld.set_vtep_mac(node.name, {"ipv4": new})

        async def followed() -> bool:
            entries = await self.joined.ip("-o", "neigh", "show")
            reached = await fetch(GATEWAY, pod.address("ipv4"), HTTP_PORT, timeout=0.3)
            return new in entries and reached.ok

        seconds = await until(followed, timeout=10)
        return f"{node.name} is {new} now; {pod.name} answers again after {1000 * seconds:.0f} ms"

    async def node_leaves(self) -> str:
        lab = self.joined.lab
        name = max(lab.network.nodes, key=lambda node: lab.network.nodes[node].index)
        prefix = str(lab.network.nodes[name].pod_cidr("ipv4"))
        await lab.remove_node(name)

        async def gone() -> bool:
            return prefix not in await self.joined.ip("route", "show")

        seconds = await until(gone, timeout=10)
        await self._thirty(CLIENT_NEAR)
        return f"{name}: its route is gone after {1000 * seconds:.0f} ms; the Service answers 30 of 30"

    # --- what must not happen -----------------------------------------------------------------------------------

    async def restart(self) -> str:
        watches = [
            await self.joined.lab.start_process(GATEWAY, argv, name=name)
            for name, argv in (
                ("watch-ip", ("ip", "-o", "monitor", "link", "address", "route")),
                ("watch-nft", ("nft", "monitor")),
            )
        ]
        await self.joined.stop_controller()
        await self.joined.start_controller()
        await self.joined.until_status(
            lambda status: (
                status["Controller"]["controller"]["running"] is True
                and status["EdgeDevice"][GATEWAY].get("inSync") is True
                and status["KubeCluster"]["lab"].get("inSync") is True
            ),
        )
        status = await self.joined.status()
        writes = status["EdgeDevice"][GATEWAY]["writes"]
        seen = [line for watch in watches for line in watch.read_log().splitlines() if line.strip()]
        for watch in watches:
            await watch.stop()
        if writes or seen:
            raise LabError(f"{writes} writes; the kernel reported {len(seen)} changes: {seen[:3]}")
        await self._thirty(CLIENT_FAR)
        return "0 writes, 0 changes in the kernel; the Service answers 30 of 30"

    async def foreign(self) -> str:
        lab = self.joined.lab
        under = lab.topology.control.address("ipv4")
        newcomer = lab.topology.node(9)
        taken = str(newcomer.pod_cidr("ipv4"))
        for prefix in (FOREIGN, taken):
            await self.joined.ip("route", "add", prefix, "via", str(under), "proto", "static")
        before = [await self.joined.ip("route", "show", prefix) for prefix in (FOREIGN, taken)]
        await lab.add_node(9)
        await self.joined.until_status(
            lambda status: any(taken in text for text in status["EdgeDevice"][GATEWAY].get("conflicts", ()))
        )
        after = [await self.joined.ip("route", "show", prefix) for prefix in (FOREIGN, taken)]
        if before != after:
            raise LabError(f"the foreign routes were {before}, they are {after}")
        await self.joined.ip("route", "del", taken, "proto", "static")

        async def ours() -> bool:
            return (await fetch(GATEWAY, newcomer.pods[0].address("ipv4"), HTTP_PORT, timeout=0.3)).ok

        seconds = await until(ours, timeout=10)
        await self.joined.ip("route", "del", FOREIGN)
        return f"both left alone, {taken} reported; ours {1000 * seconds:.0f} ms after the other went"

    async def heals(self) -> str:
        lab = self.joined.lab
        node = lab.network.nodes["node1"]
        await self.joined.ip("route", "del", str(node.pod_cidr("ipv4")))

        async def back() -> bool:
            return (await fetch(GATEWAY, node.pods[0].address("ipv4"), HTTP_PORT, timeout=0.3)).ok

        seconds = await until(back, timeout=10)
        return f"{node.name}'s route is back after {1000 * seconds:.0f} ms"

    async def _all_pods(self) -> bool:
        pods = self.joined.lab.network.pods
        answers = await asyncio.gather(
            *(
                fetch(GATEWAY, pod.address(family), HTTP_PORT, timeout=0.4)
                for pod in pods
                for family in self.joined.lab.topology.families
            )
        )
        return all(answer.ok for answer in answers)


STEPS = (
    Step("the controller joins cluster and gateway", Story.join),
    Step("a Service gets its address", Story.serve),
    Step("30 requests from the VIP's own segment", Story.near),
    Step("30 requests from behind a router", Story.far),
    Step("a node joins", Story.node_joins),
    Step("a node's VTEP MAC changes", Story.mac_changes),
    Step("a node leaves", Story.node_leaves),
    Step("the controller restarts", Story.restart),
    Step("somebody else's routes", Story.foreign),
    Step("a route is deleted by hand", Story.heals),
)
