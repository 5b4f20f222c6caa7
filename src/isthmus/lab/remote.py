"""A lab whose controller is away from its gateways: an agent on each gateway, the controller in the sandbox's root.

It is set up as a user would: a token from each agent, an enrolment with it on the controller's side, and a device that names
the agent's address. The controller shares no namespace with any gateway; what it does there goes over HTTPS on the underlay.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from isthmus.errors import LabError
from isthmus.lab.joined import ISTHMUS, JoinedLab
from isthmus.lab.net.command import inside
from isthmus.lab.net.lab import ServesKube
from isthmus.lab.net.processes import Running
from isthmus.lab.net.topology import Topology

__all__ = ["RemoteLab"]

PORT = 7441


class RemoteLab(JoinedLab):
    """A joined lab with an agent on every gateway; ``gateways`` holds those that run, by gateway."""

    def __init__(
        self,
        topology: Topology,
        path: str,
        *,
        pools: bool = True,
        options: Mapping[str, Any] | None = None,
        api: ServesKube | None = None,
    ) -> None:
        super().__init__(topology, path, pools=pools, options=options, api=api)
        self.seat = ""
        self.gateways: dict[str, Running] = {}
        self._names = [plan.name for plan in topology.gateway_plans]

    def documents(self) -> dict[str, Any]:
        """Return the user's objects: a device for each gateway, all of them on the link."""
        found = super().documents()
        device = found.pop("device.yaml")
        for plan in self.lab.topology.gateway_plans:
            spec = {
                **device["spec"],
                "tunnelAddresses": [str(address.ip) for address in plan.under.addresses],
                "linux": {"agent": {"url": self.url(plan.name)}},
            }
            found[f"device-{plan.name}.yaml"] = {**device, "metadata": {"name": plan.name}, "spec": spec}
        found["link.yaml"]["spec"]["devices"] = self._names
        return found

    def url(self, gateway: str) -> str:
        """Return where the agent on ``gateway`` listens: at its address on the underlay."""
        plan = next(plan for plan in self.lab.topology.gateway_plans if plan.name == gateway)
        address = plan.under.addresses[0].ip
        return f"https://[{address}]:{PORT}" if address.version == 6 else f"https://{address}:{PORT}"

    async def start_gateway(self, name: str) -> Running:
        """Start ``isthmus agent gateway`` on a gateway, and wait until it listens."""
        state = self.lab.directory / f"gateway-{name}"
        argv = (*ISTHMUS, "agent", "gateway", "--state", str(state), "--listen", f":{PORT}")
        running = await self.lab.start_process(name, argv, name=f"gateway-{name}")
        await running.wait_for_log("gateway agent started", timeout=20)
        self.gateways[name] = running
        return running

    async def enrol(self, gateway: str) -> None:
        """Let the controller in at ``gateway``: a token there, an enrolment here."""
        state = self.lab.directory / f"gateway-{gateway}"
        token = await self._run(gateway, "agent", "gateway", "token", "--state", str(state))
        directory = self.state / "gateways"
        arguments = ("gateway", "enrol", gateway, "--url", self.url(gateway), "--directory", str(directory))
        await self._run(self.seat, *arguments, "--name", "lab", said=token)

    async def join(self) -> None:
        """Start the agents and let the controller in at each, then start it as in any lab."""
        await asyncio.gather(*(self.start_gateway(name) for name in self._names))
        for name in self._names:
            await self.enrol(name)
        await super().join()

    async def _run(self, namespace: str, *arguments: str, said: str = "") -> str:
        process = await asyncio.create_subprocess_exec(
            *inside(namespace, [sys.executable, "-m", "isthmus", *arguments]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(said.encode())
        if process.returncode:
            raise LabError(f"isthmus {' '.join(arguments)}: {err.decode().strip()}")
        return out.decode()
