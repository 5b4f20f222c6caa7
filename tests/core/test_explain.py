"""An explanation names what is in the way, in the words of whoever knows it."""

from __future__ import annotations

import pytest

from isthmus.core.explain import Explanation, concerns, explain
from isthmus.model.facts import Endpoint, NamespaceFacts
from isthmus.model.resources import Route

from .rig import Rig, endpoints, ip_address, ip_network, node, service, vip


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.world.put_namespace("east", "shop", NamespaceFacts("shop"))
    return rig


def broken(rig: Rig, what: str) -> list[str]:
    """Return the hops that do not hold."""
    rig.settle()
    found = explain(what, rig.world, {"gw": rig.planner})
    assert found is not None
    return [hop.text for hop in found.hops if hop.ok is False]


def test_why_a_service_has_no_address(rig: Rig) -> None:
    """A Service without an address is told why in the explanation itself."""
    rig.put(service("shop/a", 80, pool="gone"))
    assert broken(rig, "shop/a")[:2] == ["holds no address", "there is no pool gone that this Service may use"]
    rig.put(service("shop/a", 80))
    assert broken(rig, "shop/a")[:2] == ["holds no address", "there is no pool that this Service may use"]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"load_balancer_class": "other.example/lb"}, "its loadBalancerClass is other.example/lb, and ours is"),
        ({"load_balancer_class": None}, "it has no loadBalancerClass, and ours is"),
        ({"type": "ClusterIP"}, "its type is not LoadBalancer"),
    ],
)
def test_why_a_service_is_not_ours(rig: Rig, fields: dict[str, str | None], why: str) -> None:
    """A Service that does not ask for us is said to be somebody else's, and why; nothing else is held against it."""
    rig.put(service("shop/a", 80, **fields))
    (text,) = broken(rig, "shop/a")
    assert text.startswith(f"Service shop/a of east is not ours: {why}")


def test_why_a_ready_pod_is_no_member(rig: Rig) -> None:
    """A ready pod is left out where the way to its node does not stand in its IP version, and that is said."""
    rig.put(
        node("n1", ["192.0.2.11", "2001:db8::11"], ["10.0.1.0/24", "fd00:1::/64"]),
        service("shop/a", 80),
        endpoints("shop/a-x", "a", Endpoint(ip_address("10.0.1.10"), node="n1")),
        vip("192.0.2.100", "shop/a"),
    )
    assert broken(rig, "shop/a") == []
    theirs = Route(ip_network("10.0.1.0/24"), ip_address("192.0.2.77"), "eth0")
    rig.driver.resources.pop(theirs.identity)
    rig.driver.foreign[theirs.identity] = "a route of somebody's"
    assert "lab: pods on node n1 are left out: no way to it over IPv4 stands (see `isthmus explain n1`)" in broken(
        rig, "shop/a"
    )


@pytest.mark.parametrize(
    ("note", "told"),
    [
        ("cluster prod cannot be read (no answer)", True),
        ("link lab: node n1 has no free address", True),
        ("link lab: node n7 has no free address", False),
        ("Service shop/web: no address is free", False),
    ],
)
def test_remarks_about_others_are_left_out(note: str, told: bool) -> None:
    """Who asks about one node hears of it and of what is general, not of other nodes and Services."""
    assert concerns(note, Explanation("n1", (), (("east", "n1"),))) is told
    assert concerns(note, None)
