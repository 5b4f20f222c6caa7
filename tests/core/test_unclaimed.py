"""Where claims were lost, VIPs stand until their Services have been decided, and then go if nobody wants them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from isthmus.model.facts import Endpoint, ServiceFacts
from isthmus.model.kinds import vip_name
from isthmus.model.plan import Scope

from .rig import Rig, endpoints, node, service, vip

VIP = "203.0.113.10"


def showing(*addresses: str, **rest: object) -> ServiceFacts:
    """Return the Service shop/web, with ``addresses`` in its status."""
    return service("shop/web", 80, ingress=tuple(map(ip_address, addresses)), **rest)


@pytest.fixture
def rig() -> Rig:
    """Return a rig whose device serves a VIP, of which a controller with no memory knows nothing."""
    rig = Rig()
    rig.put(
        node("n1", "192.0.2.11", "10.244.1.0/24"),
        showing(VIP),
        endpoints("shop/web-1", "web", Endpoint(ip_address("10.244.1.5"), "n1")),
        vip(VIP, "shop/web"),
    )
    rig.settle()
    rig.world.put_vip(vip_name(ip_address(VIP)), None)
    rig.planner = rig.fresh()
    return rig


def test_a_vip_that_a_service_shows_stands_until_it_is_claimed(rig: Rig) -> None:
    """A start without claims deletes nothing of it, says why, and has nothing to do once the claim is made."""
    before = rig.holds()
    plan = rig.full()
    assert plan.changes == ()
    assert {held.change.identity for held in plan.held} == {f"vip {VIP}", f"virtual-server {VIP}:80/tcp"}
    assert all("Service shop/web of east shows 203.0.113.10" in held.reason for held in plan.held)
    plan = rig.planner.keyed(rig.put(vip(VIP, "shop/web")), rig.now)
    assert (plan.changes, plan.held, rig.planner.held) == ((), (), {})
    assert rig.full().empty
    assert rig.holds() == before


@pytest.mark.parametrize(
    "now",
    [
        showing(),
        showing("203.0.113.77"),
        showing(VIP, load_balancer_class="example.com/another"),
        showing(VIP, type="ClusterIP"),
        showing(VIP, deleting=True),
    ],
    ids=["it shows nothing", "it shows another", "another class", "another type", "being deleted"],
)
def test_it_goes_when_the_service_was_decided_otherwise(rig: Rig, now: ServiceFacts) -> None:
    """As soon as no Service of ours shows it any more, the pass over that Service takes it away."""
    assert rig.full().held
    rig.touch(rig.put(now))
    assert not [identity for identity in rig.holds() if VIP in identity]
    assert rig.full().empty


def test_what_nobody_shows_goes_at_once(rig: Rig) -> None:
    """A VIP whose Service is gone waits for nobody."""
    rig.world.put_service("east", ("shop", "web"), None)
    rig.planner = rig.fresh()
    assert {change.identity for change in rig.full().changes} >= {f"vip {VIP}", f"virtual-server {VIP}:80/tcp"}


def test_what_somebody_is_known_to_have_wanted_waits_for_nobody(rig: Rig) -> None:
    """With a record of who wanted it, what a Service shows has no say."""
    scope = Scope("service", "lab", "shop/web")
    rig.planner.owners[f"vip {VIP}"] = (scope,)
    assert [change.identity for change in rig.full().changes] == [f"vip {VIP}"]
