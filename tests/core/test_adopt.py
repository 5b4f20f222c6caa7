"""What is somebody else's is taken over by explicit order alone, once, and never a tunnel."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from isthmus.core.adopt import Adoptions, named, why_never
from isthmus.model.facts import Endpoint

from .rig import Rig, endpoints, node, service, vip

ROUTE = "route 10.244.1.0/24"
THEIRS = "kernel route via 192.0.2.99 dev eth0 proto static"


def contested(annotation: str = "") -> Rig:
    """Return a device on which a foreign route stands where a node's route should."""
    rig = Rig()
    rig.kind("EdgeDevice", "gw", {"driver": "memory"}, annotations={"isthmus.dev/adopt": annotation})
    rig.put(node("n1", "192.0.2.11", "10.244.1.0/24"))
    rig.driver.plant(ROUTE, THEIRS)
    return rig


@pytest.mark.parametrize(
    ("text", "identities"),
    [
        ("", ()),
        (ROUTE, (ROUTE,)),
        (f" {ROUTE} ,\n vip  203.0.113.10,{ROUTE},", (ROUTE, "vip 203.0.113.10")),
    ],
)
def test_orders_are_read_from_text(text: str, identities: tuple[str, ...]) -> None:
    """Commas and lines part them, spaces do not matter, each counts once."""
    assert named(text) == identities


def test_without_an_order_it_is_a_conflict() -> None:
    """Nothing foreign is touched by itself, nor by an order about something else."""
    for text in ("", "route 10.244.9.0/24"):
        plan = contested(text).full()
        assert plan.changes == ()
        assert [conflict.identity for conflict in plan.conflicts] == [ROUTE]


@pytest.mark.parametrize("by", ["annotation", "command"])
def test_an_order_makes_the_conflict_a_change(by: str) -> None:
    """The plan says what is taken over; the device then has ours; a second plan is empty; the order is spent."""
    rig = contested(ROUTE if by == "annotation" else "")
    if by == "command":
        rig.planner.adoptions.place([ROUTE])
    plan = rig.full()
    assert plan.lines()[0] == f"> adopt route 10.244.1.0/24 via 192.0.2.11 dev eth0   (was: {THEIRS})"
    assert not plan.conflicts
    rig.apply(plan)
    assert ROUTE in rig.holds()
    assert ROUTE not in rig.driver.foreign
    assert rig.full().empty
    rig.driver.plant(ROUTE, THEIRS)
    assert [conflict.identity for conflict in rig.full().conflicts] == [ROUTE]


def test_an_order_given_again_counts_again() -> None:
    """After an order is spent, a new one at the same place takes over again."""
    rig = contested()
    orders = rig.planner.adoptions
    assert orders.place([ROUTE])
    rig.apply(rig.full())
    rig.driver.plant(ROUTE, THEIRS)
    assert not orders.place([ROUTE])
    assert rig.full().conflicts
    orders.place([])
    orders.place([ROUTE])
    assert [change.adopts for change in rig.full().changes] == [THEIRS]


def test_what_the_device_declines_is_a_conflict_with_the_reason() -> None:
    """A refused adoption is not tried again at once: the conflict says why it stands."""
    rig = contested(ROUTE)
    plan = rig.full()
    rig.planner.adoptions.refused[ROUTE] = "it is the kernel's own"
    again = rig.planner.keyed({scope for change in plan.changes for scope in change.scopes}, rig.now)
    assert again.changes == ()
    assert again.conflicts[0].holder == f"{THEIRS}, which could not be taken over: it is the kernel's own"
    assert rig.full().changes == plan.changes


def test_policy_observe_takes_nothing_over() -> None:
    """An order does not outweigh a policy under which nothing is written."""
    rig = contested()
    rig.kind("EdgeDevice", "gw", {"driver": "memory", "policy": "observe"}, annotations={"isthmus.dev/adopt": ROUTE})
    plan = rig.full()
    assert plan.changes == ()
    assert [held.change.adopts for held in plan.held] == [THEIRS]


def test_a_vip_and_its_servers_come_together() -> None:
    """An order frees a VIP and its servers, and pods behind a route that is taken over are members."""
    rig = contested(f"{ROUTE}, vip 203.0.113.10")

    rig.driver.plant("vip 203.0.113.10", "address 203.0.113.10/32 dev eth0 (not ours)")
    rig.put(
        service("shop/web", 80),
        endpoints("shop/web-1", "web", Endpoint(ip_address("10.244.1.5"), "n1")),
        vip("203.0.113.10", "shop/web"),
    )
    plan = rig.full()
    assert not plan.conflicts
    assert not plan.held
    assert [change.identity for change in plan.changes] == [
        ROUTE,
        "virtual-server 203.0.113.10:80/tcp",
        "vip 203.0.113.10",
    ]
    assert "10.244.1.5:8080" in plan.lines()[1]


def test_a_tunnel_is_never_taken_over() -> None:
    """An order about a tunnel counts for nothing, and there is a sentence that says so."""
    orders = Adoptions()
    orders.place(["tunnel isth0", ROUTE])
    assert orders.standing(None) == {ROUTE}
    assert "remove it" in (why_never("tunnel isth0") or "")
