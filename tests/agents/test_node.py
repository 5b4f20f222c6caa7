"""The agent on a node: it realises what its own Node says, and takes nothing away that nobody told it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from app.home.rig import holds, until
from isthmus.agents.node import PREFIX, NodeAgent
from isthmus.core.attachment import Attachment, Peer
from isthmus.core.ipip import TROUBLE
from isthmus.drivers.memory import MemoryDriver, raise_error, refuse
from isthmus.errors import StateError
from isthmus.kube.client import KubeClient
from isthmus.kube.kubeconfig import load
from isthmus.lab.kube import KubeApi
from isthmus.model.facts import DeviceFacts, Interface
from isthmus.model.resources import AnyResource

FACTS = DeviceFacts((Interface("eth0", "02:00:00:00:00:01", 1500, (ip_interface("192.0.2.11/24"),)),))
TUNNEL = "tunnel isth7700"
KEY = f"{PREFIX}main"


def attached(address: str = "10.200.0.1/24", mac: str = "02:00:00:00:00:07") -> str:
    """Return an annotation."""
    peer = Peer("gw1", ip_address("192.0.2.1"), "02:00:00:00:00:99", (ip_address("10.200.0.254"),))
    return Attachment((ip_interface(address),), mac, 7700, 4790, 1450, (peer,)).render()


class Disk:
    """A memory that can be full."""

    def __init__(self) -> None:
        self.held: list[AnyResource] = []
        self.full = False

    async def load(self) -> list[AnyResource]:
        return self.held

    async def save(self, resources: list[AnyResource]) -> None:
        if self.full:
            raise StateError("the disk is full")
        self.held = list(resources)

    def identities(self) -> set[str]:
        return {resource.identity for resource in self.held}


class Host:
    """A host, its disk, and the cluster it is a node of."""

    def __init__(self, api: KubeApi, kubeconfig: Any) -> None:
        self.api = api
        self.kubeconfig = kubeconfig
        self.driver = MemoryDriver(facts=FACTS)
        self.disk = Disk()

    def says(self, text: str | None, *, address: str | None = "192.0.2.11", name: str = "n1") -> None:
        """Have the Node say ``text`` in its annotation."""
        self.api.put(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "annotations": {} if text is None else {KEY: text}},
                "status": {"addresses": [{"type": "InternalIP", "address": address}] if address else []},
            }
        )

    @property
    def stands(self) -> set[str]:
        return set(self.driver.resources)

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[asyncio.Task[None]]:
        """Run the agent of node ``n1``."""
        async with KubeClient(load(self.kubeconfig)) as client:
            task = asyncio.create_task(NodeAgent("n1", client, self.driver, self.disk).run())
            try:
                yield task
                assert not task.done(), "an agent runs until it is told to stop"
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    api = KubeApi(tls=False)
    async with api.serving() as endpoint:
        yield Host(api, endpoint.kubeconfig_path)


async def test_it_realises_what_its_node_says(host: Host) -> None:
    """The annotation is a tunnel with an address, the devices' entries and a filter; without it all of that goes."""
    host.says(attached())
    async with host.agent():
        await until(lambda: host.stands == host.disk.identities() != set())
        assert {TUNNEL, "fdb isth7700 02:00:00:00:00:99", "neighbor isth7700 10.200.0.254"} <= host.stands
        host.says(attached("10.200.0.2/24"))
        await until(lambda: "source 10.200.0.2" in host.stands and "source 10.200.0.1" not in host.stands)
        host.says(None)
        await until(lambda: not host.stands)
        await until(lambda: not host.disk.held)


async def test_it_has_a_rule_per_network_of_direct_return(host: Host) -> None:
    """What the annotation says of direct return stands on the tunnel, and goes with it."""
    peer = Peer("gw1", ip_address("192.0.2.1"), "02:00:00:00:00:99", (ip_address("10.200.0.254"),))
    ranges = (ip_network("203.0.113.0/24"), ip_network("2001:db8:cafe::/64"))
    place = (ip_interface("10.200.0.1/24"),), "02:00:00:00:00:07", 7700, 4790, 1450, (peer,)
    rules = {f"direct-return isth7700 {network}" for network in ranges}
    host.says(Attachment(*place, direct_return=ranges).render())
    async with host.agent():
        await until(lambda: rules <= host.stands)
        host.says(Attachment(*place).render())
        await until(lambda: not rules & host.stands and TUNNEL in host.stands)


async def test_by_ip_in_ip_it_has_a_tunnel_per_device_or_says_why_not(host: Host) -> None:
    """A tunnel to the device and the way back; what the kernel cannot have is said on the Node until it can, or need not."""
    peer = Peer("gw1", ip_address("192.0.2.1"), "02:00:00:00:00:99", (ip_address("10.200.0.254"),))
    text = Attachment(
        (ip_interface("10.200.0.1/24"),), "02:00:00:00:00:07", 7700, 7700, 1480, (peer,), "ipip"
    ).render()

    def trouble() -> str:
        return str(host.api.get("nodes", "n1")["metadata"].get("annotations", {}).get(TROUBLE, ""))

    no = refuse("this kernel has no IP-in-IP tunnels", identity="tunnel isthic0000201")
    host.driver.fail_next(*[no] * 20)
    host.says(text)
    async with host.agent():
        await until(lambda: trouble() == "tunnel isthic0000201: this kernel has no IP-in-IP tunnels")
        host.driver._faults.clear()
        host.driver.lose("route 10.200.0.254/32")  # anything that makes it look again
        await until(lambda: host.stands == {"tunnel isthic0000201", "route 10.200.0.254/32"})
        await until(lambda: not trouble())


async def test_it_is_ready_once_it_knows_its_node(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before the Node was read, not without one, and not when nothing proves any more that its watch lives."""
    async with KubeClient(load(host.kubeconfig)) as client:
        agent = NodeAgent("n1", client, host.driver, host.disk)
        assert agent.unseen() == ["Node n1 has not been read yet"]
        task = asyncio.create_task(agent.run())
        try:
            await until(lambda: agent.unseen() == ["the cluster has no Node n1 (is --node right?)"])
            host.says(attached())
            await until(lambda: not agent.unseen())
            assert [value for family, _, value in agent.readings() if family.name == "isthmus_ready"] == [1.0]
            monkeypatch.setattr("isthmus.agents.node.BLIND", -1.0)
            assert "the watch of Node n1 is dead" in agent.unseen()[0]
            assert not agent.ailments()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_restart_in_sync_writes_nothing(host: Host) -> None:
    """An agent that starts on a host as it should be changes nothing."""
    host.says(attached())
    async with host.agent():
        await until(lambda: host.stands == host.disk.identities() != set())
    writes = host.driver.writes
    async with host.agent():
        await holds(lambda: host.driver.writes == writes, 0.3)


@pytest.mark.parametrize(
    ("text", "address"),
    [("{", "192.0.2.11"), ('{"addresses": ["10.200.0.1/24"]}', "192.0.2.11"), (attached("10.200.0.9/24"), None)],
    ids=["no-json", "half", "no-address"],
)
async def test_what_cannot_be_read_takes_nothing_away(host: Host, text: str, address: str | None) -> None:
    """An annotation that does not parse, or a Node that has lost its address for a moment, is no order to remove."""
    host.says(attached())
    async with host.agent():
        await until(lambda: host.stands == host.disk.identities() != set())
        before = set(host.stands)
        host.says(text, address=address)
        await holds(lambda: host.stands == before, 0.4)
        assert host.disk.identities() == before
        host.says(None)
        await until(lambda: not host.stands)


async def test_a_cluster_that_does_not_know_the_node_takes_nothing_away(host: Host) -> None:
    """At start a Node that is not there is a wrong name or another cluster; one that goes later is gone."""
    host.says(attached())
    async with host.agent():
        await until(lambda: host.stands == host.disk.identities() != set())
    before = set(host.stands)
    host.says(None, name="somebody-else")
    host.api.delete("nodes", "n1")
    async with host.agent():
        await holds(lambda: host.stands == before, 0.4)
        host.says(attached())
        await until(lambda: host.stands == before)
        host.api.delete("nodes", "n1")
        await until(lambda: not host.stands)


async def test_a_reboot_brings_back_what_stood(host: Host) -> None:
    """After a reboot the last known state stands before the cluster was reached."""
    host.says(attached())
    async with host.agent():
        await until(lambda: host.stands == host.disk.identities() != set())
    before = set(host.stands)
    host.driver.resources.clear()
    host.api.faults.fail_next(100_000)
    async with host.agent():
        await until(lambda: host.stands == before)


async def test_a_full_disk_and_a_refusing_host_are_waited_for(host: Host) -> None:
    """An agent neither ends nor forgets to remember when its disk or its host fails for a while."""
    host.disk.full = True
    host.driver.fail_next(raise_error(), raise_error())
    host.says(attached())
    async with host.agent():
        await until(lambda: TUNNEL in host.stands)
        host.disk.full = False
        await until(lambda: host.disk.identities() == host.stands)


async def test_a_host_on_no_overlay_is_not_touched(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forwarding is switched on with the first overlay and not before: without one the host is none of ours to change."""
    prepared = 0

    async def prepare() -> None:
        nonlocal prepared
        prepared += 1

    monkeypatch.setattr(host.driver, "prepare", prepare)
    host.says(None)
    async with host.agent():
        await holds(lambda: prepared == 0, 0.3)
        host.says(attached())
        await until(lambda: prepared > 0 and TUNNEL in host.stands)
    prepared = 0
    async with host.agent():
        await until(lambda: prepared > 0)
