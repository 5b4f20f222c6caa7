"""`isthmus plan` says what the controller will do, does none of it, and says by its exit code whether there is anything."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.net.netns import read_sysctl, write_sysctls
from packets.joining import GATEWAY, Rig, joined_lab
from packets.watching import Quiet

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["direct", "overlay"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """Return two nodes and a Service, with nothing joined yet."""
    async with joined_lab(request.param, join=False, nodes=2) as rig:
        await rig.lab.publish(rig.workload("web"))
        yield rig


async def plan(rig: Rig, *arguments: str) -> tuple[int, str, str]:
    """Run ``isthmus plan`` with the lab's directories."""
    return await rig.joined.isthmus(
        "plan", "--config", str(rig.joined.config), "--state", str(rig.joined.state), *arguments
    )


async def test_a_plan_changes_nothing_and_is_what_then_happens(rig: Rig) -> None:
    """Before the first start the plan exits with 2 and touches nothing; afterwards the gateway has exactly what it said."""
    write_sysctls(GATEWAY, [("ipv4/ip_forward", "0")])
    writes = rig.lab.api.faults.writes
    async with Quiet(rig) as quiet:
        status, out, err = await plan(rig)
    assert status == 2, err
    assert quiet.heard == []
    assert read_sysctl(GATEWAY, "ipv4/ip_forward") == "0"
    assert rig.lab.api.faults.writes == writes
    assert not rig.joined.state.exists()
    assert rig.lab.api.get("services", "web")["status"]["loadBalancer"] == {}
    promised = sorted(line[2:] for line in out.splitlines() if line.startswith("+ "))

    await rig.joined.join()
    await rig.reached(timeout=30)
    await rig.until_condition("web", "Served")
    await rig.settled()
    _, out, err = await rig.joined.isthmus("clean", "--config", str(rig.joined.config), "--json")
    assert sorted(one["change"].removeprefix("- ") for one in json.loads(out)) == promised
    assert read_sysctl(GATEWAY, "ipv4/ip_forward") == "1"


async def test_a_plan_in_sync_is_empty(rig: Rig) -> None:
    """With a running controller in sync, plan exits with 0, says so, and neither kernel nor API notice."""
    writes = rig.lab.api.faults.writes
    async with Quiet(rig) as quiet:
        status, out, err = await plan(rig)
    assert status == 0, (out, err)
    assert "0 to create, 0 to update, 0 to delete" in out
    assert quiet.heard == []
    assert rig.lab.api.faults.writes == writes


async def test_a_plan_shows_what_is_pending(rig: Rig) -> None:
    """With the controller stopped, a new Service and a missing route make the plan exit with 2 and name both."""
    await rig.joined.stop_controller()
    route = str(rig.lab.network.nodes["node1"].pod_cidr("ipv4"))
    await rig.ip("route", "del", route)
    await rig.lab.publish(rig.workload("more"))
    status, out, _ = await plan(rig)
    assert status == 2
    assert f"+ route {route}" in out
    assert "+ vip 203.0.113.129" in out
    await rig.start()
    status, out, _ = await plan(rig)
    assert status == 0, out
    assert await rig.vips("more") == [rig.lab.topology.vip(1), rig.lab.topology.vip(1, "ipv6")]
