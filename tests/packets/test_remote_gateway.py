"""The controller is away from its gateway: its orders end in packets, and what breaks between them breaks nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.net.clients import fetch
from isthmus.lab.net.command import command_in
from isthmus.lab.net.matrix import spread
from isthmus.lab.remote import RemoteLab
from packets.joining import CLIENT_FAR, CLIENT_NEAR, GATEWAY, Rig, eventually, joined_lab
from packets.watching import Load

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["overlay", "flannel"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """Return two joined nodes, and a controller that shares no namespace with the gateway."""
    async with joined_lab(request.param, remote=True, nodes=2) as rig:
        yield rig


_CUT = """
table inet cut {
    chain in { type filter hook input priority -300; tcp dport 7441 drop; }
}
"""


def remote(rig: Rig) -> RemoteLab:
    assert isinstance(rig.joined, RemoteLab)
    return rig.joined


async def kill_agent(rig: Rig) -> None:
    """End the agent on the gateway as a power cut would."""
    running = remote(rig).gateways.pop(GATEWAY)
    running.process.kill()
    await running.process.wait()


async def test_clients_reach_pods_through_a_vip(rig: Rig) -> None:
    """Near and far, every family, spread over the pods."""
    for vip in await rig.serve("web"):
        for client in (CLIENT_NEAR, CLIENT_FAR):
            await rig.answers(vip, client=client)
        assert (await spread(CLIENT_NEAR, vip, 80, requests=10)).pods == {"pod1-1": 5, "pod2-1": 5}


async def test_a_restart_of_either_writes_nothing_and_loses_nothing(rig: Rig) -> None:
    """Controller and agent are started anew under load: no request fails, and the second plan is empty."""
    vips = await rig.serve("steady")
    await rig.settled()
    async with Load(CLIENT_NEAR, vips[0]) as load:
        await remote(rig).gateways.pop(GATEWAY).stop()
        await remote(rig).start_gateway(GATEWAY)
        await rig.device(lambda one: one["inSync"])
        status = await rig.restart()
        assert status["writes"] == 0
        await load.count(50)
    assert load.errors == {}


async def test_a_gateway_that_lost_power_comes_back_without_its_controller(rig: Rig) -> None:
    """With nothing left on it and nobody to ask, the agent alone makes the VIPs serve again."""
    vips = await rig.serve("powered")
    await rig.settled()
    await asyncio.sleep(1.5)  # the record is written once a second
    await rig.joined.stop_controller()
    before = await rig.routes()
    await kill_agent(rig)
    await rig.wipe_gateway()
    assert not (await fetch(CLIENT_NEAR, vips[0], 80, timeout=0.5)).ok
    await remote(rig).start_gateway(GATEWAY)
    for vip in vips:
        await rig.answers(vip, client=CLIENT_FAR)
    assert await rig.routes() == before
    await rig.joined.start_controller()
    assert (await rig.settled())["writes"] == 0


async def test_an_agent_killed_while_it_writes_converges(rig: Rig) -> None:
    """Many Services come while the agent is killed again and again; in the end all of them answer."""
    names = [f"many{number}" for number in range(8)]

    async def publish() -> None:
        for name in names:
            await rig.lab.publish(rig.workload(name))
            await asyncio.sleep(0.1)

    publishing = asyncio.create_task(publish())
    for _ in range(2):
        await asyncio.sleep(0.4)
        await kill_agent(rig)
        await remote(rig).start_gateway(GATEWAY)
    await publishing
    for name in names:
        for vip in await rig.vips(name):
            await rig.answers(vip, timeout=40)
    await rig.settled(timeout=40)


async def test_a_controller_that_is_away_changes_nothing(rig: Rig) -> None:
    """The path between controller and gateway is cut: the gateway serves on, the status says so, and the return mends it."""
    vips = await rig.serve("cut")
    await rig.settled()
    async with Load(CLIENT_FAR, vips[0]) as load:
        await command_in(GATEWAY, ["nft", "-f", "-"], text=_CUT)
        try:
            status = await rig.device(lambda one: not one["reachable"], timeout=10)
            assert "no sign of life" in str(status)
            await load.count(20)
        finally:
            await rig.mend_api()  # the same table
        await rig.settled(timeout=40)
        await load.count(20)
    assert load.errors == {}


async def test_somebody_elses_hand_is_noticed_from_afar(rig: Rig) -> None:
    """A route that is taken away on the gateway is back in a moment."""
    before = await rig.routes()
    lost = next(line for line in before.splitlines() if "proto 200" in line and "10.24" in line)
    await rig.ip("route", "del", *lost.split()[:1])
    assert lost not in await rig.routes()

    async def back() -> bool:
        return await rig.routes() == before

    assert await eventually(back, "the route is back") < 5


async def test_an_old_controller_that_wakes_up_writes_nothing(rig: Rig) -> None:
    """A paused controller finds out that a newer one was there, and its late orders change nothing."""
    running = rig.joined.controller
    assert running is not None
    await rig.settled()
    running.send(signal.SIGSTOP)
    try:
        before = await rig.routes()
        # A newer one: what it writes is nothing at all, that it was there is enough.
        code, out, err = await rig.joined.isthmus(
            "clean", "--yes", "--config", str(rig.joined.config), "--state", str(rig.joined.state)
        )
        assert code == 0, out + err
        assert "proto 200" not in await rig.routes()
        assert before != await rig.routes()
    finally:
        running.send(signal.SIGCONT)
    await rig.device(lambda one: "taken over" in str(one), timeout=20)
    await asyncio.sleep(1)
    assert "proto 200" not in await rig.routes()
    assert "controller fenced" in remote(rig).gateways[GATEWAY].read_log()
    await rig.joined.stop_controller()
