"""With a real kube-apiserver for the cluster's API: what it says of nodes, Services and endpoints becomes packets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.net.clients import Why, fetch
from isthmus.lab.net.matrix import spread
from packets.joining import CLIENT_FAR, CLIENT_NEAR, Rig, eventually, joined_lab
from realapi import RealApi, require

pytestmark = pytest.mark.asyncio(loop_scope="module")
DUAL = ("10.96.0.0/16", "fd00:10:96::/112")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """Return two nodes joined by routes; the API server listens where the lab's own would, on the underlay."""
    real = RealApi(require(), tmp_path_factory.mktemp("real-api") / "server", service_cidrs=DUAL)
    async with joined_lab("direct", nodes=2, api=real) as rig:
        yield rig


async def test_the_client_reaches_the_pods_through_the_address(rig: Rig) -> None:
    """Near and far clients are answered by pods of both nodes, over both IP versions."""
    vips = await rig.serve("web", families=("ipv4", "ipv6"))
    assert {vip.version for vip in vips} == {4, 6}
    for vip in vips:
        for client in (CLIENT_NEAR, CLIENT_FAR):
            assert (await fetch(client, vip, 80)).ok
        found = await spread(CLIENT_FAR, vip, 80, requests=24)
        assert found.ok
        assert found.pods == {"pod1-1": 12, "pod2-1": 12}


async def test_a_node_that_joins_and_one_that_goes(rig: Rig) -> None:
    """A new Node's pods are reached; after its Node is deleted nothing of it is left in the gateway's routes."""
    plan = await rig.lab.add_node()
    cidr = str(plan.pod_cidr("ipv4"))

    async def routed() -> bool:
        return cidr in await rig.ip("route", "show", "proto", "200")

    await eventually(routed, f"a route to {cidr}")
    await rig.reached()
    await rig.lab.remove_node(plan.name)

    async def gone() -> bool:
        return not await routed()

    await eventually(gone, f"no route to {cidr}")


async def test_a_service_that_goes_falls_silent(rig: Rig) -> None:
    """After the Service is deleted its address answers nobody."""
    (vip,) = await rig.serve("short", families=("ipv4",))
    await rig.lab.cluster.retract(rig.workload("short", families=("ipv4",)))

    async def silent() -> bool:
        return (await fetch(CLIENT_NEAR, vip, 80, timeout=0.5)).why is not Why.OK

    await eventually(silent, f"{vip} is silent")


async def test_a_restarted_controller_changes_nothing(rig: Rig) -> None:
    """Who is being served is served on, and the gateway's routes are the ones that stood."""
    (vip,) = await rig.serve("lasting", families=("ipv4",))
    before = await rig.ip("route", "show", "proto", "200")
    await rig.restart()
    assert (await fetch(CLIENT_FAR, vip, 80)).ok
    assert await rig.ip("route", "show", "proto", "200") == before
