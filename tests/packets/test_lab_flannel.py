"""The lab as a whole: Kubernetes API, emulated flannel, reachability."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from isthmus.lab.net.clients import fetch, ping
from isthmus.lab.net.command import bridge_batch, ip_batch, run
from isthmus.lab.net.lab import Lab
from isthmus.lab.net.leases import annotations_for
from isthmus.lab.net.matrix import sizes, spread
from isthmus.lab.net.nodes import Workload
from isthmus.lab.net.pods import HTTP_PORT
from packets.conftest import MakeLab


async def eventually(true: Callable[[], bool], what: str) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


async def test_pods_reach_each_other_across_nodes(lab: Lab) -> None:
    """Every pod reaches every pod through the emulated flannel, in both families."""
    matrix = await lab.reach(sources=lab.pod_names())
    assert matrix.ok, matrix.rows()
    assert len(matrix.cells) == 3 * 3 * 2
    assert matrix.rows()[0][:2] == ["from", "pod1-1 ipv4"]
    assert lab.flanneld.notes == ()


@pytest.mark.parametrize(
    "numbers",
    [{"families": ("ipv6",)}, {"families": ("ipv4",), "gateways": 2}, {"underlay_mtu": 9000, "offloads": True}],
)
async def test_other_shapes_of_lab_work_too(make_lab: MakeLab, numbers: dict[str, Any]) -> None:
    """One family alone (the API then listens on that family), two gateways, jumbo frames: all pods reach all pods."""
    lab = await make_lab(nodes=2, **numbers)
    assert (await lab.reach(sources=lab.pod_names())).ok
    last = lab.topology.families[-1]
    mtu = lab.topology.underlay_mtu - (70 if last == "ipv6" else 50)
    assert (await sizes("pod1-1", lab.network.pods[1].address(last), mtu)).ok


async def test_a_nodes_second_pod_cidr_is_served_where_a_route_leads(make_lab: MakeLab) -> None:
    """Pods have an address in each of their node's CIDRs; flannel carries the first, a route by hand the second."""
    lab = await make_lab(nodes=2, pod_cidrs_per_node=2, families=("ipv4",))
    plan = lab.network.nodes["node2"]
    second = plan.pods[0].addresses[1].ip
    assert str(second) == "10.245.2.10"
    assert not (await fetch("pod1-1", second, HTTP_PORT, timeout=0.3)).ok
    await ip_batch("node1", [f"route add {plan.pod_cidrs[1]} via {plan.leg.address('ipv4')}"])
    await ip_batch("node2", [f"route add {lab.network.nodes['node1'].pod_cidrs[1]} via 192.0.2.1"])
    assert (await fetch("pod1-1", second, HTTP_PORT)).pod == "pod2-1"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
async def test_large_bodies_pass_the_tunnel(lab: Lab, family: Any) -> None:
    """32 KiB arrive; the tunnel carries 1450 bytes of IPv4 and 1430 of IPv6, and not one more."""
    target = lab.network.nodes["node2"].pods[0].address(family)
    found = await sizes("pod1-1", target, 1450 if family == "ipv4" else 1430)
    assert found.ok, found


async def test_a_node_that_joins_is_meshed_and_one_that_leaves_is_forgotten(lab: Lab) -> None:
    """Adding and deleting a node is followed by all the others."""
    plan = await lab.add_node()
    await lab.flanneld.wait_until_meshed()
    assert (await lab.reach(sources=[plan.pods[0].name])).ok
    await lab.remove_node("node1")
    await eventually(
        lambda: not any("node1" in lab.flanneld.knows(name) for name in ("node2", "node3", "node4")), "node1"
    )
    routes = (await run(["ip", "-n", "node2", "route"])).out
    assert "10.244.1.0/24" not in routes
    assert "10.244.4.0/24 via 10.244.4.0 dev flannel.1 onlink" in routes
    assert (await lab.reach(sources=lab.pod_names())).ok


async def test_a_changed_tunnel_mac_is_followed(lab: Lab) -> None:
    """A node that publishes new MACs for both families is reachable again; the old FDB entry stays, as in reality."""
    await lab.flanneld.set_vtep_mac("node2", {"ipv4": "02:aa:00:00:00:02", "ipv6": "02:aa:00:00:00:06"})
    deadline = time.monotonic() + 5
    while not (await lab.reach(sources=["pod1-1"], timeout=0.3)).ok:
        assert time.monotonic() < deadline
    entries = (await run(["bridge", "-n", "node1", "fdb", "show", "dev", "flannel.1"])).out
    assert "02:aa:00:00:00:02 dst 192.0.2.2" in entries
    assert "02:00:00:70:00:02 dst 192.0.2.2" in entries


async def test_one_family_changing_alone_is_not_noticed(lab: Lab) -> None:
    """A dual-stack flanneld ignores an update that leaves one family's annotations as they were."""
    await lab.flanneld.set_vtep_mac("node2", {"ipv4": "02:aa:00:00:00:02"})
    # A later change that does count proves that the earlier one has been seen and left.
    await lab.add_node()
    await lab.flanneld.wait_until_meshed()
    entries = (await run(["bridge", "-n", "node1", "fdb", "show", "dev", "flannel.1"])).out
    assert "02:aa:00:00:00:02" not in entries
    # A flanneld that started after the change has read the new one.
    entries = (await run(["bridge", "-n", "node4", "fdb", "show", "dev", "flannel.1"])).out
    assert "02:aa:00:00:00:02" in entries


async def test_a_black_hole_is_named(lab: Lab) -> None:
    """A node whose tunnel MAC is not what it published is named; the rest is found to work."""
    for link in ("flannel.1", "flannel-v6.1"):
        await lab.network.set_vtep_mac("node2", "02:bb:00:00:00:01", link=link)
    matrix = await lab.reach(sources=lab.pod_names(), timeout=0.4)
    assert matrix.black_holes() == ("node2",)
    assert {cell.node for cell in matrix.failed} | {cell.place for cell in matrix.failed} == {
        "node1",
        "node2",
        "node3",
    }
    assert (await lab.reach(sources=["pod1-1", "pod3-1"], timeout=0.4)).black_holes() == ("node2",)


async def test_a_foreign_node_object_joins_a_device(lab: Lab) -> None:
    """A dummy Node with annotations makes all nodes build their half of a tunnel to gw1, which then reaches every pod."""
    gateway = lab.network.gateways[0]
    node: dict[str, Any] = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "device"}}
    await lab.client.create("/api/v1/nodes", node)
    made = await lab.client.get("/api/v1/nodes/device")
    assert made["spec"]["podCIDRs"] == ["10.244.0.0/24", "fd00:10:244::/64"]
    macs = {"ipv4": "02:cc:00:00:00:04", "ipv6": "02:cc:00:00:00:06"}
    publics = {family: gateway.under.address(family) for family in lab.topology.families}
    await lab.cluster.annotate("device", annotations_for(publics, macs))  # type: ignore[arg-type]
    await lab.flanneld.wait_until_meshed("device")

    tunnel = "type vxlan id 1 dev under dstport 8472 nolearning"
    lines = [
        f"link add fl4 address {macs['ipv4']} mtu 1450 {tunnel} local {publics['ipv4']}",
        f"link add fl6 address {macs['ipv6']} mtu 1430 {tunnel} local {publics['ipv6']}",
        "addr add 10.244.0.0/32 dev fl4",
        "addr add fd00:10:244::/128 dev fl6 nodad",
        "link set fl4 up",
        "link set fl6 up",
    ]
    entries = []
    for plan in lab.network.nodes.values():
        for family, device, kind in (("ipv4", "fl4", 0x70), ("ipv6", "fl6", 0x76)):
            mac = f"02:00:00:{kind:02x}:00:{plan.index:02x}"
            cidr = plan.pod_cidr(family)  # type: ignore[arg-type]
            lines.append(f"neigh replace {cidr.network_address} lladdr {mac} dev {device} nud permanent")
            lines.append(f"route replace {cidr} via {cidr.network_address} dev {device} onlink")
            entries.append(f"fdb replace {mac} dev {device} dst {plan.leg.address(family)} self permanent")  # type: ignore[arg-type]
    await ip_batch("gw1", lines)
    await bridge_batch("gw1", entries)
    matrix = await lab.reach(sources=["gw1"])
    assert matrix.ok, matrix.rows()
    assert (await fetch("gw1", lab.network.pods[0].address("ipv4"), HTTP_PORT)).source == "10.244.0.0"

    await lab.cluster.delete("device")
    await eventually(
        lambda: all("device" not in lab.flanneld.knows(name) for name in lab.network.nodes), "device is gone"
    )
    assert not (await ping("gw1", lab.network.pods[0].address("ipv4"), timeout=0.3)).ok


async def test_a_node_without_annotations_or_with_wrong_ones_hurts_nobody(lab: Lab) -> None:
    """Foreign Nodes that flannel cannot read are left out, with a note where the real one logs an error."""
    await lab.client.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "plain"}})
    good = annotations_for(
        {"ipv4": lab.topology.node(99).leg.address("ipv4"), "ipv6": lab.topology.node(99).leg.address("ipv6")},
        {"ipv4": "02:cc:00:00:00:04", "ipv6": "02:cc:00:00:00:06"},
    )
    broken = {key: value.replace('"VtepMAC"', "'VtepMAC'") for key, value in good.items()}
    node = {
        "metadata": {"name": "broken", "annotations": broken},
        "spec": {"podCIDRs": ["10.244.99.0/24", "fd00:10:244:63::/64"]},
    }
    await lab.client.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", **node})
    await eventually(lambda: any(note.startswith("broken: error") for note in lab.flanneld.notes), "the note")
    assert not any(note.startswith("plain") for note in lab.flanneld.notes)
    assert all({"plain", "broken"}.isdisjoint(lab.flanneld.knows(name)) for name in lab.network.nodes)
    assert (await lab.reach(sources=lab.pod_names())).ok


async def test_the_api_is_reachable_from_gateway_and_nodes(lab: Lab) -> None:
    """A process in gw1 or in a node talks to the API over the underlay, with the kubeconfig's CA and token."""
    program = (
        "import json,ssl,sys,urllib.request as u;"
        "c=json.load(open(sys.argv[1]));s=c['clusters'][0]['cluster'];"
        "r=u.Request(s['server']+'/api/v1/nodes',headers={'Authorization':'Bearer '+c['users'][0]['user']['token']});"
        "print(len(json.load(u.urlopen(r,timeout=5,context=ssl.create_default_context(cafile=s['certificate-authority'])))['items']))"
    )
    for place in ("gw1", "node1"):
        running = await lab.start_process(place, ["python3", "-c", program, str(lab.kubeconfig)])
        assert await running.wait(timeout=10) == 0, running.tail()
        assert running.read_log() == "3\n"


async def test_a_workload_shows_up_as_service_and_slices(lab: Lab) -> None:
    """Publishing a workload makes what the endpointslice controller would, and states change in place."""
    workload = Workload(
        name="web",
        pods=dict.fromkeys(lab.pod_names(), "ready"),
        families=("ipv4", "ipv6"),
        ports=((80, "TCP"), (53, "UDP"), (53, "TCP")),
    )
    await lab.publish(workload)
    slices = {item["metadata"]["name"]: item for item in lab.api.list("endpointslices")}
    assert set(slices) == {"web-ipv4-1", "web-ipv6-1"}
    assert [one["addresses"] for one in slices["web-ipv4-1"]["endpoints"]] == [
        ["10.244.1.10"],
        ["10.244.2.10"],
        ["10.244.3.10"],
    ]
    ports = {one["name"]: one["targetPort"] for one in lab.api.get("services", "web")["spec"]["ports"]}
    assert ports == {"tcp-80": 8080, "udp-53": 8053, "tcp-53": 8080}
    assert {one["name"]: one["port"] for one in slices["web-ipv4-1"]["ports"]} == ports
    await lab.cluster.set_state(workload, {"pod2-1": "terminating"}, lab.network.pods)
    states = [one["conditions"] for one in lab.api.get("endpointslices", "web-ipv6-1")["endpoints"]]
    assert [state["ready"] for state in states] == [True, False, True]
    assert states[1]["terminating"]
    assert [pod["status"]["podIP"] for pod in lab.api.list("pods")] == ["10.244.1.10", "10.244.2.10", "10.244.3.10"]
    await lab.cluster.set_ready("node3", False)
    ready = {one["metadata"]["name"]: one["status"]["conditions"][0]["status"] for one in lab.api.list("nodes")}
    assert ready == {"node1": "True", "node2": "True", "node3": "False"}
    assert len(lab.api.get("nodes", "node3")["status"]["addresses"]) == 3
    await lab.cluster.retract(workload)
    assert lab.api.list("endpointslices") == []


async def test_a_lab_without_flannel_needs_only_routes(make_lab: MakeLab) -> None:
    """Direct case: routes over the underlay lead gw1 to the pods at the full MTU, and the spread of requests is counted."""
    lab = await make_lab(nodes=2, cni="none", families=("ipv4",))
    for plan in lab.network.nodes.values():
        await ip_batch("gw1", [f"route add {plan.pod_cidr('ipv4')} via {plan.leg.address('ipv4')}"])
    assert (await lab.reach(sources=["gw1"])).ok
    pod = lab.network.pods[0]
    assert (await sizes("gw1", pod.address("ipv4"), 1500)).ok
    counts = await spread("gw1", pod.address("ipv4"), HTTP_PORT, requests=5)
    assert counts.ok
    assert counts.pods == {"pod1-1": 5}


async def test_flannel_follows_an_api_that_forgets_and_restarts_its_watches(lab: Lab) -> None:
    """Closed watches and a compacted history do not stop the emulation from following the nodes."""
    lab.api.compact()
    lab.api.close_watches("nodes", abrupt=True)
    await lab.add_node()
    await lab.flanneld.wait_until_meshed()
    assert json.loads(
        lab.api.get("nodes", "node4")["metadata"]["annotations"]["flannel.alpha.coreos.com/backend-data"]
    ) == {
        "VNI": 1,
        "VtepMAC": "02:00:00:70:00:04",
    }
