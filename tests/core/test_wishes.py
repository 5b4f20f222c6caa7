"""Who gets their way, held against a model so naive that it cannot be wrong: a list of all wishes, sorted anew each time."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.wishes import Wishes
from isthmus.model.plan import Scope
from isthmus.model.resources import AnyResource, Route

SCOPES = tuple(Scope("node", "lab", name) for name in ("a", "b", "c"))
ROUTES = tuple(
    Route(ip_network(prefix), ip_address(via), "eth0")
    for prefix in ("10.1.0.0/24", "10.2.0.0/24")
    for via in ("192.0.2.1", "192.0.2.2", "192.0.2.3")
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(SCOPES),
        st.lists(st.sampled_from(ROUTES), max_size=2, unique_by=lambda route: route.identity),
        st.sampled_from(("", "2024-01-01", "2024-02-01")),
    ),
    max_size=12,
)

Model = dict[Scope, tuple[str, list[Route]]]


def naive(model: Model, identity: str) -> tuple[AnyResource, set[Scope], set[Scope]] | None:
    wishes = [
        (order, scope, route)
        for scope, (order, routes) in model.items()
        for route in routes
        if route.identity == identity
    ]
    if not wishes:
        return None
    winner = min(wishes, key=lambda wish: wish[:2])[2]
    return winner, {s for _, s, r in wishes if r == winner}, {s for _, s, r in wishes if r != winner}


@given(STEPS)
def test_verdicts_are_those_of_the_model(steps: list[tuple[Scope, list[Route], str]]) -> None:
    """After any steps every verdict is the model's, and each step names every identity whose verdict moved."""
    wishes, model = Wishes(), Model()
    identities = {route.identity for route in ROUTES}
    before = {identity: wishes.verdict(identity) for identity in identities}
    for scope, routes, order in steps:
        touched = wishes.replace(scope, routes, order)
        model.pop(scope, None)
        if routes:
            model[scope] = (order, routes)
        for identity in identities:
            verdict, expected = wishes.verdict(identity), naive(model, identity)
            assert (verdict is None) == (expected is None)
            if verdict is not None and expected is not None:
                assert verdict.resource == expected[0]
                assert set(verdict.scopes) == expected[1]
                assert {wish.scope for wish in verdict.losers} == expected[2]
                assert all(wishes.grants(identity, s) == (s in expected[1]) for s in SCOPES)
            assert verdict == before[identity] or identity in touched, "a verdict that moved is named"
            before[identity] = verdict
        assert set(wishes.identities()) == {r.identity for _, found in model.values() for r in found}
        assert set(wishes.scopes()) == model.keys()
        assert len(wishes) == len(set(wishes.identities()))


def test_the_loser_gets_its_turn() -> None:
    """When the winner leaves, the one that lost has its way, and the identity is named as moved."""
    wishes = Wishes()
    older, younger = ROUTES[0], ROUTES[1]
    wishes.replace(SCOPES[0], [younger], "2024-02-01")
    assert wishes.replace(SCOPES[1], [older], "2024-01-01") == {older.identity}
    verdict = wishes.verdict(older.identity)
    assert verdict is not None
    assert (verdict.resource, verdict.losers[0].scope) == (older, SCOPES[0])
    assert wishes.replace(SCOPES[1], []) == {older.identity}
    verdict = wishes.verdict(older.identity)
    assert verdict is not None
    assert (verdict.resource, verdict.losers) == (younger, ())
