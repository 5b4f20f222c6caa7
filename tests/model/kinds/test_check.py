"""Objects seen together."""

from __future__ import annotations

import random
from typing import Any

import pytest

from isthmus.model.kinds import Kind, parse
from isthmus.model.kinds.check import Checked, check

from .cases import cases, document

CASES = cases("together")
ALWAYS = {
    "KubeCluster": {"east": {"inCluster": True}},
    "EdgeDevice": {"gw1": {"driver": "linux"}, "gw2": {"driver": "linux"}},
}


def objects(case: dict[str, Any]) -> list[Kind]:
    """Return the objects of ``case``, parsed."""
    found = []
    for given in (ALWAYS, case["objects"]):
        for kind, specs in given.items():
            for name, spec in specs.items():
                parsed = parse(document(kind, name, spec))
                assert parsed.object is not None, parsed.problems
                found.append(parsed.object)
    return found


def said(checked: Checked) -> list[str]:
    """Return the findings as the cases write them."""
    return [
        f"{'/'.join(found.key)}: {found.problem}{' warning' if found.warning else ''}" for found in checked.findings
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["says"])
def test_together(case: dict[str, Any]) -> None:
    """What is wrong among objects is found, and only the later one by name becomes unusable."""
    checked = check(objects(case))
    assert said(checked) == case.get("findings", [])
    assert ["/".join(key) for key in checked.unusable] == case.get("unusable", [])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["says"])
def test_order_does_not_matter(case: dict[str, Any]) -> None:
    """The outcome is the same in whatever order the objects come."""
    shuffled = objects(case)
    expected = check(shuffled)
    for seed in range(5):
        random.Random(seed).shuffle(shuffled)
        assert check(shuffled) == expected


def test_reference_to_a_broken_object() -> None:
    """Who names an object that is written wrongly is told that, not that it is unknown."""
    link = parse(document("ClusterLink", "a", {"cluster": "east", "devices": ["gw1"]})).object
    assert link is not None
    checked = check([link], broken={("KubeCluster", "east"), ("EdgeDevice", "gw1")})
    assert said(checked) == [
        "ClusterLink/a: spec.cluster: KubeCluster east is wrong itself (mend that first)",
        "ClusterLink/a: spec.devices[0]: EdgeDevice gw1 is wrong itself (mend that first)",
    ]
