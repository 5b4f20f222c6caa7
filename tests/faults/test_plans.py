"""Whatever fails, and wherever, in the end the gateway holds what it should; on the way nothing goes that was wanted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from faults.playing import faults

NETSCALER = ("--device", "netscaler")
CASES: dict[str, tuple[str, ...]] = {
    "a state kept while a plan was under way": ("86", "direct", "", "9"),
    "a first list of endpoints that shows nothing": ("520", "flannel", "kube.list endpointslices#0:empty", "7"),
    "a streamed first list of nodes that shows nothing": ("3", "auto", "kube.stream nodes#0:empty", "5"),
    "a dead controller, and a list of nodes that shows nothing": (
        "7",
        "direct",
        "60:crash-before,kube.list nodes#1:empty,kube.stream nodes#1:empty",
        "8",
    ),
    "a clock that is an hour behind while flannel's pod CIDR is given": (
        "168",
        "flannel",
        "kube.stream nodes#0:clock-behind,kube.list nodes#0:clock-behind",
        "12",
    ),
    "a gateway that reboots to an old configuration in the middle of a plan": ("11", "overlay", "70:reboot-old", "8"),
    "a Service that is made anew twice, and is no rival of ours": ("76", "overlay", "kube.list nodes#1:empty", "8"),
    "a disk that is full when an address is claimed": ("4", "direct", "state.insert_claim#0:full", "8"),
    "a claim whose reply nobody gets": ("4", "overlay", "state.insert_claim#1:crash-sent", "8"),
    "a controller that is stopped in the middle of a list": ("9", "overlay", "kube.list services#0:pause-sent", "8"),
    "a leader that is stopped in the middle of a plan, and another that takes over": (
        "7",
        "direct",
        "44:pause-sent",
        "6",
        "--rivals",
    ),
    "a stopped leader's words in a Service that asks for nothing any more": (
        "9584",
        "direct",
        "60:pause-before",
        "10",
        "--rivals",
    ),
    "a stopped leader, one that dies, and words of the first": (
        "20199",
        "flannel",
        "101:pause-before,122:crash-sent,80:half-applied",
        "11",
        "--rivals",
    ),
    "a delete whose outcome is unknown, and that was not made": ("7", "direct", "device.change#10:unsent", "8"),
    "a second page that is empty": ("20768", "direct", "21:empty", "11"),
    "a NetScaler that a controller died on before it had saved": (
        "104",
        "policy",
        "kube.event endpointslices#2:merged,226:crash-before,kube.list endpointslices#1:failed",
        "4",
        *NETSCALER,
    ),
    "a NetScaler that reboots while a VIP's virtual server is made": (
        "2220",
        "policy",
        "143:pause-before,251:reboot,41:crash-after",
        "11",
        *NETSCALER,
    ),
    "a NetScaler whose word about its MAC does not read": (
        "10911",
        "policy",
        "21:other,117:pause-sent,172:503",
        "7",
        *NETSCALER,
    ),
    "a NetScaler whose ledger is back with an earlier line of ours": (
        "10348",
        "flannel",
        "36:other,116:reboot,169:clock-ahead",
        "8",
        *NETSCALER,
    ),
    "a stopped leader that gives a node another node's place on the overlay": (
        "60200",
        "overlay",
        "kube.patch#1:pause-sent",
        "12",
        "--rivals",
        *NETSCALER,
    ),
}
"""Seed, path, faults, steps, more. What went wrong once, and what must never."""


def test_who_was_stopped_between_deciding_and_writing_is_fenced() -> None:
    """What a leader has decided in its time and sends after it is refused by the gateway, and by nothing else."""
    plan = ("135", "--path", "flannel", "--faults", "48:pause-before", "--steps", "6", "--rivals")
    fenced = faults(*plan)
    assert fenced.returncode == 0, fenced.stdout[-3000:] + fenced.stderr[-2000:]
    assert "c2     leads" in fenced.stdout, "another has taken over"
    unfenced = faults(*plan, "--mutant", "epoch-is-ignored")
    assert unfenced.returncode == 1
    assert "has begun" in unfenced.stdout


def test_plans_of_chance_come_right() -> None:
    """Sixty plans with some two hundred failures: every law holds."""
    ended = faults("run", "60", "--jobs", "2", "--json")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["played"] == 60
    assert sum(found["struck"].values()) > 150
    assert len(found["struck"]) > 50, "many kinds of failure at many kinds of points"


def test_plans_of_chance_come_right_on_a_netscaler() -> None:
    """Twenty plans with some seventy failures, at the requests to the device among them."""
    ended = faults("run", "20", "--jobs", "2", "--json", *NETSCALER)
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["played"] == 20
    assert sum(count for kind, count in found["struck"].items() if kind.startswith("nitro.")) > 10


def test_a_netscaler_that_does_not_serve_is_left_alone_and_soon_well() -> None:
    """Ten minutes of 503, with and without a Retry-After: eight attempts at most, and all is well five seconds after."""
    ended = faults("outage")
    assert ended.returncode == 0, ended.stdout + ended.stderr[-2000:]
    for found in json.loads(ended.stdout):
        assert sum(found["attempts"].values()) <= 8, found
        assert found["seconds"] <= 5.0, found
        assert found["wrongs"] == []


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    """What was found by a plan once stays mended."""
    seed, path, chosen, steps, *more = CASES[name]
    ended = faults(seed, "--path", path, "--faults", chosen, "--steps", steps, *more)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-2000:]
    if chosen:
        assert "FAULT" in ended.stdout, "the fault struck"


def test_a_plan_is_the_same_each_time() -> None:
    """A seed tells one story, so that what was found can be looked at."""
    first, second = faults("5"), faults("5")
    assert first.stdout == second.stdout
    assert first.stdout.count("\n") > 10
