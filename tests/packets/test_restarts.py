"""The controller is restarted, killed and upgraded while traffic flows; the gateway's kernel does not notice."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.net.matrix import spread
from packets.joining import CLIENT_FAR, CLIENT_NEAR, Rig, joined_lab
from packets.watching import Load, Quiet

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["flannel", "overlay"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """Return two joined nodes by each kind of tunnel."""
    async with joined_lab(request.param, nodes=2) as rig:
        yield rig


async def test_a_restart_in_sync_changes_nothing(rig: Rig) -> None:
    """A restart makes no write, the kernel reports no change, the API is not written to, and 500 requests are answered."""
    vips = await rig.serve()
    await rig.settled()
    condition = await rig.until_condition("web", "Served")
    writes = rig.lab.api.faults.writes
    async with Quiet(rig) as quiet, Load(CLIENT_FAR, vips[0]) as load:
        status = await rig.restart()
        await load.count(max(0, 500 - len(load.answers)))
    assert quiet.heard == []
    assert status["writes"] == 0
    assert load.errors == {}
    assert len(load.answers) >= 500
    assert rig.lab.api.faults.writes == writes
    assert await rig.vips("web") == vips
    assert await rig.service_condition("web") == condition


async def test_a_killed_controller_converges_when_it_returns(rig: Rig) -> None:
    """Killed in the middle of a Service and a node, it ends after a restart where it would have; the next makes 0 writes."""
    (vip, _) = await rig.serve()
    async with Load(CLIENT_NEAR, vip) as load:
        for round_ in range(3):
            await rig.lab.publish(rig.workload(f"killed{round_}"))
            await rig.crash()
            await rig.start()
        plan = await rig.lab.add_node()
        if rig.joined.path == "overlay":
            await rig.joined.start_agent(plan)
        await rig.crash()
        await rig.start()
        await rig.reached()
    assert load.errors == {}
    shown = [await rig.vips(f"killed{round_}") for round_ in range(3)]
    assert len({address for vips in shown for address in vips}) == 6
    for vips in shown:
        for address in vips:
            await rig.answers(address)
            assert (await spread(CLIENT_FAR, address, 80, requests=6)).ok
    await rig.settled()
    async with Quiet(rig) as quiet:
        assert (await rig.restart())["writes"] == 0
    assert quiet.heard == []
