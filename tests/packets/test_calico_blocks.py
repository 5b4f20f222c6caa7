"""Pods where Calico's blocks are: several on a node, an address borrowed from another's, and a block that moves.

What Kubernetes assigned the nodes is wider and says nothing of half of the pods; packets arrive only by the blocks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

import pytest
import pytest_asyncio

from isthmus.lab.net.clients import fetch
from isthmus.lab.net.pods import HTTP_PORT, PodServers
from isthmus.lab.net.topology import Cidr, NodePlan
from kube.calico import block_definition
from packets.joining import Rig, joined_lab, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

GROUP = "/apis/crd.projectcalico.org/v1/ipamblocks"
_SIZES = {4: 26, 6: 122}


def daemon_set() -> dict[str, Any]:
    """Return the DaemonSet that runs Calico."""
    labels = {"k8s-app": "calico-node"}
    pod = {
        "initContainers": [{"name": "install-cni", "image": "calico/cni"}],
        "containers": [{"name": "calico-node", "image": "calico/node"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "calico-node"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def blocks_of(node: NodePlan) -> list[Cidr]:
    """Return the first block in each of the node's ranges: its pods have their addresses there."""
    return [next(iter(cidr.subnets(new_prefix=_SIZES[cidr.version]))) for cidr in node.pod_cidrs]


def block(cidr: Cidr, node: str, lent: dict[int, str] | None = None) -> dict[str, Any]:
    """Return a block of ``node``; ``lent`` maps the number of an address in it to the node whose pod has it."""
    allocations: list[int | None] = [None] * 64
    for index, number in enumerate(lent or {}):
        allocations[number] = index
    attributes = [{"handle_id": "x", "secondary": {"node": other}} for other in (lent or {}).values()]
    spec = {"cidr": str(cidr), "affinity": f"host:{node}", "allocations": allocations, "attributes": attributes}
    name = str(cidr).replace(".", "-").replace(":", "-").replace("/", "-")
    return {
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "IPAMBlock",
        "metadata": {"name": f"b{name}"},
        "spec": spec,
    }


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["direct-linux", "overlay-linux", "direct-netscaler", "overlay-netscaler"],
)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """Return a lab whose cluster has Calico: two blocks a family and node, joined by a path."""
    path, _, device = request.param.partition("-")
    async with joined_lab(path, device=device, join=False, nodes=2, pod_cidrs_per_node=2) as rig:
        client = rig.lab.client
        await client.ensure("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", block_definition())
        await client.ensure("/apis/apps/v1/namespaces/kube-system/daemonsets", daemon_set())
        for plan in rig.lab.network.nodes.values():
            for cidr in blocks_of(plan):
                await client.ensure(GROUP, block(cidr, plan.name))
        await rig.joined.join()
        await rig.reached(timeout=30)
        yield rig


async def give(rig: Rig, node: str, address: str) -> PodServers:
    """Give the first pod on ``node`` another address, and serve there."""
    plan = rig.lab.network.nodes[node].pods[0]
    await rig.ip("address", "add", address, "dev", "eth0", where=plan.name)
    await rig.ip("route", "replace", address, "dev", "cni0", where=node)
    served = PodServers()
    await served.start([replace(plan, addresses=(ip_interface(address),))])
    return served


async def who_answers(rig: Rig, address: str, name: str) -> None:
    """Wait until the pod of that name answers the gateway at ``address``."""
    where = ip_interface(address).ip

    async def answers() -> bool:
        return (await fetch(rig.gateway, where, HTTP_PORT, timeout=0.4)).pod == name

    await until(answers, timeout=10)


async def test_pods_are_reached_by_their_blocks(rig: Rig) -> None:
    """Every block has its route, in both families; what Kubernetes assigned has none."""
    routes = await rig.routes()
    for plan in rig.lab.network.nodes.values():
        for cidr in blocks_of(plan):
            assert str(cidr) in routes
        for cidr in plan.pod_cidrs:
            assert str(cidr) not in routes


async def test_the_cni_is_said(rig: Rig) -> None:
    """Status and explain name Calico, and where a node's networks come from."""
    shown = await rig.until("KubeCluster", "lab", lambda said: said.get("cni"))
    assert (shown["cni"]["name"], shown["cni"]["certainty"]) == ("calico", "certain")
    places = ("--config", str(rig.joined.config), "--state", str(rig.joined.state))
    _, out, errors = await rig.joined.isthmus("explain", "node1", *places)
    assert "CNI of lab: calico: DaemonSet kube-system/calico-node runs calico-node" in out, errors
    assert "(Calico's blocks)" in out


async def test_a_borrowed_address_is_routed_to_the_node_that_has_the_pod(rig: Rig) -> None:
    """A pod on node1 with an address of node2's block is reached on node1; the block's others stay on node2."""
    cidr = blocks_of(rig.lab.network.nodes["node2"])[0]
    borrowed = f"{cidr.network_address + 40}/32"
    served = await give(rig, "node1", borrowed)
    try:
        await rig.lab.client.ensure(GROUP, block(cidr, "node2", {40: "node1"}))
        await who_answers(rig, borrowed, "pod1-1")
        assert await rig.pod_answers("node2")
        await rig.lab.client.ensure(GROUP, block(cidr, "node2"))
        await rig.until_gone(borrowed.partition("/")[0])
    finally:
        await served.stop_all()


async def test_a_block_that_moves_is_followed(rig: Rig) -> None:
    """The block's route goes over to the node that has it now, with its pods."""
    nodes = rig.lab.network.nodes
    cidr = blocks_of(nodes["node1"])[2]
    assert cidr.version == 4
    wanderer = f"{cidr.network_address + 50}/32"
    first = await give(rig, "node1", wanderer)
    await who_answers(rig, wanderer, "pod1-1")
    await first.stop_all()
    await rig.ip("address", "del", wanderer, "dev", "eth0", where="pod1-1")
    second = await give(rig, "node2", wanderer)
    try:
        await rig.lab.client.ensure(GROUP, block(cidr, "node2"))
        await who_answers(rig, wanderer, "pod2-1")
    finally:
        await second.stop_all()
        await rig.lab.client.ensure(GROUP, block(cidr, "node1"))
    await rig.reached(timeout=10)
