"""Two clusters with the same pod CIDRs share one NetScaler: each Service is served by its own cluster's pods alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

import pytest
import pytest_asyncio

from isthmus.lab.adc.appliances import node_source
from isthmus.lab.joined import LINK
from isthmus.lab.net.lab import Lab
from isthmus.lab.net.matrix import spread
from isthmus.lab.net.nodes import Workload
from isthmus.lab.net.topology import CLIENT_NEAR, Address, Family, family_of
from packets.joining import Rig, eventually, joined_lab
from packets.watching import Load

pytestmark = pytest.mark.asyncio(loop_scope="module")
FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")
NETWORKS = ["172.30.0.0/16", "fd00:30::/64"]


@dataclass
class Two:
    """Two clusters, the second one's lab, and the VIPs of each."""

    rig: Rig
    second: Lab
    path: str
    vips: tuple[list[Address], list[Address]]

    def sender(self, cluster: int, family: Family) -> str:
        """Return how the source address begins that pods of a cluster (0 or 1) see."""
        if self.path == "direct":
            return str(node_source(self.rig.lab.topology, family, cluster + 1))
        return (("172.31.", "fd00:31::"), ("172.30.", "fd00:30::"))[cluster][family == "ipv6"]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["overlay", "direct"])
async def two(request: pytest.FixtureRequest) -> AsyncIterator[Two]:
    """Return two clusters of two nodes each, both joined to one device, each with a Service."""
    path = request.param

    def policy(cluster: int) -> dict[str, Any]:
        own = [str(node_source(rig.lab.topology, family, cluster + 1)) for family in FAMILIES]
        return {"policyRoutes": {"sources": own} if path == "direct" else {}}

    # Static neighbors: a device that has asked for a node's MAC itself keeps it for minutes after that has changed.
    joining = joined_lab(path, device="netscaler", nodes=2, on_nodes=2, join=False, netscaler={"neighbors": "joined"})
    async with joining as rig:
        joined = rig.joined
        documents = joined.documents()
        documents["link.yaml"]["spec"] |= policy(0)
        joined.write("link.yaml", documents["link.yaml"])
        async with Lab(replace(rig.lab.topology, cluster=2), beside=rig.lab) as second:
            cluster, link = documents["cluster.yaml"], documents["link.yaml"]
            own = {**cluster["spec"], "kubeconfig": {"path": str(second.kubeconfig)}}
            joined.write("cluster-2.yaml", {**cluster, "metadata": {"name": "second"}, "spec": own})
            spec = {**link["spec"], "cluster": "second", **policy(1)}
            if path == "overlay":
                spec["overlay"] = {"networks": NETWORKS, "vni": 7701, "port": 7701}
            joined.write("link-2.yaml", {**link, "metadata": {"name": "second"}, "spec": spec})
            await joined.join()
            if path == "overlay":
                for node in second.network.nodes.values():
                    await joined.start_agent(node, lab=second)
            vips = (await published(rig.lab), await published(second))
            yield Two(rig, second, path, vips)
            # The controller and the agents end before the second API does.
            await rig.lab.processes.stop_all()


async def published(lab: Lab) -> list[Address]:
    """Publish a Service over all pods of a cluster, and return its addresses."""
    await lab.publish(Workload(name="web", pods=dict.fromkeys(lab.pod_names(), "ready"), families=FAMILIES))
    found: list[Address] = []

    async def shown() -> bool:
        item = await lab.client.get("/api/v1/namespaces/default/services/web")
        ingress = item.get("status", {}).get("loadBalancer", {}).get("ingress") or []
        found[:] = [ip_address(entry["ip"]) for entry in ingress]
        return len(found) == len(FAMILIES)

    await eventually(shown, "the Service has its addresses", timeout=20)
    return found


async def test_each_service_is_served_by_its_own_cluster(two: Two) -> None:
    """Requests to each address come back from both pods of its cluster and from no other; pods see its link's own source."""
    assert two.rig.lab.network.nodes["node1"].pod_cidrs == two.second.network.nodes["c2-node1"].pod_cidrs
    for cluster, vips in enumerate(two.vips):
        pods = {"pod1-1": 10, "pod2-1": 10} if cluster == 0 else {"c2-pod1-1": 10, "c2-pod2-1": 10}
        for vip in vips:

            async def right(vip: Address = vip, pods: dict[str, int] = pods) -> bool:
                return (await spread(CLIENT_NEAR, vip, 80, requests=20)).pods == pods

            await eventually(right, f"{vip} is served by {sorted(pods)}", timeout=15)
            found = await spread(CLIENT_NEAR, vip, 80, requests=4)
            expected = two.sender(cluster, family_of(vip))
            assert all(source.startswith(expected) for source in found.sources), found.sources


async def test_a_node_that_leaves_one_cluster_disturbs_no_other(two: Two) -> None:
    """The other cluster's node of the same pod CIDR is served without an error while its double leaves and comes back."""
    await test_each_service_is_served_by_its_own_cluster(two)
    vip = two.vips[0][0]
    async with Load(CLIENT_NEAR, vip) as load:
        if two.path == "overlay":
            await two.rig.joined.agents["c2-node2"].stop()
        await two.second.remove_node("c2-node2")
        workload = Workload(name="web", pods={"c2-pod1-1": "ready"}, families=FAMILIES)
        await two.second.publish(workload)

        async def alone() -> bool:
            return (await spread(CLIENT_NEAR, two.vips[1][0], 80, requests=6)).pods == {"c2-pod1-1": 6}

        await eventually(alone, "the second cluster is served by one pod", timeout=15)
        node = await two.second.add_node(2)
        if two.path == "overlay":
            await two.rig.joined.start_agent(node, lab=two.second)
        await two.second.publish(replace(workload, pods=dict.fromkeys(two.second.pod_names(), "ready")))

        async def both() -> bool:
            found = await spread(CLIENT_NEAR, two.vips[1][0], 80, requests=6)
            return found.pods == {"c2-pod1-1": 3, "c2-pod2-1": 3}

        await eventually(both, "the second cluster is served by two pods", timeout=15)
    assert load.errors == {}
    assert set(load.pods) == {"pod1-1", "pod2-1"}


async def test_both_links_say_that_they_are_joined(two: Two) -> None:
    """Both links have both of their nodes, and the device has no conflict."""
    for name in (LINK, "second"):
        found = await two.rig.until("ClusterLink", name, lambda status: status.get("nodesJoined") == 2)
        assert found["path"] == two.path
    device = await two.rig.device(lambda status: status.get("inSync"))
    assert device["conflicts"] == []
