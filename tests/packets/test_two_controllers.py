"""Two controllers over one gateway: the one that leads is killed while a node joins and a Service comes, and packets flow."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.joined import GATEWAY, ISTHMUS
from isthmus.lab.net.processes import Running
from isthmus.lab.remote import RemoteLab
from packets.joining import CLIENT_FAR, CLIENT_NEAR, Rig, joined_lab
from packets.watching import Load

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[False, True], ids=["on-the-gateway", "away"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """Return two nodes to be joined by our overlay, in a cluster that is the home cluster, too."""
    async with joined_lab("overlay", nodes=2, join=False, remote=request.param) as rig:
        _, printed, _ = await rig.joined.isthmus("crds", "--json")
        for definition in json.loads(printed)["items"]:
            await rig.lab.client.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        await rig.lab.client.create("/api/v1/namespaces", {"metadata": {"name": "isthmus-system"}})
        if isinstance(rig.joined, RemoteLab):
            await rig.joined.start_gateway(GATEWAY)
            await rig.joined.enrol(GATEWAY)
        for node in rig.lab.network.nodes.values():
            await rig.joined.start_agent(node)
        yield rig


async def controller(rig: Rig, name: str) -> Running:
    """Start a controller with a state directory of its own, but the credentials that one of them has."""
    state = rig.lab.directory / f"state-{name}"
    credentials = rig.joined.state / "gateways"
    if credentials.exists() and not state.exists():
        state.mkdir(mode=0o700)
        shutil.copytree(credentials, state / "gateways")
    argv = (*ISTHMUS, "controller", "--config", str(rig.joined.config), "--home", str(rig.lab.kubeconfig))
    fast = ("--state", str(state), "--lease-profile", "fast")
    return await rig.lab.start_process(rig.joined.seat, (*argv, *fast), name=f"controller-{name}")


async def test_a_leader_that_dies_is_missed_by_no_packet(rig: Rig) -> None:
    """Requests go on, and a node and a Service that came just then are reached by the other's hand."""
    one = await controller(rig, "a")
    await one.wait_for_log('"leads"', timeout=20)
    two = await controller(rig, "b")
    await two.wait_for_log("stands by", timeout=20)
    await rig.reached(timeout=30)
    (vip, _) = await rig.serve()
    await asyncio.sleep(1.0)
    async with Load(CLIENT_NEAR, vip) as load:
        one.send(signal.SIGKILL)
        plan = await rig.lab.add_node()
        await rig.joined.start_agent(plan)
        await rig.lab.publish(rig.workload("late"))
        await rig.reached([plan.name], timeout=15)
        for late in await rig.vips("late"):
            await rig.answers(late)
            await rig.answers(late, client=CLIENT_FAR)
        await two.wait_for_log('"leads"')
    assert load.errors == {}

    # The one that died comes back as a standby; asked to end, the other hands over, and still nobody notices.
    again = await controller(rig, "a")
    await again.wait_for_log("stands by", timeout=20)
    await asyncio.sleep(1.0)
    async with Load(CLIENT_NEAR, vip) as load:
        assert await two.stop(grace=10) == 0
        await again.wait_for_log('"leads"', timeout=2)
        await rig.lab.publish(rig.workload("later"))
        for later in await rig.vips("later"):
            await rig.answers(later)
    assert load.errors == {}
    assert await again.stop(grace=10) == 0
