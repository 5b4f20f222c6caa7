"""Whatever happens to an API and to the connections to it, in the end the store is what the API holds.

Every example is a story: objects come, change and go while watches are closed, cut, frozen, expired, refused and throttled at
any point. Then the trouble ends, and the store must equal the API, with every difference told by key.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.informer import Informer
from isthmus.kube.pace import Timing
from isthmus.kube.parse import NODE
from isthmus.kube.transport import Patience
from isthmus.model.facts import NodeFacts, ObjectKey

from .stub import StubApi, eventually, status

REFUSALS = [401, 403, 500, 503]
NAMES = st.sampled_from(["n1", "n2", "n3", "n4"])
STEP = st.one_of(
    st.tuples(st.just("put"), NAMES, st.integers(0, 255)),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.sampled_from(["close", "reset", "compact", "freeze", "thaw", "refuse", "allow", "bookmark"])),
    st.tuples(st.just("expired as"), st.sampled_from(["status", "event"])),
)
STEPS = st.lists(st.tuples(STEP, st.sampled_from([0.0, 0.002, 0.02])), min_size=3, max_size=25)
STORY = Timing(
    idle_check=0.05,
    probe=0.3,
    listen=0.02,
    grace=0.02,
    read=5.0,
    backoff_first=0.001,
    backoff_most=0.01,
)


async def tell(api: StubApi, steps: list[tuple[tuple[Any, ...], float]]) -> None:
    for (verb, *rest), pause in steps:
        nodes = api.objects.setdefault("nodes", {})
        match verb:
            case "put":
                api.put("nodes", rest[0], spec={"podCIDR": f"10.0.{rest[1]}.0/24"})
            case "delete" if ("", rest[0]) in nodes:
                api.delete("nodes", rest[0])
            case "close":
                api.close_watches()
            case "reset":
                api.reset_watches()
            case "compact":
                api.compact()
                api.version += 1
            case "freeze" | "thaw":
                api.frozen = verb == "freeze"
            case "refuse":
                api.faults[:] = [lambda seen: status(REFUSALS[len(api.seen) % len(REFUSALS)], "No")]
            case "allow":
                api.faults.clear()
            case "bookmark" if not api.frozen:
                api.bookmark("nodes")
            case "expired as":
                api.expired_as = rest[0]
        await asyncio.sleep(pause)


async def story(streaming: str, steps: list[tuple[tuple[Any, ...], float]]) -> None:
    copy: dict[ObjectKey, NodeFacts] = {}
    async with StubApi().serving() as api:
        api.streaming = streaming
        api.put("nodes", "always")

        def changed(keys: set[ObjectKey]) -> None:
            """Follow by keys alone, as every caller does."""
            for key in keys:
                facts = informer.get(key)
                if facts is None:
                    copy.pop(key, None)
                else:
                    copy[key] = facts

        patience = Patience(connect=0.5, request=0.5, headers=0.2)
        async with KubeClient(Connection(server=api.url), patience=patience) as client:
            informer = Informer(client, NODE, on_change=changed, timing=STORY, source=random.Random(1))
            task = asyncio.create_task(informer.run())
            try:
                await eventually(lambda: api.watchers)
                await tell(api, steps)
                api.frozen = False
                api.faults.clear()

                def same() -> bool:
                    held = {key[1]: str(facts.pod_cidrs) for key, facts in informer.items()}
                    real = {
                        key[1]: f"(IPv4Network('{obj['spec']['podCIDR']}'),)" if "spec" in obj else "()"
                        for key, obj in api.objects["nodes"].items()
                    }
                    return held == real

                await eventually(same)
                assert copy == dict(informer.items()), "who follows by keys knows the same"
                assert informer.suspect is None
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("streaming", ["refuse", "serve"])
def test_any_story_ends_in_the_same_state(streaming: str) -> None:
    """Any sequence of changes and failures ends with the store equal to the API."""

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
    @given(STEPS)
    def run(steps: list[tuple[tuple[Any, ...], float]]) -> None:
        asyncio.run(story(streaming, steps))

    run()
