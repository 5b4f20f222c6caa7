"""The store by itself: the past can be asked for, and watching it leads to the present."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.lab.kube import KubeApi
from isthmus.lab.kube.objects import JsonForm
from isthmus.lab.kube.selectors import parse
from isthmus.lab.kube.store import Store
from isthmus.lab.kube.watching import Watcher

STEPS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["0", "1", None])), max_size=40)
NODES = JsonForm(KubeApi(tls=False).resource("nodes"))


def play(store: Store, steps: list[tuple[str, str | None]]) -> list[dict[str, str]]:
    """Carry out steps (a name and its new label, or None to delete) and return the state after each version."""
    states: list[dict[str, str]] = [{}]
    for name, label in steps:
        state = dict(states[-1])
        if label is not None:
            store.put("nodes", {"metadata": {"name": name, "labels": {"on": label}}})
            state[name] = label
        elif name in state:
            store.remove("nodes", ("", name))
            del state[name]
        else:
            continue
        states.append(state)
    return states


def shown(records: Any) -> dict[str, str]:
    return {record.key[1]: record.labels["on"] for record in records}


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_every_version_of_the_past_can_be_listed(steps: list[tuple[str, str | None]]) -> None:
    """A list at a version is what the objects were then, in the order of their names."""
    store = Store()
    first = store.rv
    states = play(store, steps)
    for offset, state in enumerate(states):
        records = store.bucket("nodes").ordered_at(first + offset)
        assert shown(records) == state
        assert [record.key for record in records] == sorted(record.key for record in records)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from(["", "on=1"]), st.integers(0, 40))
def test_watching_leads_to_the_present(steps: list[tuple[str, str | None]], selector: str, start: int) -> None:
    """A list at any version plus the changes since, live or replayed, is the present, under any selector."""
    store = Store()
    first = store.rv
    selection = parse(selector, "")
    live = Watcher(NODES, selection=selection, after=first)
    store.bucket("nodes").watchers.add(live)
    states = play(store, steps)
    start = min(start, len(states) - 1)
    late = Watcher(NODES, selection=selection, after=first + start)
    for change in store.bucket("nodes").since(first + start):
        late.offer(change)
    wanted = {name: on for name, on in states[-1].items() if not selector or on == "1"}
    for watcher, state in ((live, {}), (late, states[start])):
        seen = {name: on for name, on in state.items() if not selector or on == "1"}
        for line in watcher.waiting:
            event = json.loads(line)
            meta = event["object"]["metadata"]
            if event["type"] == "ADDED":
                assert meta["name"] not in seen
            else:
                assert meta["name"] in seen
            if event["type"] == "DELETED":
                del seen[meta["name"]]
            else:
                seen[meta["name"]] = meta["labels"]["on"]
        assert seen == wanted


def test_an_event_is_written_once_for_all_its_watchers() -> None:
    """A hundred watchers of one kind share the bytes, and a watcher of another name costs nothing."""

    class Counting(JsonForm):
        written = 0

        def write(self, record: Any) -> bytes:
            Counting.written += 1
            return super().write(record)

    store = Store()
    form = Counting(KubeApi(tls=False).resource("nodes"))
    for _ in range(100):
        store.bucket("nodes").watchers.add(Watcher(form))
    for number in range(100):
        selection = parse("", f"metadata.name=other{number}")
        store.bucket("nodes").watchers.add(Watcher(form, selection=selection))
    store.put("nodes", {"metadata": {"name": "a"}})
    assert Counting.written == 1
    assert sum(bool(watcher.waiting) for watcher in store.watchers()) == 100
