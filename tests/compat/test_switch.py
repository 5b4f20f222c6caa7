"""What a ConfigMap says as a switch, and what follows from seeing, missing and losing it; without any cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.compat.switch import ABANDON, State, Toleration, follow, judge

TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)


def seen(data: dict[str, str], **metadata: Any) -> Any:
    return judge({"metadata": {"resourceVersion": "1", **metadata}, "data": data})


def test_tolerations_are_read() -> None:
    """A list of tolerations as Kubernetes spells them is understood; an empty one, too."""
    listed = [
        {"operator": "Exists"},
        {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "dedicated", "value": "edge", "effect": "NoExecute", "tolerationSeconds": 60},
    ]
    found = seen({"tolerations.json": json.dumps(listed)})
    assert found.problem == ""
    assert found.tolerations == (
        Toleration(operator="Exists"),
        Toleration("node-role.kubernetes.io/control-plane", "Exists", "", "NoSchedule"),
        Toleration("dedicated", "Equal", "edge", "NoExecute"),
    )
    assert seen({"tolerations.json": "[]"}).tolerations == ()
    assert seen({}).tolerations is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"operator": "Exists", "value": "x"}]', "has a value"),
        ('[{"value": "x"}]', "has no key"),
        ('[{"key": 5}]', "key is not text"),
        ('[{"key": "a", "operator": "In"}]', "operator 'In' is none of"),
        ('["a"]', "is not a toleration"),
        ('[{"keys": "a"}]', "no field is called 'keys'"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_what_is_wrong_with_tolerations_is_said(text: str, said: str) -> None:
    """Each slip is named with its place."""
    found = seen({"tolerations.json": text})
    assert said in found.problem
    assert found.remedy


def test_a_deletion_counts_whatever_stands_in_it() -> None:
    """Who deletes a switch that nobody understands means that."""
    found = seen({"operation": "nonsense"}, deletionTimestamp="2026-11-20T12:00:00Z", annotations={ABANDON: "True"})
    assert (found.wants, found.problem, found.abandoned) == ("ending", "", True)


@pytest.mark.parametrize("before", ["unknown", "off", "on", "ending"])
def test_what_follows(before: State) -> None:
    """Absence is an order only of what was there before; what is not understood changes nothing."""
    assert follow(before, None) == ("ending" if before in ("on", "ending") else "off")
    assert follow(before, seen({"operation": "?"})) == before
    assert follow(before, seen({"operation": "Add"})) == "on"
    assert follow(before, seen({"operation": " DELETE "})) == "ending"


@given(
    st.dictionaries(st.sampled_from(["operation", "Operation", "tolerations.json", "x"]), TEXT | JSON.map(json.dumps))
)
def test_nothing_that_stands_in_it_is_an_error_of_ours(data: dict[str, str]) -> None:
    """Any text is an order, or a problem that says why it is none; it never holds control characters."""
    found = seen(data)
    assert found.wants in ("on", "ending")
    assert found.problem.isprintable()
