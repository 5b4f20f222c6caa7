"""Wires the node agent: its cluster, the host's own Linux driver, and a file that outlives a reboot."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from isthmus import metrics
from isthmus.agents.node import NodeAgent
from isthmus.app.memory import recorded
from isthmus.drivers.linux.driver import LinuxDriver
from isthmus.errors import StateError
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import in_cluster
from isthmus.kube.kubeconfig import load
from isthmus.loop.timed import timed
from isthmus.model.plain import to_builtins
from isthmus.model.resources import AnyResource
from isthmus.registry.state import StateDirectory
from isthmus.web.address import Address
from isthmus.web.health import serving


class Kept:
    """The last applied state of the one ``device`` that an agent has, in its state directory."""

    def __init__(self, state: StateDirectory, device: str) -> None:
        self._state = state
        self._device = device

    async def load(self) -> list[AnyResource]:
        """Return what was saved last; nothing if it is damaged."""
        try:
            return [resource for resource, _ in recorded(await self._state.read_applied(self._device))]
        except StateError:
            return []  # damaged: the API says soon enough what should be

    async def save(self, resources: list[AnyResource]) -> None:
        """Keep ``resources``; they are on disk when this returns."""
        await self._state.write_applied(self._device, [[to_builtins(resource), []] for resource in resources])


async def run_node_agent(
    node: str,
    *,
    kubeconfig: Path | None,
    state: Path,
    installation: str,
    protocol: int,
    stop: asyncio.Event,
    clean: bool = False,
    listen: Address | None = None,
) -> int:
    """Run the agent of ``node`` until ``stop`` is set; with ``clean``, only remove what is ours and return how much."""
    connection = load(kubeconfig, None) if kubeconfig is not None else in_cluster()
    driver = timed(LinuxDriver(installation=installation, protocol=protocol), "node")
    async with StateDirectory(state) as opened, KubeClient(connection) as client, AsyncExitStack() as stack:
        agent = NodeAgent(node, client, driver, Kept(opened, "node"))
        try:
            if clean:
                return await agent.clean()
            stack.enter_context(metrics.shown(agent.readings))
            await stack.enter_async_context(serving(listen, agent))
            running, stopping = asyncio.create_task(agent.run()), asyncio.create_task(stop.wait())
            done, pending = await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            for task in done:
                task.result()
            return 0
        finally:
            await driver.close()
