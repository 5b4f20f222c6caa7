"""One bad object hurts only itself, whatever it says and whatever our own code makes of it (law 5)."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.core import attachment, planner
from isthmus.core.desire import desire
from isthmus.core.ground import Desired
from isthmus.core.paths.flannel import PREFIX
from isthmus.model.plan import Scope

from .rig import Rig, node

DEEP = "[" * 100_000 + "]" * 100_000
GOOD = '"mac": "02:00:00:00:00:07", "vni": 7700, "port": 4790, "mtu": 1450'


def prefixes(rig: Rig) -> list[str]:
    return sorted(identity for identity in rig.holds() if identity.startswith("route "))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"addresses": ["10.200.0.7/24"], "x": ' + DEEP + "," + GOOD + "}",
        '{"addresses": ["10.200.0.7/33"],' + GOOD + "}",
        '{"addresses": ["fe80::7%eth0/64"],' + GOOD + "}",
        '{"addresses": [7],' + GOOD + "}",
        '{"addresses": ["10.200.0.7/24"],' + GOOD.replace("02:", "01:", 1) + "}",
        '{"addresses": ["10.200.0.7/24"], "peers": [{"device": "d", "vtep": "fe80::1%e", "mac": "", "addresses": []}],'
        + GOOD
        + "}",
    ],
)
def test_an_attachment_that_is_none_says_why(text: str) -> None:
    """An annotation of any content is an attachment or a reason, never another error."""
    with pytest.raises(ValueError):
        attachment.parse(text)


@pytest.mark.parametrize(
    "annotations",
    [
        {"backend-data": DEEP},
        {"backend-data": "7"},
        {"backend-data": '{"VtepMAC": 7}'},
        {"backend-data": '{"VtepMAC": "ff:ff:ff:ff:ff:ff"}'},
        {"public-ip": "192.0.2.300"},
        {"public-ip": "2001:db8::1"},
        {"backend-type": DEEP},
    ],
)
def test_a_node_with_odd_flannel_annotations_is_left_out_alone(annotations: dict[str, str]) -> None:
    """Whatever stands in one node's annotations, the other nodes are reached and this one is named."""
    rig = Rig("flannel")
    own = {"backend-type": "vxlan", "backend-data": '{"VtepMAC": "02:00:00:00:00:01"}', "public-ip": "192.0.2.11"}
    labels = {"isthmus.dev/device": "gw"}
    rig.put(
        node("isthmus-lab-gw", (), "10.244.0.0/24", labels=labels),
        node("n1", "192.0.2.11", "10.244.1.0/24", annotations={PREFIX + key: text for key, text in own.items()}),
        node(
            "n2",
            "192.0.2.12",
            "10.244.2.0/24",
            annotations={PREFIX + key: text for key, text in (own | annotations).items()},
        ),
    )
    plan = rig.settle()
    assert prefixes(rig) == ["route 10.244.1.0/24"]
    assert any("n2" in refusal.message for refusal in plan.refusals)


def test_a_bug_that_one_object_finds_is_that_objects_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where our own code trips over a node, that node keeps what it had and says so; the others go on, also from scratch."""
    rig = Rig()
    rig.put(*(node(f"n{number}", f"192.0.2.1{number}", f"10.244.{number}.0/24") for number in (1, 2)))
    rig.settle()
    broken = {"n1"}

    def tripping(scope: Scope, *rest: Any) -> Desired:
        if scope.name in broken:
            raise LookupError("a bug")
        return desire(scope, *rest)

    monkeypatch.setattr(planner, "desire", tripping)
    rig.touch(rig.put(node("n1", "192.0.2.21", "10.244.1.0/24"), node("n2", "192.0.2.22", "10.244.2.0/24")))
    assert prefixes(rig) == ["route 10.244.1.0/24", "route 10.244.2.0/24"]
    assert "192.0.2.11" in rig.holds()["route 10.244.1.0/24"].describe()
    assert "192.0.2.22" in rig.holds()["route 10.244.2.0/24"].describe()
    assert "LookupError('a bug')" in (rig.planner.complaint(Scope("node", "lab", "n1")) or "")

    for remember in (rig.planner, None):
        rig.planner = rig.fresh(remember=remember)
        rig.settle()
        assert len(prefixes(rig)) == 2, "a restart with the bug in it deletes nothing"
        assert [held.change.identity for held in rig.full().held] == ["route 10.244.1.0/24"]

    broken.clear()
    rig.settle()
    assert "192.0.2.21" in rig.holds()["route 10.244.1.0/24"].describe()
    assert rig.planner.complaint(Scope("node", "lab", "n1")) is None
    assert not rig.planner.crashes
