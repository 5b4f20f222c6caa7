"""Members come, drain and go, Services come and go, and whoever asks a VIP meanwhile is answered or refused at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.net.clients import Why, ask_udp, fetch
from isthmus.lab.net.matrix import spread
from isthmus.lab.net.netns import socket_in
from isthmus.lab.net.topology import Address
from packets.joining import CLIENT_FAR, CLIENT_NEAR, Rig, eventually, joined_lab
from packets.watching import Load

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return three nodes on the gateway's own segment."""
    async with joined_lab("direct", nodes=3) as rig:
        yield rig


class Open:
    """A connection through a VIP on which half a request has been sent."""

    def __init__(self, client: str, vip: Address) -> None:
        self._vip = vip
        self._sock = socket_in(client, 2 if vip.version == 4 else 10, 1)

    async def start(self) -> None:
        """Connect, and send half of the request."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(2):
            await loop.sock_connect(self._sock, (str(self._vip), 80))
            await loop.sock_sendall(self._sock, b"GET / HTTP/1.1\r\n")

    async def finish(self) -> str:
        """Send the other half and return the answer's last line; close."""
        loop, answer = asyncio.get_running_loop(), b""
        try:
            async with asyncio.timeout(2):
                await loop.sock_sendall(self._sock, b"Host: vip\r\n\r\n")
                while chunk := await loop.sock_recv(self._sock, 4096):
                    answer += chunk
        finally:
            self._sock.close()
        return answer.decode().splitlines()[-1]


async def test_a_terminating_endpoint_drains(rig: Rig) -> None:
    """Open connections to a terminating pod live on and are answered by it; new ones go to the others."""
    for vip in await rig.serve("draining"):
        connections = [Open(CLIENT_FAR, vip) for _ in range(6)]
        for one in connections:
            await one.start()
        await rig.lab.cluster.set_state(rig.workload("draining"), {"pod2-1": "terminating"}, rig.lab.network.pods)

        async def drained(vip: Address = vip) -> bool:
            return "pod2-1" not in (await spread(CLIENT_NEAR, vip, 80, requests=6)).pods

        await eventually(drained, "pod2-1 drains")
        # Twice round the twelve slots: what two members share evenly there need not alternate from slot to slot.
        found = await spread(CLIENT_FAR, vip, 80, requests=24)
        assert found.pods == {"pod1-1": 12, "pod3-1": 12}
        served = sorted([(await one.finish()).split()[0] for one in connections])
        assert served == ["pod=pod1-1"] * 2 + ["pod=pod2-1"] * 2 + ["pod=pod3-1"] * 2
        await rig.lab.publish(rig.workload("draining"))

        async def all_back(vip: Address = vip) -> bool:
            return len((await spread(CLIENT_NEAR, vip, 80, requests=6)).pods) == 3

        await eventually(all_back, "pod2-1 is back")


async def test_a_removed_member_gets_no_request(rig: Rig) -> None:
    """A pod that leaves the slice gets no new request, and one that is not ready gets none either."""
    (vip, _) = await rig.serve("shrinking")
    await rig.lab.publish(rig.workload("shrinking", nodes=["node1", "node2"]))

    async def left() -> bool:
        return "pod3-1" not in (await spread(CLIENT_NEAR, vip, 80, requests=6)).pods

    assert await eventually(left, "pod3-1 is out") < 1
    await rig.lab.cluster.set_state(
        rig.workload("shrinking", nodes=["node1", "node2"]), {"pod2-1": "starting"}, rig.lab.network.pods
    )

    async def alone() -> bool:
        return set((await spread(CLIENT_NEAR, vip, 80, requests=6)).pods) == {"pod1-1"}

    await eventually(alone, "pod1-1 is alone")
    assert (await spread(CLIENT_FAR, vip, 80, requests=20)).pods == {"pod1-1": 20}


@pytest.mark.parametrize("client", [CLIENT_NEAR, CLIENT_FAR])
async def test_a_service_without_members_refuses_at_once(rig: Rig, client: str) -> None:
    """Scaled to zero, a VIP refuses TCP and UDP within a moment in both families, still answers ARP, and comes back."""
    ports = ((80, "TCP"), (53, "UDP"))
    vips = await rig.serve("empty", ports=ports)
    await rig.lab.publish(rig.workload("empty", nodes=[], ports=ports))
    for vip in vips:

        async def refused(vip: Address = vip) -> bool:
            return (await fetch(client, vip, 80, timeout=1)).why is Why.REFUSED

        await eventually(refused, f"{vip} refuses")
        began = time.monotonic()
        answers = [await fetch(client, vip, 80, timeout=2) for _ in range(5)]
        datagrams = [await ask_udp(client, vip, 53, timeout=2) for _ in range(5)]
        assert {answer.why for answer in (*answers, *datagrams)} == {Why.REFUSED}, (answers, datagrams)
        assert time.monotonic() - began < 1
    await rig.lab.publish(rig.workload("empty", ports=ports))
    for vip in vips:
        await rig.answers(vip, client=client)
        assert len((await spread(client, vip, 53, requests=6, udp=True)).pods) == 3


async def test_nothing_else_of_the_gateway_is_open_at_a_vip(rig: Rig) -> None:
    """A port of the VIP that no Service has is refused, and a Service that is deleted takes its address along."""
    (vip, _) = await rig.serve("closing")
    assert (await fetch(CLIENT_NEAR, vip, 81, timeout=1)).why is Why.REFUSED
    await rig.lab.cluster.retract(rig.workload("closing"))

    async def gone() -> bool:
        held = f"{vip}/" in await rig.ip("-o", "addr")
        return not held and not (await fetch(CLIENT_NEAR, vip, 80, timeout=0.5)).ok

    assert await eventually(gone, f"{vip} is gone") < 3


async def test_changes_of_services_and_members_cost_no_request(rig: Rig) -> None:
    """While other Services come and go and the Service's own pods drain, leave and return, every request is answered."""
    (vip, six) = await rig.serve("steady")
    states = ("terminating", "starting", "ready")
    async with Load(CLIENT_FAR, vip) as load, Load(CLIENT_NEAR, six, every=0.01) as other:
        for round_ in range(6):
            await rig.lab.publish(rig.workload(f"passing{round_}"))
            for pod in ("pod1-1", "pod2-1"):
                changed = {pod: states[round_ % 3]}
                await rig.lab.cluster.set_state(rig.workload("steady"), changed, rig.lab.network.pods)  # type: ignore[arg-type]
                await load.count(15)
            if round_ > 1:
                await rig.lab.cluster.retract(rig.workload(f"passing{round_ - 2}"))
        await load.count(100)
    assert load.errors == {}
    assert other.errors == {}
    assert len(load.pods) == 3
