"""Two or three gateways on one segment: one answers for a VIP, whoever dies, returns or is cut off, in any order."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.explain import explain
from isthmus.core.planner import DevicePlanner
from isthmus.core.restore import restoring
from isthmus.core.standing import roles, standing, stirred
from isthmus.core.world import World
from isthmus.drivers.base import Outcome
from isthmus.drivers.memory import MemoryDriver
from isthmus.model.facts import DeviceFacts, Endpoint, Interface
from isthmus.model.plan import Change, Plan
from isthmus.model.resources import IPAddress, VirtualAddress

from .rig import NOW, document, drive, endpoints, node, put_kind, service, vip

V: IPAddress = ip_address("192.0.2.100")
IDENTITY = f"vip {V}"
GATEWAYS = ("gw1", "gw2", "gw3")


def facts(number: int, *, subnet: str = "192.0.2", up: bool = True) -> DeviceFacts:
    return DeviceFacts((Interface("eth0", addresses=(ip_interface(f"{subnet}.{number}/24"),), up=up),))


class Segment:
    """Gateways with devices in memory on one segment, a world, and a controller that may or may not reach each of them.

    The segment is played as drivers see it: who takes a lapsing VIP asks whether another that has power holds it.
    """

    def __init__(
        self, *gateways: str, standby: Mapping[str, Any] | None = None, seen: Mapping[str, DeviceFacts] | None = None
    ) -> None:
        self.names = gateways or GATEWAYS[:2]
        self.now = NOW
        self.world = World()
        self.world.config_doubt = None
        put_kind(self.world, document("KubeCluster", "east", {"inCluster": True}))
        for name in self.names:
            put_kind(self.world, document("EdgeDevice", name, {"driver": "memory"}))
        self.link(**(standby or {}))
        self.world.view("east").pending.clear()
        self.world.put_node("east", "n1", node("n1", "192.0.2.11", "10.244.1.0/24"))
        self.world.put_service("east", ("shop", "web"), service("shop/web", 80))
        pod = Endpoint(ip_address("10.244.1.5"), "n1")
        self.world.put_slice("east", ("shop", "web-1"), endpoints("shop/web-1", "web", pod))
        self.world.put_vip("192.0.2.100", vip("192.0.2.100", "shop/web"))
        told = seen or {name: facts(number) for number, name in enumerate(self.names, 1)}
        self.drivers = {name: MemoryDriver(facts=told[name]) for name in self.names}
        self.powered = dict.fromkeys(self.names, True)
        self.reached = dict.fromkeys(self.names, True)
        self.restart()

    def link(self, **standby: Any) -> None:
        spec = {"cluster": "east", "devices": list(self.names), "path": "direct", "standby": standby}
        put_kind(self.world, document("ClusterLink", "lab", spec))

    def restart(self) -> None:
        """Forget all that the controller has in mind, as a new process does."""
        self.world.sights = type(self.world.sights)()
        self.planners = {n: DevicePlanner(self.world, n, self.drivers[n]) for n in self.names}

    def round(self) -> None:
        """Let the controller look at every gateway once, in order, and do what it plans."""
        for name in self.names:
            if not (self.powered[name] and self.reached[name]):
                self.world.sights.silent(name, self.now)
                continue
            planner = self.planners[name]
            seen = drive(self.drivers[name].observe())
            planner.see(seen.resources, seen.foreign, seen.facts)
            self.apply(name, planner.full(self.now))

    def apply(self, name: str, plan: Plan) -> None:
        async def collect() -> list[Outcome]:
            allowed = [change for change in plan.changes if not _asks(change) or self.free(name)]
            return [outcome async for outcome in self.drivers[name].apply(allowed)]

        for outcome in drive(collect()):
            assert outcome.result == "done"
            self.planners[name].carried_out(outcome.change, self.now)

    def free(self, name: str) -> bool:
        """Say whether nobody but ``name`` answers for the VIP on the segment."""
        return not any(self.powered[other] for other in self.holders() if other != name)

    def settle(self) -> None:
        """Let time pass, well beyond the grace period, with a look now and then."""
        for _ in range(6):
            self.now += 0.7
            self.round()

    def power_off(self, name: str) -> None:
        """Cut the power: what lapses is gone when it comes back, and everything else, too."""
        self.powered[name] = False
        self.drivers[name].resources.clear()

    def holders(self) -> list[str]:
        return [name for name in self.names if IDENTITY in self.drivers[name].resources]


def _asks(change: Change) -> bool:
    return change.action == "create" and isinstance(change.after, VirtualAddress) and change.after.lapses


def test_one_answers_and_the_others_stand_by_with_all_else() -> None:
    """The first gateway has the VIP, with a lifetime; both have the virtual server; the second plan is empty."""
    segment = Segment()
    segment.settle()
    assert segment.holders() == ["gw1"]
    assert segment.drivers["gw1"].resources[IDENTITY] == VirtualAddress(V, "eth0", lapses=True)
    for name in segment.names:
        assert "virtual-server 192.0.2.100:80/tcp" in segment.drivers[name].resources
        assert segment.planners[name].full(segment.now).empty


def test_a_single_gateway_has_its_vips_for_good() -> None:
    """Without another to take over there is no lifetime to refresh."""
    segment = Segment("gw1")
    segment.settle()
    assert segment.drivers["gw1"].resources[IDENTITY] == VirtualAddress(V, "eth0")


def test_gateways_on_different_segments_do_not_share() -> None:
    """Where the VIP is in one gateway's subnet alone, that one answers for good, and to the other it is routed."""
    segment = Segment(seen={"gw1": facts(1), "gw2": facts(2, subnet="198.51.100")})
    segment.settle()
    assert segment.drivers["gw1"].resources[IDENTITY] == VirtualAddress(V, "eth0")
    assert segment.drivers["gw2"].resources[IDENTITY] == VirtualAddress(V, "lo")


def test_a_routed_vip_stands_on_all() -> None:
    """A VIP in nobody's subnet is on every gateway's loopback: whoever routes to them spreads the load."""
    there = {"gw1": facts(1, subnet="198.51.100"), "gw2": facts(2, subnet="198.51.100")}
    segment = Segment(seen=there)
    segment.settle()
    assert segment.holders() == ["gw1", "gw2"]
    assert {segment.drivers[n].resources[IDENTITY] for n in segment.names} == {VirtualAddress(V, "lo")}


def test_the_standby_takes_over_after_the_grace_period() -> None:
    """Nothing moves while the silent one has its time; after that the next has the VIP, and keeps it."""
    segment = Segment()
    segment.settle()
    segment.power_off("gw1")
    segment.round()
    segment.now += 0.9
    segment.round()
    assert segment.holders() == []
    segment.now += 0.2
    segment.round()
    assert segment.holders() == ["gw2"]
    segment.powered["gw1"] = True
    segment.settle()
    assert segment.holders() == ["gw2"]


def test_one_that_only_we_cannot_reach_keeps_its_vip() -> None:
    """However long the controller does not reach it, and also when it does again, nothing moves."""
    segment = Segment()
    segment.settle()
    segment.reached["gw1"] = False
    for _ in range(20):
        segment.settle()
        assert segment.holders() == ["gw1"]
    segment.reached["gw1"] = True
    segment.settle()
    assert segment.holders() == ["gw1"]


def test_a_restart_finds_whoever_has_it() -> None:
    """A controller that knows nothing writes nothing: neither before the other was looked at, nor after."""
    segment = Segment()
    segment.settle()
    segment.power_off("gw1")
    segment.settle()
    segment.powered["gw1"] = True
    segment.settle()
    segment.restart()
    before = {name: dict(segment.drivers[name].resources) for name in segment.names}
    writes = {name: segment.drivers[name].writes for name in segment.names}
    segment.settle()
    assert segment.holders() == ["gw2"]
    assert {name: dict(segment.drivers[name].resources) for name in segment.names} == before
    assert {name: segment.drivers[name].writes for name in segment.names} == writes


def test_a_restart_beside_a_dead_gateway_waits_for_the_living() -> None:
    """Nobody takes a VIP before every gateway that may have it was looked at or is known not to answer."""
    segment = Segment()
    planner = segment.planners["gw2"]
    seen = drive(segment.drivers["gw2"].observe())
    planner.see(seen.resources, seen.foreign, seen.facts)
    assert IDENTITY not in {change.identity for change in planner.full(NOW).changes}
    segment.world.sights.silent("gw1", NOW)
    assert IDENTITY not in {change.identity for change in planner.full(NOW + 0.5).changes}
    assert planner.due(NOW + 1.1)
    assert IDENTITY in {change.identity for change in planner.full(NOW + 1.1).changes}


def test_it_moves_when_asked_one_after_the_other() -> None:
    """The one that has it lets go first; without being asked any longer, the new one keeps it."""
    segment = Segment()
    segment.settle()
    segment.link(active="gw2")
    segment.round()
    assert segment.holders() == ["gw2"]
    segment.link()
    segment.settle()
    assert segment.holders() == ["gw2"]


def test_a_move_needs_no_consent_to_deletions() -> None:
    """However many VIPs move, the guard against mass deletion sees nothing lost."""
    segment = Segment()
    for number in range(101, 180):
        key = ("shop", f"s{number}")
        segment.world.put_service("east", key, service(f"shop/s{number}", 80))
        segment.world.put_vip(f"192.0.2.{number}", vip(f"192.0.2.{number}", f"shop/s{number}"))
    segment.settle()
    segment.link(active="gw2")
    segment.settle()
    kinds = {
        n: sum(isinstance(r, VirtualAddress) for r in segment.drivers[n].resources.values()) for n in GATEWAYS[:2]
    }
    assert kinds == {"gw1": 0, "gw2": 80}
    assert segment.planners["gw1"].held == {}


def test_a_pulled_cable_moves_it() -> None:
    """A gateway that answers us, but whose interface has no carrier, can answer nobody else: the other takes over."""
    segment = Segment()
    segment.settle()
    segment.drivers["gw1"].facts = facts(1, up=False)
    segment.settle()
    assert segment.holders() == ["gw2"]
    segment.drivers["gw2"].facts = facts(2, up=False)
    segment.settle()
    assert segment.holders() == ["gw2"], "with no carrier anywhere, nothing is gained by moving"


@pytest.mark.parametrize("how", ["observe", "deleted"])
def test_one_that_must_not_be_written_to_is_no_standby(how: str) -> None:
    """A device that is only observed, or whose end is ordered, never takes a VIP."""
    segment = Segment()
    spec = {"driver": "memory", **({"policy": "observe"} if how == "observe" else {})}
    meta = {"deletionTimestamp": "2024-01-01T00:00:00Z"} if how == "deleted" else {}
    put_kind(segment.world, document("EdgeDevice", "gw1", spec, **meta))
    segment.settle()
    assert segment.holders() == ["gw2"]


def test_what_one_shows_has_the_other_look_again() -> None:
    """A gateway that falls silent, and one that lets go of a VIP, dirty the Service on the others."""
    segment = Segment()
    segment.settle()
    stirred(segment.world)
    segment.world.sights.silent("gw1", segment.now)
    assert {str(scope) for scope in stirred(segment.world)["gw2"]} == {"service/lab/shop/web"}
    segment.world.sights.silent("gw1", segment.now + 1)
    assert stirred(segment.world) == {}
    segment.world.sights.saw_one("gw1", IDENTITY, None)
    assert {str(scope) for scope in stirred(segment.world)["gw2"]} == {"service/lab/shop/web"}


EVENTS = st.tuples(
    st.sampled_from(("off", "on", "cut", "mend", "wait", "settle", "restart")), st.sampled_from(GATEWAYS)
)


@given(st.lists(EVENTS, max_size=14))
def test_there_are_never_two_and_it_moves_only_from_the_dead(events: list[tuple[str, str]]) -> None:
    """In any order of deaths, returns, cuts and restarts: one owner at most, none moved while well, one in the end."""
    segment = Segment(*GATEWAYS)
    segment.settle()
    for event, name in events:
        before = segment.holders()
        match event:
            case "off":
                segment.power_off(name)
            case "on":
                segment.powered[name] = True
            case "cut" | "mend":
                segment.reached[name] = event == "mend"
            case "wait":
                segment.now += 0.3
                segment.round()
            case "settle":
                segment.settle()
            case "restart":
                segment.restart()
        segment.round()
        wanting = {n for n in GATEWAYS if (s := standing(segment.world, "east", V, segment.now)) and s.wants(n)}
        assert len(wanting) <= 1
        assert len(segment.holders()) <= 1
        if before and segment.powered[before[0]]:
            assert segment.holders() == before, "nobody takes from the living"
    segment.settle()
    if any(segment.powered[n] and segment.reached[n] for n in GATEWAYS):
        assert len(segment.holders()) == 1


def test_an_explanation_says_who_answers_and_why() -> None:
    """For a VIP on a shared segment it names the one that has it, why that one, and who stands by; or why nobody has it."""
    segment = Segment()
    segment.settle()

    def told() -> list[tuple[str, bool | None]]:
        found = explain(str(V), segment.world, segment.planners)
        assert found is not None
        return [(hop.text, hop.ok) for hop in found.hops if hop.stage == "link" and hop.text.startswith(f"{V}: ")]

    assert told() == [(f"{V}: gw1 is to answer for it (it has it, and keeps it); gw2 stands by", True)]
    assert roles(segment.world, segment.world.links["lab"]) == ["gw1 answers for 1 VIP", "gw2 stands by"]
    segment.world.sights.silent("gw1", float("-inf"))
    assert told() == [(f"{V}: gw2 is to answer for it (gw1 does not answer us)", False)]
    assert roles(segment.world, segment.world.links["lab"]) == [
        "gw1 does not answer us; it answered for 1 VIP when last seen",
        "gw2 stands by",
    ]


def test_a_lapsed_vip_is_restored_as_one_that_is_gone() -> None:
    """What its lifetime left behind on the device is no reason to think that it stands."""
    segment = Segment()
    segment.settle()
    recorded = [(resource, ()) for resource in segment.drivers["gw1"].resources.values()]
    segment.drivers["gw1"].resources[IDENTITY] = VirtualAddress(V, "", lapses=True)
    segment.restart()
    planner = segment.planners["gw1"]
    seen = drive(segment.drivers["gw1"].observe())
    planner.see(seen.resources, seen.foreign, seen.facts)
    assert [change.after for change in restoring(planner, recorded)] == [VirtualAddress(V, "eth0", lapses=True)]
