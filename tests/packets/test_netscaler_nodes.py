"""A node behind a NetScaler changes: its address moves, or it comes back with another pod CIDR. The device follows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_interface

import pytest
import pytest_asyncio

from isthmus.lab.net.clients import fetch
from isthmus.lab.net.command import ip_batch
from isthmus.lab.net.pods import HTTP_PORT
from isthmus.lab.net.topology import Address
from packets.joining import Rig, eventually, joined_lab

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return a lab of two nodes with two pod CIDRs each, of which a Node names the first, joined by routes."""
    shape = {"nodes": 2, "pod_cidrs_per_node": 2, "families": ("ipv4",), "device": "netscaler"}
    async with joined_lab("direct", join=False, **shape) as rig:
        await rig.joined.join()
        for node in rig.lab.network.nodes.values():
            await reached(rig, node.pods[0].addresses[0].ip)
        yield rig


async def reached(rig: Rig, address: Address) -> None:
    async def answers() -> bool:
        return (await fetch(rig.gateway, address, HTTP_PORT, timeout=0.3)).ok

    await eventually(answers, f"the device reaches {address}", timeout=15)


def gateways(rig: Rig, network: object) -> list[object]:
    """Return the gateways of the device's routes to a network."""
    running = rig.joined.devices[0].appliance.running
    return [row["gateway"] for row in running.find("route", network=str(network).partition("/")[0])]


async def test_a_node_that_gets_another_address_is_routed_by_it(rig: Rig) -> None:
    """The route's gateway becomes the node's new address, by one route at a time, and the pod is reached through it."""
    node = rig.lab.network.nodes["node2"]
    old, new = ip_interface("192.0.2.2/24"), ip_interface("192.0.2.150/24")
    await ip_batch("node2", [f"addr del {old} dev eth0", f"addr add {new} dev eth0"])
    addresses = [{"type": "InternalIP", "address": str(new.ip)}, {"type": "Hostname", "address": "node2"}]
    await rig.lab.client.patch("/api/v1/nodes/node2/status", {"status": {"addresses": addresses}})

    async def moved() -> bool:
        return gateways(rig, node.pod_cidrs[0]) == [str(new.ip)]

    await eventually(moved, "the route goes by the new address", timeout=10)
    await reached(rig, node.pods[0].addresses[0].ip)


async def test_a_node_that_comes_back_with_another_pod_cidr_is_routed_by_that(rig: Rig) -> None:
    """The Node is deleted and made anew with its other pod CIDR: that one is reached, the old one has no route any more."""
    node = rig.lab.network.nodes["node1"]
    first, second = node.pod_cidrs
    await rig.lab.cluster.delete("node1")
    item = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node1"},
        "spec": {"podCIDR": str(second), "podCIDRs": [str(second)]},
    }
    await rig.lab.client.ensure("/api/v1/nodes", item)
    conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}]
    addresses = [{"type": "InternalIP", "address": "192.0.2.1"}]
    await rig.lab.client.patch(
        "/api/v1/nodes/node1/status", {"status": {"addresses": addresses, "conditions": conditions}}
    )
    await reached(rig, node.pods[0].addresses[1].ip)

    async def gone() -> bool:
        return gateways(rig, first) == []

    await eventually(gone, "the old pod CIDR has no route", timeout=15)
    assert gateways(rig, second) == ["192.0.2.1"]
    device = await rig.device(lambda status: status.get("inSync"))
    assert device["conflicts"] == []
