"""The queue of keys: each waits once, the earlier time wins, a failing key holds up nobody."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.loop.queue import KeyedQueue

from .clock import now, virtually


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def queue_at(hand: Hand, **rest: float) -> KeyedQueue[str]:
    return KeyedQueue(clock=hand, jitter=lambda: 1.0, **rest)


def test_a_timer_that_is_always_overtaken_leaves_nothing_behind() -> None:
    """A slow timer that is set anew at each of ten thousand looks costs no memory, and still comes."""
    hand = Hand()
    queue = queue_at(hand)
    for _ in range(10_000):
        queue.add("all", 86_400.0)
        queue.add("all")
        assert queue.ready() == {"all"}
    queue.add("all", 86_400.0)
    assert len(queue._heap) < 200
    hand.time += 86_400.0
    assert queue.ready() == {"all"}


def test_a_burst_is_one_look() -> None:
    """A thousand changes to one key are one look at it, together with every other key that is ready."""
    queue = queue_at(Hand())
    for _ in range(1000):
        queue.add("a")
    queue.add("b")
    assert len(queue) == 2
    assert queue.ready() == {"a", "b"}
    assert queue.ready() == set()


def test_the_earlier_time_wins() -> None:
    """A key that waits is ready at the earliest of the times asked for, and then once."""
    hand = Hand()
    queue = queue_at(hand)
    queue.add("a", 10)
    queue.add("a", 2)
    queue.add("a", 5)
    hand.time = 1.9
    assert queue.ready() == set()
    hand.time = 2
    assert queue.ready() == {"a"}
    hand.time = 100
    assert queue.ready() == set()


def test_a_key_taken_can_be_asked_for_again() -> None:
    """What is asked for while it is being looked at is looked at again."""
    queue = queue_at(Hand())
    queue.add("a")
    assert queue.ready() == {"a"}
    queue.add("a")
    assert queue.ready() == {"a"}


def test_an_old_request_does_not_wake_a_new_one() -> None:
    """What was asked for at a time that an earlier one overtook is forgotten, whatever is asked for afterwards."""
    hand = Hand()
    queue = queue_at(hand)
    queue.add("a", 5)
    queue.add("a", 1)
    hand.time = 1
    assert queue.ready() == {"a"}
    queue.add("a", 9)
    hand.time = 5
    assert queue.ready() == set()
    hand.time = 10
    assert queue.ready() == {"a"}


def test_a_failing_key_pauses_longer_and_longer() -> None:
    """Each failure in a row doubles the pause up to the longest; success forgets them; others are not held up."""
    hand = Hand()
    queue = queue_at(hand, first_pause=1.0, longest_pause=8.0)
    pauses = []
    for _ in range(6):
        pauses.append(queue.failed("a"))
        queue.add("b")
        assert queue.ready() == {"b"}
        hand.time += pauses[-1]
        assert queue.ready() == {"a"}
    assert pauses == [1, 2, 4, 8, 8, 8]
    assert queue.failures("a") == 6
    queue.done("a")
    assert (queue.failures("a"), queue.failed("a"), queue.failures("b")) == (0, 1.0, 0)


def test_a_pause_is_jittered_and_never_below_what_was_demanded() -> None:
    """Pauses are spread over half of their length, and a Retry-After is honoured."""
    spread: KeyedQueue[str] = KeyedQueue(first_pause=4.0, clock=Hand())
    pauses = {spread.failed(str(number)) for number in range(50)}
    assert len(pauses) > 40
    assert all(2 <= pause <= 4 for pause in pauses)
    assert spread.failed("x", at_least=30.0) == 30.0


def test_waiting_takes_no_turns() -> None:
    """A consumer sleeps until the first key is due, and an earlier key wakes it."""

    async def main() -> list[tuple[float, set[str]]]:
        queue: KeyedQueue[str] = KeyedQueue()
        seen: list[tuple[float, set[str]]] = []

        async def consume() -> None:
            while len(seen) < 3:
                seen.append((0.0, await queue.take()))
                seen[-1] = (round(now(), 3), seen[-1][1])

        queue.add("late", 60)
        queue.add("middle", 30)
        consumer = asyncio.create_task(consume())
        await asyncio.sleep(5)
        queue.add("early")
        await consumer
        return seen

    assert virtually(main) == [(5.0, {"early"}), (30.0, {"middle"}), (60.0, {"late"})]


def test_a_consumer_that_is_cancelled_loses_nothing() -> None:
    """A key stays in the queue when who waited for it gives up."""

    async def main() -> set[str]:
        queue: KeyedQueue[str] = KeyedQueue()
        queue.add("a", 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await queue.take()
        return await queue.take()

    assert virtually(main) == {"a"}


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(("add", "fail", "wait")), st.integers(0, 5)),
        min_size=10,
        max_size=60,
    )
)
def test_no_key_is_lost_and_none_comes_early(steps: list[tuple[str, str, int]]) -> None:
    """Against a model of due times: exactly what is due is ready, and the queue stays as small as its keys."""
    hand = Hand()
    queue = queue_at(hand, first_pause=1.0, longest_pause=4.0)
    due: dict[str, float] = {}
    for key, step, amount in steps:
        match step:
            case "add":
                queue.add(key, amount)
                due[key] = min(due.get(key, 1e9), hand.time + amount)
            case "fail":
                due[key] = min(due.get(key, 1e9), hand.time + queue.failed(key))
            case "wait":
                hand.time += amount
                ready = {one for one, at in due.items() if at <= hand.time}
                assert queue.ready() == ready
                due = {one: at for one, at in due.items() if one not in ready}
        assert len(queue) == len(due)
