"""What is said of an object becomes its status: the same words the same status, and times that tell the truth."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from isthmus.app.home.conditions import statements
from isthmus.app.home.documents import document, standing
from isthmus.app.home.news import news
from isthmus.app.home.objects import HomeObject, read
from isthmus.model.kinds import KINDS

from .rig import thing

THEN, NOW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
GOOD = {"ok": True, "reason": "Accepted", "message": ""}
SPECS: dict[str, dict[str, Any]] = {
    "KubeCluster": {"inCluster": True},
    "EdgeDevice": {"driver": "memory"},
    "ClusterLink": {"cluster": "prod", "devices": ["gw1"]},
    "AddressPool": {"ranges": ["198.51.100.0/28"]},
    "VirtualIP": {"address": "198.51.100.0", "reservation": True},
}
SAID: dict[str, dict[str, Any]] = {
    "KubeCluster": {
        "reachable": True, "version": "v1.31.0", "uid": "u", "message": "in sync", "inSync": True,
        "watches": {"nodes": True},
    },
    "EdgeDevice": {
        "reachable": True, "inSync": True, "drift": 2, "message": "in sync", "plan": None,
        "conflicts": [], "refused": [], "held": [], "drifted": [],
        "counts": {"conflicts": 0, "refused": 0, "held": 0, "drifted": 0},
    },
    "ClusterLink": {
        "path": "direct", "why": "answers", "tried": [], "nodesJoined": 2, "nodesWaiting": 0,
        "answering": [], "waiting": [],
        "silent": [], "probe": "all 2 nodes answer", "counts": {"asked": 2, "silent": 0, "proven": True}, "cluster": "prod",
        "devices": ["gw1"], "unreachable": [],
    },
    "AddressPool": {"total": 16, "used": 1, "free": 15, "waiting": 0},
    "VirtualIP": {"holder": "reserved", "served": []},
}  # fmt: skip


def found(kind: str, status: dict[str, Any] | None = None, **metadata: Any) -> HomeObject:
    """Return an object as the home cluster shows it."""
    name = "198.51.100.0" if kind == "VirtualIP" else "x"
    head = {"generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z", **metadata}
    return read(kind, {"memory"}, {**thing(kind, name, SPECS[kind], **head), "status": status or {}})


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_same_words_give_the_same_status(kind: str) -> None:
    """A status that stands is not written again, whatever the clock says; its kind's own model takes it."""
    said = {**SAID[kind], "accepted": GOOD}
    first, told = document(found(kind), said, {}, THEN)
    again, repeated = document(found(kind, first), said, standing(kind, first), NOW)
    assert again == first
    assert first["observedGeneration"] == 3
    assert {one["type"] for one in first["conditions"]} >= {"Accepted", "Ready"}
    assert all(one["lastTransitionTime"] == "2026-01-01T00:00:00Z" for one in first["conditions"])
    assert [was for was, _ in told] == [None] * len(told)
    assert list(news(kind, repeated, standing(kind, first), again)) == []


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_never_counted_shows_only_why(kind: str) -> None:
    """An object that was refused from the start has two conditions and no other field."""
    refused = {"ok": False, "reason": "Invalid", "message": "spec: is missing"}
    status, _ = document(found(kind), {"accepted": refused}, {}, THEN)
    assert {one["type"]: one["status"] for one in status["conditions"]} == {"Accepted": "False", "Ready": "False"}
    assert status["conditions"][1]["message"] == "spec: is missing"
    assert list(KINDS[kind].model_validate({**thing(kind, found(kind).key[1], SPECS[kind]), "status": status}).status)


def test_counts_go_on_over_a_restart() -> None:
    """What an earlier process counted is added to, and its last plan stands until there is another."""
    plan = {"at": "2026-01-01T00:00:00Z", "creates": 5}
    stands = standing("EdgeDevice", {"drift": 4, "lastPlan": plan})
    status, _ = document(found("EdgeDevice"), {**SAID["EdgeDevice"], "accepted": GOOD}, stands, NOW, drift_before=4)
    assert (status["drift"], status["lastPlan"]["creates"]) == (6, 5)


def test_a_half_finished_probe_says_nothing_new() -> None:
    """Until every node has been asked once, the last complete answer stands."""
    silent = {"probe": "1 node does not answer", "silent": ["gw1: node n2: silent"]}
    bad = {**SAID["ClusterLink"], **silent, "accepted": GOOD, "counts": {"asked": 2, "silent": 1, "proven": True}}
    before, _ = document(found("ClusterLink"), bad, {}, NOW)
    half = {**SAID["ClusterLink"], "accepted": GOOD, "counts": {"asked": 1, "silent": 0, "proven": False}}
    status, told = document(found("ClusterLink"), half, before, NOW)
    assert status["probe"] == before["probe"]
    assert status["conditions"] == before["conditions"]
    assert "BlackHoleGone" not in [one.reason for one in news("ClusterLink", told, before, status)]


def test_a_black_hole_is_a_condition_and_an_event() -> None:
    """It is told when it is found and when it has gone, with the node's name, and not again in between."""
    good = {**SAID["ClusterLink"], "accepted": GOOD}
    bad = {**good, "probe": "1 node does not answer", "silent": ["gw1: node n2: silent"]}
    bad["counts"] = {"asked": 2, "silent": 1, "proven": True}
    before: dict[str, Any] = {}
    heard = []
    for said in (good, bad, bad, good):
        status, told = document(found("ClusterLink"), said, before, NOW)
        heard.append([(one.reason, one.warning) for one in news("ClusterLink", told, before, status)])
        before = status
        (proven,) = (one for one in status["conditions"] if one["type"] == "Proven")
        assert proven["reason"] == ("NodesSilent" if said is bad else "AllAnswer")
        assert ("node n2" in proven["message"]) == (said is bad)
    assert heard[1:] == [[("BlackHole", True)], [], [("BlackHoleGone", False)]]


def test_a_status_that_is_not_ours_is_written_over() -> None:
    """Nonsense in a status counts as none at all."""
    assert standing("EdgeDevice", {"conditions": "none"}) == {}
    assert standing("EdgeDevice", {"from a newer version": 1})["conditions"] == []


def test_a_wrong_status_makes_no_object_wrong() -> None:
    """The status is never input: an object with a broken one parses."""
    assert found("EdgeDevice", {"conditions": "none", "drift": -1.5}).object is not None


def test_metadata_of_a_newer_server_is_no_problem() -> None:
    """Fields of metadata that we have never heard of make no object wrong."""
    assert found("EdgeDevice", selfHealing=True, managedFields=[{"manager": "x"}]).object is not None


@pytest.mark.parametrize(
    ("unsaved", "shown"),
    [
        (None, []),
        ("", [("True", "Saved", "")]),
        ("1461 no space left on device", [("False", "NotSaved", "1461 no space left on device")]),
    ],
)
def test_a_device_that_is_told_to_save(unsaved: str | None, shown: list[tuple[str, str, str]]) -> None:
    """A condition says why what it holds would not outlive a restart; other devices have no such condition."""
    said = {**SAID["EdgeDevice"], "accepted": GOOD, "unsaved": unsaved}
    all_of_them = statements("EdgeDevice", said)
    assert [(one.status, one.reason, one.message) for one in all_of_them if one.type == "Saved"] == shown
    assert all_of_them[-1].status == "True", "it serves all the same"


def test_a_link_that_cannot_be_joined_says_why() -> None:
    """Without a path, what was tried is in the message; with waiting nodes, what they wait for."""
    no_path = {"path": None, "why": "no path works yet", "tried": [{"path": "direct", "whyNot": "not on a segment"}]}
    said = {**SAID["ClusterLink"], "accepted": GOOD}
    joined = {one.type: one for one in statements("ClusterLink", {**said, **no_path})}["Joined"]
    assert (joined.reason, joined.message) == ("NoPath", "no path works yet; direct: not on a segment")
    waits = {"nodesJoined": 1, "nodesWaiting": 1, "answering": [], "waiting": ["node n2 has no pod CIDR"]}
    joined = {one.type: one for one in statements("ClusterLink", {**said, **waits})}["Joined"]
    assert joined.message == "1 of 2 nodes are joined; node n2 has no pod CIDR"


def test_messages_are_bounded() -> None:
    """A thousand problems do not make an object too large for the API."""
    said = {**SAID["EdgeDevice"], "accepted": {"ok": False, "reason": "Invalid", "message": "x" * 100_000}}
    assert all(len(one.message) <= 4000 for one in statements("EdgeDevice", said))


GONE = "gw1 does not answer us; it answered for 2 VIPs when last seen"


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ([], ["gw1 stands by", "gw2 stands by"], False),
        (["gw1 stands by", "gw2 stands by"], ["gw1 answers for 1 VIP", "gw2 stands by"], False),
        (["gw1 answers for 1 VIP", "gw2 stands by"], ["gw1 answers for 2 VIPs", "gw2 stands by"], False),
        (["gw1 answers for 2 VIPs", "gw2 stands by"], [GONE, "gw2 stands by"], False),
        ([GONE, "gw2 stands by"], [GONE, "gw2 answers for 2 VIPs"], True),
        ([GONE, "gw2 answers for 2 VIPs"], ["gw1 stands by", "gw2 answers for 2 VIPs"], False),
        (["gw1 stands by", "gw2 answers for 2 VIPs"], ["gw1 answers for 2 VIPs", "gw2 stands by"], True),
    ],
)
def test_an_event_tells_of_vips_taken_over(before: list[str], now: list[str], told: bool) -> None:
    """It is told once, when another device than before answers; neither the first VIP nor a return is one."""
    status = {"answering": now}
    found = [(one.reason, one.note) for one in news("ClusterLink", [], {"answering": before}, status)]
    assert found == ([("TakenOver", "; ".join(now))] if told else [])
