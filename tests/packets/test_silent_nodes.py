"""A node dies while its Node object is still Ready: the gateway itself finds out, and clients are served by the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from packets.joining import CLIENT_NEAR, GATEWAY, Rig, eventually, joined_lab
from packets.watching import Load

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAST = {"interval": "100ms", "timeout": "100ms", "failures": 2, "rises": 2}
WITHIN = 0.5
# A machine that does other work besides answers late; the figure that counts is the bench's.
ALLOWANCE = 1.0


def write_device(rig: Rig, *, probing: bool) -> None:
    """Write the gateway's object with or without the probe."""
    device = rig.joined.documents()["device.yaml"]
    if probing:
        device["spec"]["linux"] = {"memberProbe": FAST}
    rig.joined.write("device.yaml", device)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return three nodes on the overlay, each with a pod behind one Service, and a gateway that asks the nodes."""
    async with joined_lab("overlay", nodes=3, join=False) as rig:
        write_device(rig, probing=True)
        await rig.joined.join()
        await rig.reached(timeout=30)
        await rig.serve()
        await rig.settled()
        yield rig


async def silenced(rig: Rig) -> int:
    """Return how many members have no slots because their node is silent."""
    listed = [await rig.nft("list", "set", "inet", "isthmus_main", f"silent{version}") for version in (4, 6)]
    return sum(text.count(" . 8080") for text in listed)


async def slots(rig: Rig) -> str:
    """Return the table as it stands."""
    return await rig.nft("-s", "list", "table", "inet", "isthmus_main")


async def until_silenced(rig: Rig, count: int) -> None:
    """Wait until so many members have no slots."""

    async def so() -> bool:
        return await silenced(rig) == count

    await eventually(so, f"{count} members without slots")


async def test_a_dead_node_gets_no_new_flows_and_all_come_back(rig: Rig) -> None:
    """The cable is pulled, the Node stays Ready: soon no request fails; plugged in again, the pod serves as before.

    Nothing of this is drift: the gateway is in sync all the while, and the controller writes nothing.
    """
    vip = (await rig.vips("web"))[0]
    plans, table = rig.log().count("plan applied"), await slots(rig)
    async with Load(CLIENT_NEAR, vip, every=0.01, timeout=0.4) as load:
        await rig.lab.network.set_node_link("node2", up=False)
        await asyncio.sleep(WITHIN + ALLOWANCE)
        good = len(load.answers)
        await load.count(200)
        assert all(one.ok for one in load.answers[good + 32 :]), load.errors
        assert "pod2-1" not in {one.pod for one in load.answers[good + 32 :]}
        assert await silenced(rig) == 2
        await rig.lab.network.set_node_link("node2", up=True)
        await until_silenced(rig, 0)
        good = len(load.answers)
        await load.count(60)
        assert {one.pod for one in load.answers[good:] if one.ok} == {"pod1-1", "pod2-1", "pod3-1"}
    after = await rig.settled()
    assert await slots(rig) == table
    assert (rig.log().count("plan applied"), after["drift"]) == (plans, 0)


async def test_flows_to_a_dead_node_find_another(rig: Rig) -> None:
    """A request that was on its way to the node that died is answered by another pod, when the client sends again."""
    vip = (await rig.vips("web"))[0]
    async with Load(CLIENT_NEAR, vip, every=0.01, timeout=6.0) as load:
        await rig.lab.network.set_node_link("node3", up=False)
        await asyncio.sleep(WITHIN + ALLOWANCE)
    await rig.lab.network.set_node_link("node3", up=True)
    await until_silenced(rig, 0)
    assert load.errors == {}


async def test_a_node_that_flaps_costs_no_request(rig: Rig) -> None:
    """Its cable comes and goes; a client that sends again, as TCP does, is answered every time."""
    vip = (await rig.vips("web"))[0]
    async with Load(CLIENT_NEAR, vip, every=0.02, timeout=12.0) as load:
        for up in (False, True) * 5:
            await rig.lab.network.set_node_link("node1", up=up)
            await asyncio.sleep(0.3)
        await until_silenced(rig, 0)
    assert load.errors == {}


async def test_when_all_are_silent_nothing_changes(rig: Rig) -> None:
    """Every cable is out: it is as likely the gateway that is cut off, so the table stays as it is."""
    table = await slots(rig)
    names = list(rig.lab.network.nodes)
    for name in names:
        await rig.lab.network.set_node_link(name, up=False)
    await asyncio.sleep(2.0)
    # For a moment between the first cable and the last, some were silent and some not; in the end nobody is.
    await until_silenced(rig, 0)
    assert await slots(rig) == table
    for name in names:
        await rig.lab.network.set_node_link(name, up=True)
    await rig.answers((await rig.vips("web"))[0])
    await until_silenced(rig, 0)


async def test_a_restart_does_not_forget_who_is_silent(rig: Rig) -> None:
    """The controller is killed and starts again while a node is dead: its pods get no flow in between or after."""
    vip = (await rig.vips("web"))[0]
    await rig.lab.network.set_node_link("node2", up=False)
    await until_silenced(rig, 2)
    async with Load(CLIENT_NEAR, vip, every=0.02, timeout=0.4) as load:
        began = time.monotonic()
        await rig.crash()
        await rig.joined.start_controller()
        await rig.settled()
        await asyncio.sleep(max(0.0, began + 3 - time.monotonic()))
        assert await silenced(rig) == 2
    assert load.errors == {}
    await rig.lab.network.set_node_link("node2", up=True)
    await until_silenced(rig, 0)


async def test_switched_off_all_members_have_their_slots_back(rig: Rig) -> None:
    """Without the option nobody is asked, and what was taken from a silent node is given back."""
    await rig.lab.network.set_node_link("node2", up=False)
    await until_silenced(rig, 2)
    write_device(rig, probing=False)
    await until_silenced(rig, 0)
    assert "silent4" in await rig.nft("list", "sets", "inet", where=GATEWAY)
    await rig.lab.network.set_node_link("node2", up=True)
