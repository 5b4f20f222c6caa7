"""Nodes that get no pod CIDR, and overlays with fewer places than nodes: who is left out is named, the rest works."""

from __future__ import annotations

from isthmus.lab.joined import JoinedLab
from isthmus.lab.kube import KubeApi
from isthmus.lab.net.lab import Lab
from isthmus.lab.net.matrix import spread
from isthmus.lab.net.topology import Topology
from packets.joining import CLIENT_NEAR, Rig, eventually, joined_lab


async def test_a_node_without_a_pod_cidr_waits() -> None:
    """A node to which nobody has given a pod CIDR is named as waiting; it is joined as soon as it has one."""
    joined = JoinedLab(Topology(nodes=2, families=("ipv4",), cni="none"), "direct")
    joined.lab = Lab(joined.lab.topology, api=KubeApi(), allocate_pod_cidrs=False)
    async with joined:
        rig = Rig(joined)
        await joined.join()
        await rig.reached()
        plan = await joined.lab.network.add_node()
        await joined.lab.pods.start(plan.pods)
        await joined.lab.cluster.register(plan, pod_cidrs=False)
        link = await rig.until("ClusterLink", "lab", lambda one: any("node3" in text for text in one["waiting"]))
        assert link["nodesJoined"] == 2
        cidr = str(plan.pod_cidr("ipv4"))
        await joined.lab.client.patch("/api/v1/nodes/node3", {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})
        assert await rig.reached(["node3"]) < 3
        await rig.until("ClusterLink", "lab", lambda one: not one["waiting"] and one["nodesJoined"] == 3)


async def test_an_overlay_that_is_too_small_serves_whom_it_can() -> None:
    """On a /29 five of eight nodes find a place; the three that do not are named, and get one when others leave."""
    options = {"overlay": {"networks": ["172.31.9.0/29"]}}
    async with joined_lab("overlay", join=False, nodes=8, families=("ipv4",), options=options) as rig:
        await rig.joined.start_controller()
        link = await rig.until("ClusterLink", "lab", lambda one: len(one["waiting"]) == 3)
        left_out = [name for name in rig.lab.network.nodes if any(name in text for text in link["waiting"])]
        assert len(left_out) == 3
        joined = [name for name in rig.lab.network.nodes if name not in left_out]
        for name in joined:
            await rig.joined.start_agent(rig.lab.network.nodes[name])
        await rig.reached(joined, timeout=30)
        (vip,) = await rig.serve()
        found = await spread(CLIENT_NEAR, vip, 80, requests=10)
        assert found.ok
        assert set(found.pods) == {f"pod{name.removeprefix('node')}-1" for name in joined}
        await rig.joined.agents[joined[0]].stop()
        await rig.lab.remove_node(joined[0])
        await rig.until("ClusterLink", "lab", lambda one: len(one["waiting"]) == 2)
        link = await rig.of("ClusterLink", "lab")
        attached = [name for name in left_out if not any(name in text for text in link["waiting"])]
        await rig.joined.start_agent(rig.lab.network.nodes[attached[0]])

        async def serves() -> bool:
            return await rig.pod_answers(attached[0])

        await eventually(serves, f"{attached[0]} takes the free place")
