"""Two clusters with the same nodes' addresses inside, the same pod CIDRs, on one device: nothing of one is the other's."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import msgspec
import pytest

from isthmus.core.choose import choose
from isthmus.core.cni import Decision, Finding
from isthmus.core.explain import explain
from isthmus.core.ground import Ground
from isthmus.core.reach import questions
from isthmus.model.facts import DeviceFacts, DeviceTraits, Endpoint, SliceFacts
from isthmus.model.plan import Scope
from isthmus.model.resources import PolicyRoute, Route, VirtualServer

from .rig import FACTS, Rig, document, node, put_kind, service, vip

ATTACHED = '{"addresses":["10.20%d.0.1/24"],"mac":"02:00:00:00:01:01","vni":770%d,"port":770%d,"mtu":1450}'
TRAITS = DeviceTraits("flooded", onlink=False, clamps=False, profiles=True, policy_routes=True)


def shared(paths: tuple[str, str] = ("overlay", "overlay"), **link: Any) -> Rig:
    """Return a device between clusters ``east`` (link ``lab``) and ``west`` (link ``more``), alike in all but addresses."""
    lo, eth0 = FACTS.interfaces
    more = tuple(ip_interface(f"192.0.2.{n}/24") for n in (2, 3))
    facts = DeviceFacts((lo, msgspec.structs.replace(eth0, addresses=(*eth0.addresses, *more))), TRAITS)
    rig = Rig(facts=facts)
    put_kind(rig.world, document("KubeCluster", "west", {"inCluster": True}))
    rig.world.view("west").pending.clear()
    for number, (name, cluster, path) in enumerate((("lab", "east", paths[0]), ("more", "west", paths[1]))):
        own: Mapping[str, Any] = {"policyRoutes": {"sources": [f"192.0.2.{number + 2}"]} if path == "direct" else {}}
        vxlan = {"networks": [f"10.20{number}.0.0/24"], "vni": 7700 + number, "port": 7700 + number}
        spec = {"cluster": cluster, "devices": ["gw"], "path": path, "overlay": vxlan, **own, **link}
        rig.kind("ClusterLink", name, spec)
        rig.world.device_addresses[name, "gw"] = (ip_interface(f"10.20{number}.0.254/24"),)
        annotations = {f"isthmus.dev/overlay.{name}": ATTACHED % (number, number, number)}
        rig.world.put_node(
            cluster, "n1", node("n1", f"192.0.2.{number + 11}", "10.244.1.0/24", annotations=annotations)
        )
        rig.world.put_service(cluster, ("shop", "web"), service("shop/web", 80))
        found = (Endpoint(ip_address("10.244.1.5"), "n1"),)
        slices = SliceFacts("shop", "web-1", "web", 4, (("p80", "tcp", 8080),), found)
        rig.world.put_slice(cluster, ("shop", "web-1"), slices)
        rig.put(vip(f"203.0.113.{number + 1}", "shop/web", cluster=cluster))
    return rig


@pytest.mark.parametrize("paths", [("overlay", "overlay"), ("direct", "overlay"), ("direct", "direct")])
def test_what_is_sent_for_one_cluster_goes_to_its_nodes_alone(paths: tuple[str, str]) -> None:
    """From each virtual server's source there is one way to its pods, and it leads to the server's own cluster."""
    rig = shared(paths)
    plan = rig.settle()
    assert plan.conflicts == plan.refusals == ()
    held = rig.holds().values()
    assert not [one for one in held if isinstance(one, Route)]
    ways = {(one.source, one.prefix): (one.via, one.link) for one in held if isinstance(one, PolicyRoute)}
    servers = {str(one.address): one for one in held if isinstance(one, VirtualServer)}
    assert len(ways) == len(servers) == 2
    for number, path in enumerate(paths):
        server = servers[f"203.0.113.{number + 1}"]
        assert [member.address for member in server.members] == [ip_address("10.244.1.5")]
        [way] = [way for (source, _), way in ways.items() if source == server.source]
        via, link = (
            (f"192.0.2.{number + 11}", "eth0") if path == "direct" else (f"10.20{number}.0.1", f"isth770{number}")
        )
        assert way == (ip_address(via), link)


def test_one_that_leaves_takes_nothing_of_the_others() -> None:
    """When one link is deleted, its routes go and the other's stay as they are."""
    rig = shared()
    rig.settle()
    others = {identity: one for identity, one in rig.holds().items() if "10.201.0" in str(one)}
    spec = {"cluster": "east", "devices": ["gw"], "path": "overlay", "policyRoutes": {}}
    vxlan = {"networks": ["10.200.0.0/24"]}
    rig.kind("ClusterLink", "lab", {**spec, "overlay": vxlan}, deletionTimestamp="2024-01-01T00:00:00Z")
    rig.settle()
    assert others.items() <= rig.holds().items()
    assert not [one for one in rig.holds().values() if "10.200.0" in str(one)]


def test_without_policy_routes_on_both_it_is_a_conflict_that_names_them() -> None:
    """Two links that want one pod CIDR by destination: the loser hears what would keep them apart."""
    rig = shared(policyRoutes=None)
    [conflict] = rig.settle().conflicts
    assert conflict.identity == "route 10.244.1.0/24"
    assert "spec.policyRoutes" in conflict.remedy


def test_a_node_is_explained_and_asked_by_its_own_links_address() -> None:
    """What explain says of a node of both names, and what a probe asks, tells the two clusters apart."""
    rig = shared()
    rig.settle()
    found = explain("n1", rig.world, {"gw": rig.planner})
    assert found is not None
    assert found.holds, [hop for hop in found.hops if hop.ok is False]
    told = [hop.text for hop in found.hops if "should have policy-route" in hop.text]
    assert told == [
        "gw should have policy-route 10.244.1.0/24 from 10.200.0.254 via 10.200.0.1 dev isth7700",
        "gw should have policy-route 10.244.1.0/24 from 10.201.0.254 via 10.201.0.1 dev isth7701",
    ]
    for link, source, address in (("lab", "10.200.0.254", "10.200.0.1"), ("more", "10.201.0.254", "10.201.0.1")):
        ground = rig.planner._grounds[link]
        asked = questions(ground, ground.cluster.nodes["n1"])
        assert {str(question.source) for question in asked} == {source}
        assert {str(question.address) for question in asked if question.role == "node"} == {address}
    assert rig.planner.joined_nodes("more") == ["n1"]
    assert rig.planner.complaint(Scope("node", "more", "n1")) is None


@pytest.mark.parametrize(
    ("link", "traits", "path", "rejected"),
    [
        ({}, {"policy_routes": False}, None, {"overlay": "IP-in-IP needs policy routes, and gw has none"}),
        ({}, {"policy_routes": True}, "overlay", {}),
        (
            {"policyRoutes": {}},
            {"policy_routes": True},
            "overlay",
            {"direct": "spec.policyRoutes names no address of gw on a segment that no other link sends from"},
        ),
    ],
)
def test_auto_takes_no_path_that_the_device_cannot_have(
    link: Mapping[str, Any], traits: Mapping[str, Any], path: str | None, rejected: Mapping[str, str]
) -> None:
    """A path that needs policy routes, or an address to lead them from, is passed over with the reason."""
    overlay = {"networks": ["10.200.0.0/24"], "encapsulation": "ipip"}
    facts = msgspec.structs.replace(FACTS, traits=DeviceTraits(onlink=False, **traits))
    rig = Rig("auto", link={"overlay": overlay, **link}, facts=facts)
    rig.put(node("n1", "192.0.2.11", "10.244.1.0/24"))
    ground = Ground(rig.world, rig.world.links["lab"], rig.world.devices["gw"], facts)
    choice, why_not = choose(ground, {})
    assert (choice.path if choice is not None else None) == path
    assert rejected.items() <= dict(why_not).items()


@pytest.mark.parametrize(("ranges", "path"), [((), "overlay"), (("10.244.0.0/16",), "flannel")])
def test_auto_takes_flannel_on_an_appliance_where_its_network_is_known(ranges: tuple[str, ...], path: str) -> None:
    """Next hops in subnets of its own need flannel's whole network; without it the overlay is taken, and it is said why."""
    facts = msgspec.structs.replace(FACTS, traits=TRAITS)
    rig = Rig("auto", link={"overlay": {"networks": ["10.200.0.0/24"]}}, facts=facts)
    prefix = "flannel.alpha.coreos.com/"
    annotations = {
        f"{prefix}backend-type": "vxlan",
        f"{prefix}backend-data": '{"VNI":1,"VtepMAC":"0a:58:00:00:00:01"}',
        f"{prefix}public-ip": "192.0.2.11",
    }
    rig.put(node("n1", "192.0.2.11", "10.244.1.0/24", annotations=annotations))
    finding = Finding(
        "flannel", True, "vxlan", (), tunnels=("vxlan",), ranges=tuple(ip_network(text) for text in ranges)
    )
    rig.world.view("east").homes.decision = Decision("flannel", "certain", "vxlan", "", (finding,))
    ground = Ground(rig.world, rig.world.links["lab"], rig.world.devices["gw"], facts)
    choice, why_not = choose(ground, {})
    assert choice is not None
    assert choice.path == path
    assert ("flannel's whole network" in dict(why_not).get("flannel", "")) == (path == "overlay")
