"""Somebody else's hand is told from a wish that moved, and is answered as the device's owner says."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.drift import Left
from isthmus.core.restore import restoring
from isthmus.model.plain import from_builtins
from isthmus.model.resources import Route, VirtualAddress

from .rig import Rig, node

ROUTE = "route 10.244.1.0/24"
BENT = {"kind": "Route", "prefix": "10.244.1.0/24", "via": "192.0.2.99", "link": "eth0"}


def settled(drift: str) -> Rig:
    """Return a device with two nodes' routes in order, under a drift policy."""
    rig = Rig(device={"drift": drift})
    rig.put(node("n1", "192.0.2.11", "10.244.1.0/24"), node("n2", "192.0.2.12", "10.244.2.0/24"))
    rig.settle()
    return rig


@pytest.mark.parametrize("taken", [True, False], ids=["gone", "bent"])
@pytest.mark.parametrize("drift", ["repair", "alert", "ignore"])
def test_what_another_hand_did_is_answered_as_written(drift: str, taken: bool) -> None:
    """Repair puts it right; alert holds and reports; ignore only counts. What was and what is are told by all three."""
    rig = settled(drift)
    if taken:
        rig.driver.lose(ROUTE)
    else:
        rig.driver.tamper(from_builtins(BENT))
    plan = rig.full()
    [found] = plan.drifts
    assert found.identity == ROUTE
    assert found.was == "route 10.244.1.0/24 via 192.0.2.11 dev eth0"
    assert found.now == ("" if taken else "route 10.244.1.0/24 via 192.0.2.99 dev eth0")
    assert [change.identity for change in plan.changes] == ([ROUTE] if drift == "repair" else [])
    assert [held.change.identity for held in plan.held] == ([ROUTE] if drift == "alert" else [])
    before = rig.holds()
    rig.apply(plan)
    assert (rig.holds() == before) is (drift != "repair")
    assert rig.full().changes == ()


def test_a_wish_that_moves_ends_the_drift() -> None:
    """Under alert, a node that gets another address gets its route, whatever another hand did to it before."""
    rig = settled("alert")
    rig.driver.tamper(from_builtins(BENT))
    assert rig.full().changes == ()
    rig.put(node("n1", "192.0.2.15", "10.244.1.0/24"))
    assert [change.describe() for change in rig.full().changes] == [
        "~ route 10.244.1.0/24 via 192.0.2.15 dev eth0   (was: route 10.244.1.0/24 via 192.0.2.99 dev eth0)"
    ]


def test_a_node_that_goes_takes_its_bent_route_along() -> None:
    """What nobody wants any more goes, drifted or not."""
    rig = settled("ignore")
    rig.driver.tamper(from_builtins(BENT))
    rig.full()
    rig.world.put_node("east", "n1", None)
    assert [change.action for change in rig.full().changes] == ["delete"]


def test_an_order_repairs_what_is_left_alone() -> None:
    """A person's order puts right what the policy leaves; afterwards there is no drift."""
    rig = settled("alert")
    rig.driver.lose(ROUTE)
    rig.planner.repair_drift = True
    rig.apply(rig.full())
    rig.planner.repair_drift = False
    plan = rig.full()
    assert plan.empty
    assert not plan.drifts
    assert ROUTE in rig.holds()


def test_a_wiped_device_gets_everything_back() -> None:
    """A device with nothing of ours on it has booted: that is no drift under any policy."""
    rig = settled("ignore")
    rig.driver.resources.clear()
    rig.settle()
    assert set(rig.holds()) == {ROUTE, "route 10.244.2.0/24"}


def test_a_restart_does_not_make_drift_a_change() -> None:
    """Drift that was left alone is still left alone by a new process that reads what was written down, and by its restore."""
    rig = settled("alert")
    rig.driver.tamper(from_builtins(BENT))
    rig.driver.lose("route 10.244.2.0/24")
    rig.full()
    recorded = rig.planner.recorded()
    rig.planner = rig.fresh()
    rig.planner.remember(resource for resource, _ in recorded)
    assert restoring(rig.planner, recorded) == ()
    plan = rig.full()
    assert plan.changes == ()
    assert [one.identity for one in plan.drifts] == [ROUTE, "route 10.244.2.0/24"]


def test_what_our_own_change_took_along_is_no_drift() -> None:
    """What goes missing through a change of ours is put back under every policy."""
    rig = settled("alert")
    rig.driver.lose(ROUTE)
    rig.planner.left.expect_anything()
    assert [change.identity for change in rig.full().changes] == [ROUTE]


@pytest.mark.parametrize("drift", ["alert", "ignore"])
def test_drift_is_counted_until_it_is_undone(drift: str) -> None:
    """When the other hand puts it back, the drift is over and nothing was written."""
    rig = settled(drift)
    standing = rig.driver.resources[ROUTE]
    writes = rig.driver.writes
    rig.driver.lose(ROUTE)
    assert rig.full().drifts
    rig.driver.tamper(standing)
    plan = rig.full()
    assert not plan.drifts
    assert not plan.held
    assert rig.driver.writes == writes


def test_a_vip_that_lapsed_is_no_drift() -> None:
    """An address that goes by itself unless refreshed is put up again under every policy; one that stays is drift."""
    for lapses in (True, False):
        left = Left()
        vip = VirtualAddress(ip_address("203.0.113.10"), "eth0", lapses)
        assert left.judge(vip.identity, vip, vip, "alert") is None
        assert (left.judge(vip.identity, vip, None, "alert") is None) is lapses


VALUES = st.sampled_from([None, 1, 2, 3])


def _route(value: int | None) -> Route | None:
    if value is None:
        return None
    found = from_builtins({**BENT, "via": f"192.0.2.{value}"})
    assert isinstance(found, Route)
    return found


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12))
def test_drift_is_only_where_the_wish_stood_still(passes: list[tuple[int | None, int | None]]) -> None:
    """Over any history of wishes and sights: drift is told exactly where the wish is the one that last stood."""
    left = Left()
    last: int | None = None
    for wanted, seen in passes:
        found = left.judge(ROUTE, _route(wanted), _route(seen), "alert")
        assert (found is not None) == (wanted is not None and wanted == last and seen != wanted)
        if wanted is not None and seen == wanted:
            last = wanted
        elif wanted != last or wanted is None:
            last = None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["moves", "goes", "is taken", "is bent", "is put back", "restart"]),
        st.integers(1, 3),
        st.integers(11, 13),
    ),
    max_size=25,
)


@given(STEPS, st.sampled_from(["alert", "ignore"]))
def test_over_any_history_only_wishes_write(steps: list[tuple[str, int, int]], drift: str) -> None:
    """Against a model of three values per route: what other hands left stays, what wishes moved goes."""
    rig = Rig(device={"drift": drift})
    wanted: dict[int, int] = {}
    stands: dict[int, int] = {}
    last: dict[int, int] = {}

    def route(number: int, last: int) -> Route:
        return Route(ip_network(f"10.244.{number}.0/24"), ip_address(f"192.0.2.{last}"), "eth0")

    for what, number, end in steps:
        if what == "moves":
            wanted[number] = end
            rig.put(node(f"n{number}", f"192.0.2.{end}", f"10.244.{number}.0/24"))
        elif what == "goes":
            wanted.pop(number, None)
            rig.world.put_node("east", f"n{number}", None)
        elif what == "is taken":
            stands.pop(number, None)
            rig.driver.lose(f"route 10.244.{number}.0/24")
        elif what == "is bent" and number in stands:
            stands[number] = 99
            rig.driver.tamper(route(number, 99))
        elif what == "is put back" and number in last:
            stands[number] = last[number]
            rig.driver.tamper(route(number, last[number]))
        elif what == "restart":
            recorded = rig.planner.recorded()
            rig.planner = rig.fresh(remember=rig.planner)
            rig.planner.remember(resource for resource, _ in recorded)
        if not stands:
            last.clear()
        drifted = set()
        for one in range(1, 4):
            if one not in wanted:
                stands.pop(one, None)
                last.pop(one, None)
            elif stands.get(one) != wanted[one] and last.get(one) == wanted[one]:
                drifted.add(f"route 10.244.{one}.0/24")
            else:
                stands[one] = last[one] = wanted[one]
        plan = rig.full()
        rig.apply(plan)
        assert rig.holds() == {one.identity: one for one in (route(n, end) for n, end in stands.items())}
        assert {one.identity for one in plan.drifts} == drifted
        assert {held.change.identity for held in plan.held} == (drifted if drift == "alert" else set())
