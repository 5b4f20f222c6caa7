"""What happens behind a NetScaler and to it: nodes that join, come back changed and leave, and a reboot that forgets all.

Nodes are static neighbors in half of it; in the other the device asks for their MACs itself, and keeps what it has learned.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from isthmus.lab.net.matrix import spread
from isthmus.lab.net.nodes import State
from isthmus.lab.net.topology import CLIENT_NEAR, Address
from packets.joining import Rig, eventually, joined_lab
from packets.watching import Load

pytestmark = pytest.mark.asyncio(loop_scope="module")
# Nothing is saved while the tests run, so a reboot goes back to the device as it was when it was new.
UNSAVED = {"saveAfter": "10m"}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["joined", "flooded"])
async def overlay(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """Return a lab of two nodes joined by an overlay."""
    how = {**UNSAVED, "neighbors": request.param}
    async with joined_lab("overlay", device="netscaler", nodes=2, netscaler=how) as rig:
        yield rig


async def served_by(rig: Rig, vip: Address, *pods: str, timeout: float = 15) -> None:
    """Wait until ``vip`` is served by these pods and no other."""

    async def so() -> bool:
        found = await spread(CLIENT_NEAR, vip, 80, requests=2 * len(pods), timeout=0.5)
        return found.ok and set(found.pods) == set(pods)

    await eventually(so, f"{vip} is served by {pods}", timeout=timeout)


async def test_a_node_joins_and_leaves_without_an_error_for_others(overlay: Rig) -> None:
    """A third node's pod serves soon after it joins; the node leaves; a client that keeps asking sees no error."""
    [vip, vip6] = await overlay.serve()
    for one in (vip, vip6):
        await served_by(overlay, one, "pod1-1", "pod2-1")
    async with Load(CLIENT_NEAR, vip) as load:
        node = await overlay.lab.add_node(3)
        await overlay.joined.start_agent(node)
        everybody = overlay.workload()
        await overlay.lab.publish(everybody)
        for one in (vip, vip6):
            await served_by(overlay, one, "pod1-1", "pod2-1", "pod3-1")
        rest: dict[str, State] = {"pod1-1": "ready", "pod2-1": "ready"}
        await overlay.lab.publish(replace(everybody, pods={**rest, "pod3-1": "terminating"}))
        for one in (vip, vip6):
            await served_by(overlay, one, "pod1-1", "pod2-1")
        await overlay.lab.publish(replace(everybody, pods=rest))
        await overlay.joined.agents["node3"].stop()
        await overlay.lab.remove_node("node3")
        appliance = overlay.joined.devices[0].appliance
        gone = str(node.pod_cidr("ipv4").network_address)

        async def forgotten() -> bool:
            return not appliance.running.find("route", network=gone)

        await eventually(forgotten, "the device has no route to the node that left", timeout=15)
    assert load.errors == {}


async def test_a_node_that_comes_back_with_another_mac_is_reached(overlay: Rig) -> None:
    """A node that is set up anew, with another MAC at its end of the tunnel, serves again."""
    vips = await overlay.serve("again")
    for vip in vips:
        await served_by(overlay, vip, "pod1-1", "pod2-1")
    before = await overlay.lab.client.get("/api/v1/nodes/node2")
    await overlay.joined.agents["node2"].stop()
    await overlay.lab.remove_node("node2")
    node = await overlay.lab.add_node(2)
    await overlay.joined.start_agent(node)
    await overlay.lab.publish(overlay.workload("again"))
    for vip in vips:
        await served_by(overlay, vip, "pod1-1", "pod2-1")
    after = await overlay.lab.client.get("/api/v1/nodes/node2")
    assert before["metadata"]["annotations"] != after["metadata"]["annotations"], "it is another MAC"


async def test_a_reboot_without_a_save_is_mended(overlay: Rig) -> None:
    """What the device forgot by its reboot is written again, and the client is served as before."""
    [vip, vip6] = await overlay.serve("web")
    pods = ("pod1-1", "pod2-1")
    await served_by(overlay, vip, *pods)
    device = overlay.joined.devices[0].appliance
    device.reboot(0.3)
    assert not device.running.table("lbvserver")
    for one in (vip, vip6):
        await served_by(overlay, one, *pods, timeout=30)
