"""The gateway boots while the cluster is away, loses its state, or its pools are edited: VIPs stay where they are."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.net.clients import fetch
from isthmus.lab.net.matrix import reach, spread
from isthmus.lab.net.segment import Announcements, who_has
from packets.joining import CLIENT_FAR, CLIENT_NEAR, GATEWAY, Rig, eventually, joined_lab
from packets.watching import Load, Quiet

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["flannel", "overlay"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """Return two joined nodes with a tunnel between them and the gateway."""
    async with joined_lab(request.param, nodes=2) as rig:
        yield rig


async def test_a_gateway_that_boots_alone_serves_from_disk(rig: Rig) -> None:
    """With no tunnel, route, VIP or table left and no API to ask, the VIPs serve again; the API's return changes nothing."""
    vips = await rig.serve("booting")
    await rig.settled()
    before = await rig.routes()
    await rig.joined.stop_controller()
    await rig.wipe_gateway()
    assert not (await fetch(CLIENT_NEAR, vips[0], 80, timeout=0.5)).ok
    await rig.cut_api()
    try:
        async with Announcements(rig.lab.topology.client_near) as heard:
            await rig.joined.start_controller()
            for vip in vips:
                await rig.answers(vip, client=CLIENT_FAR)
                assert (await spread(CLIENT_NEAR, vip, 80, requests=10)).pods == {"pod1-1": 5, "pod2-1": 5}
                mac = rig.lab.network.gateways[0].front.mac
                assert await who_has(rig.lab.topology.client_near, vip) == (mac,)
                assert (await heard.wait_for(vip)).mac == mac
        cluster = await rig.until("KubeCluster", "lab", lambda one: one["message"] != "in sync")
        assert not cluster["inSync"]
        assert await rig.routes() == before
        async with Quiet(rig) as quiet, Load(CLIENT_FAR, vips[0]) as load:
            await rig.mend_api()
            await rig.settled(timeout=40)
            await load.count(20)
        assert [line for line in quiet.heard if "inet cut" not in line] == []
        assert load.errors == {}
    finally:
        await rig.mend_api()
    status = await rig.restart()
    assert status["writes"] == 0


async def test_a_lost_state_directory_moves_no_address(rig: Rig) -> None:
    """With the state directory gone, every Service keeps its address, asked for or not, and every node its place."""
    low = await rig.serve("low")
    high = rig.lab.topology.vip(77)
    await rig.serve("high", families=["ipv4"], extra={"loadBalancerIP": str(high)})
    await rig.lab.cluster.retract(rig.workload("low"))

    async def gone() -> bool:
        return f"{low[0]}/" not in await rig.ip("-o", "addr")

    await eventually(gone, "the lowest address is free again")
    names = ("booting", "high")
    held = {name: await rig.vips(name) for name in names}
    await rig.settled()
    await rig.joined.stop_controller()
    shutil.rmtree(rig.joined.state)
    async with Load(CLIENT_NEAR, high) as load:
        await rig.start()
        await load.count(100)
    assert load.errors == {}
    assert {name: await rig.vips(name) for name in names} == held
    assert (await reach(rig.lab.network, sources=[GATEWAY])).ok
    assert (await spread(CLIENT_FAR, held["booting"][0], 80, requests=10)).ok


async def test_a_pool_edit_and_a_restart_move_no_address(rig: Rig) -> None:
    """A pool whose range is replaced keeps its holders; who comes later gets a new address; a restart changes neither."""
    (old, *_) = await rig.serve("older", families=["ipv4"])
    documents = rig.joined.documents()
    pool = documents["pools.yaml"]
    pool["spec"]["ranges"] = ["203.0.113.200/30"]
    async with Load(CLIENT_NEAR, old) as load:
        rig.joined.write("pools.yaml", pool)
        await rig.until("AddressPool", "segment", lambda one: one["total"] == 4)
        (new, *_) = await rig.serve("newer", families=["ipv4"])
        assert str(new).startswith("203.0.113.20")
        assert await rig.vips("older") == [old]
        await rig.restart()
        assert await rig.vips("older") == [old]
        assert await rig.vips("newer") == [new]
        await load.count(20)
    assert load.errors == {}


async def test_a_controller_with_a_new_state_directory_cuts_nobody_off(rig: Rig) -> None:
    """Without claims and records (another machine, a lost disk) a start keeps a VIP up whose Service shows it."""
    (address, *_) = await rig.serve("kept", families=["ipv4"])
    await rig.settled()
    async with Load(CLIENT_NEAR, address) as load:
        await rig.joined.stop_controller()
        shutil.rmtree(rig.joined.state)
        await rig.joined.start_controller()
        await rig.settled()
        await load.count(20)
    assert await rig.vips("kept") == [address]
    assert load.errors == {}
