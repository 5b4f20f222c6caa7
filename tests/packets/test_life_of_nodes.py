"""Nodes join, leave, fall silent, come back and change their tunnel's MAC, while clients go on asking."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.net.matrix import reach, spread
from packets.joining import CLIENT_FAR, CLIENT_NEAR, GATEWAY, Rig, eventually, joined_lab, until
from packets.watching import Load

pytestmark = pytest.mark.asyncio(loop_scope="module")

GRACE = 4.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return three nodes behind flannel, with a short grace period."""
    async with joined_lab("flannel", nodes=3, options={"nodeGracePeriod": f"{GRACE:g}s"}) as rig:
        yield rig


async def test_a_node_that_joins_under_load_costs_no_request(rig: Rig) -> None:
    """While a node and its pod join the cluster and the Service, every request is answered, soon also by the new pod."""
    (vip, _) = await rig.serve("joining")
    async with Load(CLIENT_FAR, vip) as load:
        plan = await rig.lab.add_node()
        await rig.lab.publish(rig.workload("joining"))

        async def serves() -> bool:
            return plan.pods[0].name in load.pods

        await eventually(serves, f"{plan.name} serves")
        await load.count(50)
    assert load.errors == {}


async def test_a_deleted_node_is_forgotten(rig: Rig) -> None:
    """When a Node is deleted its routes go in both families, and no request is sent there any more."""
    (vip, _) = await rig.serve("leaving")
    plan = rig.lab.network.nodes["node4"]
    await rig.lab.publish(rig.workload("leaving", nodes=["node1", "node2", "node3"]))
    await rig.lab.publish(rig.workload("joining", nodes=["node1", "node2", "node3"]))
    await rig.lab.remove_node("node4")
    for family in rig.families:
        assert await rig.until_gone(str(plan.pod_cidr(family))) < 2
    found = await spread(CLIENT_NEAR, vip, 80, requests=30)
    assert sorted(found.pods.values()) == [10, 10, 10], found


async def test_a_lost_node_is_kept_for_the_grace_period_and_then_left_out(rig: Rig) -> None:
    """A node that dies stays a member until the grace period has passed; then no request goes there; it returns at once."""
    (vip, _) = await rig.serve("losing")
    routes = await rig.routes()
    await rig.lab.network.set_node_link("node3", up=False)
    await rig.lab.cluster.set_ready("node3", False)
    died = time.time()
    began = time.monotonic()
    # Kubernetes writes whole seconds, so the node is NotReady since up to a second ago.
    while time.time() < int(died) + GRACE - 0.7:
        found = await spread(CLIENT_NEAR, vip, 80, requests=6, at_once=6, timeout=0.4)
        assert sum(found.failures.values()) == 2, found
        assert await rig.routes() == routes

    async def spared() -> bool:
        return (await spread(CLIENT_NEAR, vip, 80, requests=6, at_once=6, timeout=0.4)).ok

    await until(spared, timeout=GRACE + 2)
    assert time.monotonic() - began < GRACE + 1.5
    found = await spread(CLIENT_FAR, vip, 80, requests=36)
    assert found.ok
    assert found.pods == {"pod1-1": 18, "pod2-1": 18}

    await rig.lab.network.set_node_link("node3", up=True)
    await rig.lab.cluster.set_ready("node3", True)

    async def back() -> bool:
        return "pod3-1" in (await spread(CLIENT_NEAR, vip, 80, requests=3)).pods

    assert await until(back, timeout=5) < 3
    await rig.reached(["node3"])


async def test_a_blip_removes_nobody(rig: Rig) -> None:
    """A node that is NotReady for less than the grace period and never stops forwarding loses no request."""
    (vip, _) = await rig.serve("blinking")
    async with Load(CLIENT_NEAR, vip) as load:
        await rig.lab.cluster.set_ready("node2", False)
        await load.count(100)
        await rig.lab.cluster.set_ready("node2", True)
        await load.count(100)
    assert load.errors == {}
    assert set(load.pods) == {"pod1-1", "pod2-1", "pod3-1"}
    assert max(load.pods.values()) - min(load.pods.values()) <= len(load.answers) // 20 + 2, load.pods


@pytest.mark.parametrize("number", [1, 2])
async def test_a_changed_tunnel_mac_is_followed_within_a_second(rig: Rig, number: int) -> None:
    """A node whose flannel comes back with other MACs is reachable less than a second after it has published them."""
    macs = {"ipv4": f"02:00:00:0b:ad:0{number}", "ipv6": f"02:00:00:0b:ae:0{number}"}
    await rig.lab.flanneld.set_vtep_mac("node1", macs)  # type: ignore[arg-type]

    async def followed() -> bool:
        return await rig.pod_answers("node1", family="ipv4") and await rig.pod_answers("node1", family="ipv6")

    assert await until(followed, timeout=5) < 1
    neighbors = await rig.ip("neigh", "show", "nud", "permanent")
    assert all(mac in neighbors for mac in macs.values())
    entries = await rig.bridge()
    assert all(entries.count(mac) == 1 for mac in macs.values())
    if number == 2:
        assert "02:00:00:0b:ad:01" not in neighbors + entries


async def test_the_gateway_still_reaches_everybody(rig: Rig) -> None:
    """After all of that every pod is reached in both families, and nothing is reported silent or in conflict."""
    found = await reach(rig.lab.network, sources=[GATEWAY])
    assert found.ok, found.rows()
    await rig.until("ClusterLink", "lab", lambda link: link["silent"] == [] and link["nodesJoined"] == 3)
