"""What is there in part is ours, and is taken for neither whole nor absent."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from isthmus.app.planfile import read_plans, write_plans
from isthmus.core.cni import Decision, Finding
from isthmus.core.ground import Ground
from isthmus.core.paths import flannel
from isthmus.core.services import answered
from isthmus.model.facts import Endpoint, NodeFacts, SliceFacts
from isthmus.model.resources import AnyResource, Partial, Route, VirtualAddress, VirtualServer, served_address

from .rig import NOW, Rig, node, service, vip

SERVER = "virtual-server 192.0.2.100:80/tcp"
PART = Partial(SERVER, 60, "its lbvserver")


def served() -> Rig:
    rig = Rig()
    rig.put(
        node("n1", "192.0.2.11", "10.244.1.0/24"),
        service("shop/web", 80),
        SliceFacts("shop", "web-1", "web", 4, (("p80", "tcp", 8080),), (Endpoint(ip_address("10.244.1.5"), "n1"),)),
        vip("192.0.2.100", "shop/web"),
    )
    rig.settle()
    return rig


@pytest.mark.parametrize(
    ("resource", "address"),
    [
        (PART, "192.0.2.100"),
        (Partial("virtual-server [2001:db8::1]:443/udp", 60, "a member"), "2001:db8::1"),
        (Partial("vip 2001:db8::1", 70, "its subnet"), "2001:db8::1"),
        (VirtualServer(ip_address("192.0.2.1"), "tcp", 80), "192.0.2.1"),
        (VirtualAddress(ip_address("192.0.2.1"), "lo"), "192.0.2.1"),
        (Partial("route 10.0.0.0/24", 40, "a half"), None),
        (Partial("source 10.0.0.1", 20, "its binding"), None),
        (Route(ip_network("10.0.0.0/24"), ip_address("192.0.2.1"), "eth0"), None),
    ],
)
def test_whose_vip_it_is(resource: AnyResource, address: str | None) -> None:
    """A part of a virtual server is known by its identity to belong to a VIP."""
    assert served_address(resource) == (ip_address(address) if address else None)


def test_a_part_answers_nobody() -> None:
    """A Service counts as served by what is whole alone."""
    rig = served()
    wanted = rig.planner.wishes.of(next(s for s in rig.planner.wishes.scopes() if s.kind == "service"))
    assert answered(wanted, rig.holds()) == {ip_address("192.0.2.100"): True}
    assert answered(wanted, {**rig.holds(), SERVER: PART}) == {ip_address("192.0.2.100"): False}


def test_a_part_is_drift_and_is_not_written_down() -> None:
    """What somebody took a piece of is put right, and what is written down of it is what it should be, or nothing."""
    rig = served()
    rig.driver.tamper(PART)
    plan = rig.full()
    assert [(change.action, change.before) for change in plan.changes] == [("update", PART)]
    assert [drift.now for drift in plan.drifts] == [PART.describe()]
    record = rig.planner.record(SERVER)
    assert record is not None
    assert isinstance(record[0], VirtualServer)
    stranger = rig.fresh()
    stranger.full(NOW)
    assert stranger.record(SERVER) is None
    rig.apply(plan)
    assert rig.full().empty


def test_a_reviewed_plan_tells_of_parts(tmp_path: Path) -> None:
    """A plan with a part in it reads back from its file as it was."""
    rig = served()
    rig.driver.tamper(PART)
    plan = rig.full()
    path = tmp_path / "plan.json"
    write_plans(path, [plan], [], now=NOW, allow_deletes=False, repair_drift=False)
    assert read_plans(path).changes["gw"] == plan.changes


@pytest.mark.parametrize(
    ("said", "published", "found"),
    [
        ((), ("10.244.0.0/16",), "10.244.0.0/16"),
        (("10.244.0.0/20",), ("10.244.0.0/16",), "10.244.0.0/20"),
        ((), ("10.96.0.0/16",), None),
        ((), (), None),
    ],
)
def test_flannels_network_is_what_the_link_says_or_flannel_itself(
    said: tuple[str, ...], published: tuple[str, ...], found: str | None
) -> None:
    """The link's podNetworks go first, then flannel's own configuration; nothing is guessed."""
    rig = Rig("flannel", link={"podNetworks": list(said)})
    rig.put(
        NodeFacts("isthmus-lab-gw", pod_cidrs=(ip_network("10.244.9.0/24"),), labels={"isthmus.dev/device": "gw"})
    )
    finding = Finding("flannel", True, "vxlan", (), ranges=tuple(ip_network(text) for text in published))
    rig.world.view("east").homes.decision = Decision("flannel", "certain", "vxlan", "", (finding,))
    ground = Ground(rig.world, rig.world.links["lab"], rig.world.devices["gw"], rig.driver.facts)
    assert flannel.network(ground, ip_network("10.244.9.0/24")) == (ip_network(found) if found else None)
