"""The laws that are about what must *not* happen: nothing goes for ignorance, one bad object hurts only itself."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.guard import DeleteWindow
from isthmus.core.planner import DevicePlanner
from isthmus.core.restore import restoring
from isthmus.model.facts import Endpoint, NodeFacts, ServiceFacts, SliceFacts
from isthmus.model.plan import Scope
from isthmus.model.resources import AnyResource, Route, VirtualServer

from .places import nodes, services, slices
from .rig import Rig, node, service, vip

OVERLAY = {"networks": ["10.200.0.0/24"]}
ATTACHED = '{"addresses":["10.200.0.%d/24"],"mac":"02:00:00:00:01:0%d","vni":7700,"port":7700,"mtu":1450}'
FLANNEL = {
    "flannel.alpha.coreos.com/backend-type": "vxlan",
    "flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"0a:58:00:00:00:0%d"}',
    "flannel.alpha.coreos.com/public-ip": "192.0.2.1%d",
}
PATHS = ("direct", "flannel", "overlay")


def good(number: int) -> NodeFacts:
    annotations = {"isthmus.dev/overlay.lab": ATTACHED % (number, number)}
    annotations |= {key: value % number if "%d" in value else value for key, value in FLANNEL.items()}
    return node(f"good{number}", f"192.0.2.1{number}", f"10.250.{number}.0/24", annotations=annotations)


def served(path: str, **link: object) -> Rig:
    """Return a rig with two good nodes and two Services, settled."""
    rig = Rig(path, link={"overlay": OVERLAY, **link}, device={"deletes": {"floor": 100000}})
    rig.world.device_addresses["lab", "gw"] = (ip_interface("10.200.0.254/24"),)
    rig.put(
        NodeFacts("isthmus-lab-gw", pod_cidrs=(ip_network("10.250.9.0/24"),), labels={"isthmus.dev/device": "gw"})
    )
    rig.put(good(1), good(2))
    for name in ("web", "api"):
        found = tuple(Endpoint(ip_address(f"10.250.{n}.5"), f"good{n}") for n in (1, 2))
        rig.put(
            service(f"shop/{name}", 80),
            SliceFacts("shop", f"{name}-1", name, 4, (("p80", "tcp", 8080),), found),
        )
    rig.put(vip("192.0.2.100", "shop/web"), vip("203.0.113.1", "shop/api"))
    rig.settle()
    return rig


# --- law 3 ------------------------------------------------------------------------------------------------------------


def _forget_cluster(rig: Rig) -> None:
    rig.world.clusters.clear()


def _stranger(rig: Rig) -> None:
    rig.world.view("east").stranger = "this is not the cluster it was"
    for name in list(rig.world.view("east").nodes):
        rig.world.put_node("east", name, None)


def _suspect_and_empty(rig: Rig) -> None:
    rig.world.view("east").suspect["nodes"] = "an empty list after a full one"
    rig.world.view("east").suspect["services"] = "an empty list after a full one"


def _not_yet(rig: Rig, kind: str) -> None:
    """Have one kind be as it is right after a start: nothing of it is there, and nobody has read it."""
    view = rig.world.view("east")
    for namespace, name in list(view.keys(kind)):
        rig.world.put("east", kind, (namespace, name), None)
    view.pending.add(kind)


IGNORANCE: dict[str, Callable[[Rig], object]] = {
    "configuration in doubt": lambda rig: setattr(rig.world, "config_doubt", "half a file"),
    "cluster never read": _forget_cluster,
    "another cluster answers": _stranger,
    "answers in doubt": _suspect_and_empty,
    "no KubeCluster": lambda rig: rig.world.cluster_kinds.clear(),
    "no EdgeDevice": lambda rig: rig.world.devices.clear(),
    "no ClusterLink": lambda rig: rig.world.links.clear(),
    "no path chosen": lambda rig: rig.kind(
        "ClusterLink", "lab", {"cluster": "east", "devices": ["gw"], "path": "auto"}
    ),
    "link without the device": lambda rig: rig.kind(
        "ClusterLink", "lab", {"cluster": "east", "devices": ["other"], "path": "direct"}
    ),
    "nodes unread": lambda rig: rig.world.view("east").pending.add("nodes"),
    "slices unread": lambda rig: rig.world.view("east").pending.add("endpointslices"),
    "slices not read yet": lambda rig: _not_yet(rig, "endpointslices"),
    "nodes not read yet": lambda rig: _not_yet(rig, "nodes"),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("what", sorted(IGNORANCE))
@pytest.mark.parametrize("restart", ["no restart", "restart", "restart without a memory"])
def test_ignorance_changes_nothing(path: str, what: str, restart: str) -> None:
    """Whatever is not known, the device keeps what it has, before a restart and after one (AKO 1335, CIS 1911)."""
    rig = served(path)
    held = rig.holds()
    assert held, "there is something to lose"
    IGNORANCE[what](rig)
    if restart != "no restart":
        rig.planner = rig.fresh(remember=rig.planner if restart == "restart" else None)
    everything = set(rig.planner.wishes.scopes()) | rig.world.scopes_of_device("gw")
    assert rig.touch(everything).empty
    assert rig.full().empty
    assert rig.holds() == held


@pytest.mark.parametrize("path", PATHS)
def test_what_was_dirty_while_unread_is_made_up_for(path: str) -> None:
    """A change that came while something else was unread is planned by the next pass after that, whatever it is about."""
    rig = served(path)
    rig.world.view("east").pending.add("endpointslices")
    dirty = rig.put(service("shop/new", 80), vip("192.0.2.101", "shop/new"))
    assert rig.touch(dirty).empty
    rig.world.view("east").pending.clear()
    plan = rig.touch([])
    assert {change.identity for change in plan.changes} == {"vip 192.0.2.101", "virtual-server 192.0.2.101:80/tcp"}
    assert rig.full().empty


@given(st.lists(st.tuples(st.integers(0, 700), st.integers(1, 12)), max_size=12))
def test_no_window_loses_more_than_is_allowed(steps: list[tuple[int, int]]) -> None:
    """Within any window no more is deleted than the floor or the share, in however many passes and after lost records."""
    rig = Rig(device={"deletes": {"floor": 5, "share": 0.1, "window": "600s"}})
    rig.put(*(node(f"n{i}", f"192.0.2.{i}", f"10.250.{i}.0/24") for i in range(10, 60)))
    rig.settle()
    rig.planner.owners.clear()
    gone = DeleteWindow()
    left = list(range(10, 60))
    for seconds, count in steps:
        rig.now += seconds
        for number in left[:count]:
            rig.world.put_node("east", f"n{number}", None)
        left = left[count:]
        owned = len(rig.holds())
        plan = rig.full()
        rig.apply(plan)
        gone.add(rig.now, plan.count("delete"))
        assert gone.count(rig.now, 600) <= max(5, int(0.1 * owned))


# --- law 5 ------------------------------------------------------------------------------------------------------------


def others(rig: Rig, scope: Scope) -> dict[str, AnyResource]:
    """Return what the device holds for anybody but ``scope``."""
    return {
        identity: resource
        for identity, resource in rig.holds().items()
        if set(rig.planner.owners.get(identity, ())) - {scope}
    }


@pytest.mark.parametrize("path", PATHS)
@given(data=st.data())
def test_one_bad_object_hurts_only_itself(path: str, data: st.DataObject) -> None:
    """With any one more Node, Service or EndpointSlice, good or bad, everybody else's resources are what they were."""
    rig = served(path)
    before = rig.holds()
    young = "2030-01-01T00:00:00Z"  # an older object with the same claim would rightly win it
    what = data.draw(st.sampled_from(("node", "service")))
    if what == "node":
        scope = Scope("node", "lab", "n1")
        rig.put(msgspec.structs.replace(data.draw(nodes("n1")), created=young))
    else:
        scope = Scope("service", "lab", "bank/web")
        bad: ServiceFacts = msgspec.structs.replace(data.draw(services("bank/web")), created=young)
        rig.put(bad, data.draw(slices("bank/web", "web-1")), vip("192.0.2.101", "bank/web"))
    plan = rig.settle()
    assert others(rig, scope) == before
    assert all(refusal.scope == scope for refusal in plan.refusals), "and what is wrong is said of it alone"


# --- what one scope means for another -----------------------------------------------------------------------------------


def test_the_loser_gets_route_and_members_when_the_winner_leaves() -> None:
    """One keyed pass over the winner's end gives the loser its route and its pods their place (NetScaler ingress 705)."""
    rig = Rig()
    rig.put(
        node("old", "192.0.2.11", "10.244.1.0/24", created="2024-01-01T00:00:00Z"),
        node("new", "192.0.2.12", "10.244.1.0/24", created="2024-02-01T00:00:00Z"),
        service("shop/web", 80),
        SliceFacts("shop", "web-1", "web", 4, (("p80", "tcp", 8080),), (Endpoint(ip_address("10.244.1.5"), "new"),)),
        vip("192.0.2.100", "shop/web"),
    )
    assert len(rig.settle().conflicts) == 1
    rig.world.put_node("east", "old", None)
    plan = rig.touch([Scope("node", "lab", "old")])
    assert [change.describe().partition("   ")[0] for change in plan.changes] == [
        "~ route 10.244.1.0/24 via 192.0.2.12 dev eth0",
        "~ virtual-server 192.0.2.100:80/tcp round-robin snat 192.0.2.1 -> 10.244.1.5:8080",
    ]
    assert rig.full().lines() == ["gw: 0 to create, 0 to update, 0 to delete"]


def test_readiness_reaches_services_at_once() -> None:
    """A node that was found NotReady long ago loses its members by the scopes that its own news dirties."""
    rig = served("direct")
    dirty = rig.put(msgspec.structs.replace(good(1), not_ready_since=rig.now - 1000))
    assert rig.touch(dirty).count("update") == 2
    assert rig.full().empty


@pytest.mark.parametrize("path", PATHS)
def test_an_ordered_end_needs_no_answer_from_the_cluster(path: str) -> None:
    """A link that is being deleted goes though its cluster is away, whoever remembers what, in one keyed pass."""
    rig = served(path)
    rig.world.view("east").pending.update(("nodes", "services", "endpointslices"))
    spec = {"cluster": "east", "devices": ["gw"], "path": path, "overlay": OVERLAY}
    rig.kind("ClusterLink", "lab", spec, deletionTimestamp="2024-01-01T00:00:00Z")
    rig.touch([Scope("link", "lab")])
    assert rig.holds() == {}
    assert not rig.planner.owners
    assert not rig.planner.all_refusals


def test_nothing_is_remembered_of_what_is_gone() -> None:
    """What was held for an absent link and is then taken away by somebody else leaves no record behind."""
    rig = served("direct")
    rig.world.links.clear()
    assert rig.full().held
    rig.driver.resources.clear()
    assert not rig.full().held
    assert not rig.planner.owners


def test_a_tunnel_is_not_moved_to_where_a_foreign_one_is() -> None:
    """A new VNI that somebody else has is a conflict; the tunnel that stands is not taken down for it."""
    rig = served("overlay")
    held = rig.holds()
    rig.driver.plant("vxlan 9/7700 ipv4", "vxlan9 vxlan id 9 dstport 7700")
    taken = {"networks": ["10.200.0.0/24"], "vni": 9}
    rig.kind("ClusterLink", "lab", {"cluster": "east", "devices": ["gw"], "path": "overlay", "overlay": taken})
    assert [conflict.holder for conflict in rig.full().conflicts] == ["vxlan9 vxlan id 9 dstport 7700"]
    rig.driver.tamper(msgspec.structs.replace(held["tunnel isth7700"], vni=7))
    rig.driver.plant("vxlan 7700/7700 ipv4", "vxlan0 vxlan id 7700 dstport 7700")
    rig.kind("ClusterLink", "lab", {"cluster": "east", "devices": ["gw"], "path": "overlay", "overlay": OVERLAY})
    plan = rig.full()
    assert (plan.empty, [conflict.identity for conflict in plan.conflicts]) == (True, ["tunnel isth7700"])


# --- restoring --------------------------------------------------------------------------------------------------------


def recorded(planner: DevicePlanner) -> list[tuple[AnyResource, tuple[Scope, ...]]]:
    return [(resource, planner.owners.get(identity, ())) for identity, resource in planner.observed.items()]


def test_restoring_makes_what_is_not_there_and_touches_nothing_else() -> None:
    """After a reboot what stood is made again; what stands with a newer value, or is foreign, is left alone."""
    rig = served("direct")
    record = recorded(rig.planner)
    rig.driver.lose("route 10.250.1.0/24")
    rig.driver.plant("vip 192.0.2.100", "somebody's address")
    newer = VirtualServer(ip_address("192.0.2.100"), "tcp", 80)
    rig.driver.tamper(newer)
    rig.world.clusters.clear()
    planner = rig.fresh()
    changes = restoring(planner, record)
    assert [change.describe() for change in changes] == ["+ route 10.250.1.0/24 via 192.0.2.11 dev eth0"]
    assert planner.owners["route 10.250.1.0/24"] == (Scope("node", "lab", "good1"),)


def test_restoring_writes_nothing_where_nothing_may_be_written() -> None:
    """A device that is only observed, or being deleted, gets nothing back."""
    rig = served("direct")
    record = recorded(rig.planner)
    rig.driver.resources.clear()
    rig.kind("EdgeDevice", "gw", {"driver": "memory", "policy": "observe"})
    assert restoring(rig.fresh(), record) == ()
    rig.kind("EdgeDevice", "gw", {"driver": "memory"}, deletionTimestamp="2024-01-01T00:00:00Z")
    assert restoring(rig.fresh(), record) == ()


# --- order ------------------------------------------------------------------------------------------------------------


def test_a_path_is_changed_without_a_moment_without_routes() -> None:
    """When a fleet moves from direct to the overlay, tunnel and entries come first and each route is one update."""
    rig = served("direct")
    routes = sum(isinstance(resource, Route) for resource in rig.holds().values())
    rig.kind("ClusterLink", "lab", {"cluster": "east", "devices": ["gw"], "path": "overlay", "overlay": OVERLAY})
    plan = rig.fresh(remember=rig.planner).full(rig.now)
    kinds = [(change.action, type(change.resource).__name__) for change in plan.changes]
    assert kinds.count(("update", "Route")) == routes
    assert ("delete", "Route") not in kinds
    assert kinds.index(("create", "Tunnel")) < kinds.index(("create", "FdbEntry")) < kinds.index(("update", "Route"))
    assert rig.touch([Scope("link", "lab")]).changes == plan.changes, "the link's own scope is enough to say so"
