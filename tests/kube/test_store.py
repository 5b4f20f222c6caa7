"""Facts by key and by index; a change costs its own size and leaves nothing behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.kube.store import Store

KEYS = st.sampled_from([("a", "1"), ("a", "2"), ("b", "1")])
CHANGES = st.lists(st.tuples(KEYS, st.none() | st.frozensets(st.integers(0, 3))))


@given(CHANGES)
def test_the_index_is_what_the_facts_say(changes: list[tuple[tuple[str, str], frozenset[int] | None]]) -> None:
    """After any changes every index value finds exactly the facts that name it, and empty values are forgotten."""
    store: Store[frozenset[int]] = Store({"number": lambda facts: facts})
    model: dict[tuple[str, str], frozenset[int]] = {}
    for key, facts in changes:
        if facts is None:
            assert store.remove(key) == (model.pop(key, None) is not None)
        else:
            assert store.put(key, facts) == (model.get(key) != facts)
            model[key] = facts
    assert dict(store.items()) == model
    for number in range(4):
        assert store.by("number", number) == [model[key] for key in sorted(model) if number in model[key]]
    assert all(keys for keys in store._indexes["number"].values())
