"""A device's policy filters what its plan does, and hides nothing: what is left out is held, with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.guard import DeleteWindow, Knowledge, allowed
from isthmus.model.kinds import EdgeDevice, parse
from isthmus.model.plain import from_builtins
from isthmus.model.plan import Change, Scope

from .rig import Rig, document, node

SURE = Knowledge({}, lambda scope: None, lambda scope: None, None, lambda scope: False)
POLICIES = ("sync", "upsert-only", "observe")


def device(policy: str, **deletes: float) -> EdgeDevice:
    """Return a device with a policy."""
    spec = {"driver": "memory", "policy": policy, **({"deletes": deletes} if deletes else {})}
    found = parse(document("EdgeDevice", "gw", spec)).object
    assert isinstance(found, EdgeDevice)
    return found


def change(action: str, number: int) -> Change:
    """Return a change of a route."""
    route = from_builtins({"kind": "Route", "prefix": f"10.{number}.0.0/16", "via": "192.0.2.1", "link": "eth0"})
    before, after = (None if action == "create" else route), (None if action == "delete" else route)
    return Change(action, route.identity, before, after, (Scope("node", "lab", "n"),))  # type: ignore[arg-type]


CHANGES = st.lists(st.sampled_from(["create", "update", "delete"]), max_size=40).map(
    lambda actions: [change(action, number) for number, action in enumerate(actions)]
)


@given(CHANGES, st.sampled_from(POLICIES), st.booleans())
def test_a_policy_takes_away_and_never_adds(changes: list[Change], policy: str, consent: bool) -> None:
    """Every change goes or is held, exactly once; upsert-only lets no delete go, observe nothing."""
    go, held = allowed(changes, device(policy), SURE, DeleteWindow(), 0.0, owned=1000, allow_deletes=consent)
    assert sorted(one.identity for one in [*go, *(item.change for item in held)]) == sorted(
        c.identity for c in changes
    )
    assert all(item.reason for item in held)
    if policy == "observe":
        assert go == []
    if policy == "upsert-only":
        assert {one.action for one in go} <= {"create", "update"}
    if policy != "observe":
        assert [one for one in changes if one.action != "delete"] == [one for one in go if one.action != "delete"]
    if policy == "sync":
        assert len(go) == len(changes)  # a thousand are ours, and a quarter of these may go


@given(CHANGES, st.booleans())
def test_policies_are_ordered(changes: list[Change], consent: bool) -> None:
    """What observe does, upsert-only does; what upsert-only does, sync does."""
    done = []
    for policy in reversed(POLICIES):
        go, _ = allowed(changes, device(policy), SURE, DeleteWindow(), 0.0, owned=4, allow_deletes=consent)
        done.append({one.identity for one in go})
    assert done[0] <= done[1] <= done[2]


@pytest.mark.parametrize(("policy", "signs"), [("sync", "+-"), ("upsert-only", "+="), ("observe", "==")])
def test_a_plan_shows_what_a_policy_leaves_out(policy: str, signs: str) -> None:
    """A new route and one that nobody wants any more: what is not done is shown as held, with the policy as the reason."""
    rig = Rig()
    rig.put(node("n1", "192.0.2.11", "10.244.1.0/24"))
    rig.settle()
    rig.kind("EdgeDevice", "gw", {"driver": "memory", "policy": policy})
    rig.put(node("n2", "192.0.2.12", "10.244.2.0/24"))
    rig.world.put_node("east", "n1", None)
    plan = rig.full()
    lines = plan.lines()[:-1]
    assert "".join(sorted(line[0] for line in lines)) == "".join(sorted(signs))
    assert all(f"policy is {policy}" in line for line in lines if line.startswith("="))
    assert len(plan.changes) == signs.count("+") + signs.count("-")


@pytest.mark.parametrize("by", ["the command line", "the annotation"])
def test_consent_lets_large_deletions_go(by: str) -> None:
    """Thirty routes of thirty go only with consent; upsert-only keeps them even then."""
    rig = Rig()
    rig.put(*(node(f"n{n}", f"192.0.2.{n + 10}", f"10.244.{n}.0/24") for n in range(30)))
    rig.settle()
    for number in range(30):
        rig.world.put_node("east", f"n{number}", None)
    held = rig.full()
    assert (len(held.changes), len(held.held)) == (0, 30)
    assert "--allow-deletes" in held.held[0].reason
    annotations = {"isthmus.dev/allow-deletes": "moving"} if by == "the annotation" else {}
    rig.planner.allow_deletes = by == "the command line"
    rig.kind("EdgeDevice", "gw", {"driver": "memory"}, annotations=annotations)
    assert len(rig.full().changes) == 30
    rig.kind("EdgeDevice", "gw", {"driver": "memory", "policy": "upsert-only"}, annotations=annotations)
    plan = rig.full()
    assert (len(plan.changes), len(plan.held)) == (0, 30)
