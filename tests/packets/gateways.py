"""A lab with several gateways, an agent on each, and the controller on a machine of its own.

The controller runs in the sandbox's root namespace, beside the API server: it reaches gateways over the underlay alone, so
either can be taken from it without taking the network from anybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from isthmus.errors import LabError
from isthmus.lab.joined import ISTHMUS, JoinedLab, run
from isthmus.lab.net.command import command_in
from isthmus.lab.net.command import run as command
from isthmus.lab.net.processes import Running
from isthmus.lab.net.segment import who_has
from isthmus.lab.net.topology import Address, GatewayPlan, Topology
from packets.joining import Rig, until

__all__ = ["OneOwner", "SeveralGateways", "SeveralRig", "several_gateways"]

_PORT = 7441


class SeveralGateways(JoinedLab):
    """Gateways gw1, gw2, … of one link, programmed by one controller through their agents."""

    def __init__(self, topology: Topology, path: str, *, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(topology, path, options=options)
        self.gateway_agents: dict[str, Running] = {}

    @property
    def plans(self) -> dict[str, GatewayPlan]:
        """Return the gateways by name."""
        return {plan.name: plan for plan in self.lab.topology.gateway_plans}

    def url(self, gateway: str) -> str:
        return f"https://{self.plans[gateway].under.address('ipv4')}:{_PORT}"

    def documents(self) -> dict[str, Any]:
        documents = super().documents()
        del documents["device.yaml"]
        documents["link.yaml"]["spec"]["devices"] = list(self.plans)
        for name, plan in self.plans.items():
            spec = {
                "driver": "linux",
                "tunnelAddresses": [str(address.ip) for address in plan.under.addresses],
                "linux": {"agent": {"url": self.url(name)}},
            }
            metadata = {"name": name}
            kind = {"apiVersion": "isthmus.dev/v1alpha1", "kind": "EdgeDevice"}
            documents[f"device-{name}.yaml"] = {**kind, "metadata": metadata, "spec": spec}
        return documents

    def agent_state(self, gateway: str) -> Path:
        return self.lab.directory / f"gateway-{gateway}"

    async def start_controller(self, *extra: str) -> Running:
        """Start ``isthmus controller`` on its own machine."""
        argv = (*ISTHMUS, "controller", "--config", str(self.config), "--state", str(self.state), *extra)
        self.controller = await self.lab.start_process("", argv, name="controller")
        return self.controller

    async def start_gateway(self, gateway: str) -> Running:
        """Start a gateway's agent and wait until it listens."""
        argv = (*ISTHMUS, "agent", "gateway", "--state", str(self.agent_state(gateway)), "--listen", f":{_PORT}")
        running = await self.lab.start_process(gateway, argv, name=f"agent-{gateway}")
        self.gateway_agents[gateway] = running
        await running.wait_for_log("gateway agent started")
        return running

    async def enrol(self, gateway: str) -> None:
        """Let the controller in at a gateway."""
        state = str(self.agent_state(gateway))
        token = await run((*ISTHMUS, "agent", "gateway", "token", "--state", state))
        directory = ("--directory", str(self.state / "gateways"))
        argv = (*ISTHMUS, "gateway", "enrol", gateway, "--url", self.url(gateway), *directory)
        await command(argv, text=token)

    async def join(self) -> None:
        self.state.mkdir(exist_ok=True)
        await asyncio.gather(*map(self.start_gateway, self.plans))
        await asyncio.gather(*map(self.enrol, self.plans))
        await super().join()

    # --- what happens to a gateway ------------------------------------------------------------------------------

    def signal(self, gateway: str, number: signal.Signals) -> None:
        """Send a signal to a gateway's agent: SIGKILL ends it, SIGSTOP makes it hang."""
        self.gateway_agents[gateway].send(number)

    async def power(self, gateway: str, *, on: bool) -> None:
        """Unplug a gateway from everything, or plug it in again; what its kernel holds goes on being held."""
        for link in ("front", "under"):
            leg = getattr(self.plans[gateway], link)
            await command_in("fabric", ["ip", "link", "set", leg.port, "up" if on else "down"])

    async def cut(self, gateway: str, *, off: bool = True) -> None:
        """Drop every packet between a gateway's agent and the controller, and nothing else."""
        rules = "add table inet cut\ndelete table inet cut\n"
        if off:
            rules += f"""
            table inet cut {{
                chain out {{ type filter hook output priority -300; tcp sport {_PORT} drop; }}
                chain in {{ type filter hook input priority -300; tcp dport {_PORT} drop; }}
            }}
            """
        await command_in(gateway, ["nft", "-f", "-"], text=rules)

    # --- what can be seen ---------------------------------------------------------------------------------------

    async def answering(self, vip: Address) -> tuple[str, ...]:
        """Return the gateways that answer for ``vip`` on the front segment, by name; by MAC if it is none of them."""
        names = {plan.front.mac: name for name, plan in self.plans.items()}
        return tuple(names.get(mac, mac) for mac in await who_has(self.lab.topology.client_near, vip))

    async def spread_routed(self) -> None:
        """Let the router spread the routed VIPs over all gateways, flow by flow."""
        await command_in("router", ["sysctl", "-qw", "net.ipv4.fib_multipath_hash_policy=1"])
        await command_in("router", ["sysctl", "-qw", "net.ipv6.fib_multipath_hash_policy=1"])
        await self.route_routed(tuple(self.plans))

    async def route_routed(self, gateways: tuple[str, ...]) -> None:
        """Let the router send the routed VIPs to ``gateways`` alone, as a routing protocol would."""
        for network in self.lab.topology.routed_vips:
            family = "ipv4" if network.version == 4 else "ipv6"
            hops = [
                word
                for name in gateways
                for word in ("nexthop", "via", str(self.plans[name].front.address(family)))  # type: ignore[arg-type]
            ]
            await command_in("router", ["ip", f"-{network.version}", "route", "replace", str(network), *hops])


class OneOwner:
    """Ask the segment all the time who has a VIP; leaving the block fails if ever two answered."""

    def __init__(self, rig: Rig, vip: Address) -> None:
        self._leg, self._vip = rig.lab.topology.client_near, vip
        self.asked = 0
        self.twice: list[tuple[str, ...]] = []

    async def __aenter__(self) -> OneOwner:
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stop.set()
        await self._task
        assert self.asked > 10, "somebody asked"
        assert self.twice == [], f"{self._vip} had two owners"

    async def _run(self) -> None:
        while not self._stop.is_set():
            answered = await who_has(self._leg, self._vip, window=0.05, tries=1)
            self.asked += 1
            if len(answered) > 1:
                self.twice.append(answered)


class SeveralRig(Rig):
    """A rig whose lab has several gateways."""

    joined: SeveralGateways

    async def in_sync(self, *gateways: str, timeout: float = 30) -> None:
        """Wait until the controller says that ``gateways`` (all by default) hold what they should."""
        wanted = gateways or tuple(self.joined.plans)

        async def holds() -> bool:
            status = (await self.status()).get("EdgeDevice", {})
            return all(status.get(name, {}).get("inSync") for name in wanted)

        try:
            await until(holds, timeout=timeout, pause=0.1)
        except LabError as error:
            raise LabError(f"{error}; the status is {await self.status()}; log: {self.log()[-3000:]}") from error

    async def start_again(self) -> list[str]:
        """Start a controller after a crash, and return what it has written to any gateway three seconds after it knew all."""
        running = await self.joined.start_controller()
        await running.wait_for_log('"endpointslices"', timeout=20)
        await asyncio.sleep(3)  # the window in which it would write; there is nothing else to wait for
        await self.in_sync()
        return [line for line in running.read_log().splitlines() if '"plan applied"' in line]


@contextlib.asynccontextmanager
async def several_gateways(path: str, *, gateways: int = 2, **numbers: Any) -> AsyncIterator[SeveralRig]:
    """Build a lab of ``gateways``, join it by ``path``, and wait until each gateway is in sync."""
    options = numbers.pop("options", None)
    topology = Topology(cni="flannel" if path == "flannel" else "none", gateways=gateways, **numbers)
    async with SeveralGateways(topology, path, options=options) as joined:
        rig = SeveralRig(joined)
        await joined.join()
        await rig.in_sync()
        yield rig
