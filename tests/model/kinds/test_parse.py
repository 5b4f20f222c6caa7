"""Documents become objects, or problems in words a person can act on."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.model.kinds import KINDS, parse

from .cases import DRIVERS, cases, document

BAD = [case for name in ("cluster", "device", "link", "pool", "vip") for case in cases(name)]
GOOD = cases("good")


@pytest.mark.parametrize("case", BAD, ids=lambda case: case["says"])
def test_problems(case: dict[str, Any]) -> None:
    """Every problem of a document is said at once, with its field, the reason and the way out."""
    written = case.get("document")
    if written is None:
        written = document(case["kind"], "a", case["spec"])
        written["metadata"] = case.get("metadata", written["metadata"])
    parsed = parse(written, drivers=DRIVERS)
    assert [str(problem) for problem in parsed.problems] == case["problems"]
    assert parsed.object is None


@pytest.mark.parametrize(
    "written", GOOD, ids=lambda written: "/".join((written["kind"], written["metadata"]["name"]))
)
def test_round_trip(written: dict[str, Any]) -> None:
    """An object written out again is the same object."""
    parsed = parse(written, drivers=DRIVERS)
    assert parsed.problems == ()
    assert parsed.object is not None
    assert parsed.key == parsed.object.key == (written["kind"], written["metadata"]["name"])
    again = parse(parsed.object.document(), drivers=DRIVERS)
    assert again.object == parsed.object


def test_every_kind_has_a_good_case() -> None:
    """No kind goes without an example."""
    assert {written["kind"] for written in GOOD} == set(KINDS)


def test_api_server_metadata_is_accepted() -> None:
    """An object as an API server returns it is read, with a status that a newer version wrote."""
    written = document("KubeCluster", "a", {"inCluster": True})
    written["metadata"] |= {
        "uid": "0c1d",
        "resourceVersion": "12",
        "generation": 3,
        "creationTimestamp": "2026-11-20T10:00:00Z",
        "finalizers": ["isthmus.dev/cleanup"],
        "managedFields": [{"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {}}}],
    }
    written["status"] = {"reachable": True, "somethingNew": 1, "conditions": []}
    parsed = parse(written)
    assert parsed.problems == ()
    assert parsed.object is not None
    assert parsed.object.metadata.generation == 3


def test_unquoted_values_are_marked() -> None:
    """A problem knows that YAML read as something else what was meant as text."""
    (problem,) = parse(document("ClusterLink", "a", {"cluster": True, "devices": ["b"]})).problems
    assert problem.unquoted
