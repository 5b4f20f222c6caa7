"""A device that does not serve is asked seldom, and served soon after it is back. Time is the test's own."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.netscaler.nitro.rig import Hand, Rig, talking
from isthmus.drivers.netscaler.nitro import Meaning, NitroError
from isthmus.drivers.netscaler.nitro.bodies import Answer
from isthmus.drivers.netscaler.nitro.pace import KNOCK, Gate, retry_after
from isthmus.drivers.netscaler.nitro.wire import Request
from isthmus.errors import DeviceError
from isthmus.loop.pausing import pause_after
from isthmus.metrics import exposition

MINUTES = 600.0


async def keep_opening(rig: Rig, hand: Hand, until: float) -> float:
    """Do what the loop's worker does with a device that fails: close, wait as the error says, open; return when it opened."""
    failures = 0
    while hand.now < until:
        try:
            await rig.nitro.open()
            return hand.now
        except DeviceError as error:
            failures += 1
            await rig.nitro.close()
            hand.now += pause_after(error, failures)
    raise AssertionError("it never opened")


@pytest.mark.parametrize("seed", range(5))
async def test_ten_minutes_of_503(seed: int) -> None:
    """It sees at most eight requests that mean anything in ten minutes, and is in use five seconds after it is back.

    What else it sees are knocks: without session or credentials, 4 s apart.
    """
    hand = Hand()
    async with talking(clock=hand, opened=False) as rig:
        faults, began = rig.device.faults, hand.now
        faults.fail_next(10_000)
        for node in rig.nitro._pair.nodes:
            node.gate._source.seed(seed)
        with pytest.raises(AssertionError, match="never"):
            await keep_opening(rig, hand, began + MINUTES)
        knocks = rig.nitro.requests["knock"]
        assert faults.requests.total() - knocks <= 8
        assert knocks == rig.asked("get", "nsversion") <= MINUTES / KNOCK
        faults.clear()
        back = hand.now
        assert await keep_opening(rig, hand, back + 60) - back <= 5


async def test_ten_minutes_of_503_with_a_word_when() -> None:
    """A device that says when to come back is asked no sooner, and not eight times in all, and is in use right then."""
    hand = Hand()
    async with talking(clock=hand, opened=False) as rig:
        faults, began = rig.device.faults, hand.now
        faults.fail_next(10_000, retry_after=120)
        with pytest.raises(AssertionError, match="never"):
            await keep_opening(rig, hand, began + MINUTES)
        assert faults.requests.total() <= 8
        faults.clear()
        assert await keep_opening(rig, hand, began + MINUTES + 60) <= began + MINUTES + 5


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_every_way_to_say_so(status: int) -> None:
    """Whatever status a web server chooses, it is no reason for a rush."""
    hand = Hand()
    async with talking(clock=hand, opened=False) as rig:
        rig.device.faults.fail_next(10_000, status=status)
        with pytest.raises(AssertionError, match="never"):
            await keep_opening(rig, hand, hand.now + 60)
        assert rig.device.faults.requests.total() <= 20
        with pytest.raises(NitroError) as away:
            await rig.nitro.open()
        assert away.value.meaning is Meaning.UNAVAILABLE


async def test_a_read_waits_out_a_short_503() -> None:
    """One 503 in the middle of work costs one knock, not the session and all that was read."""
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        hand.now += seconds

    hand = Hand()
    async with talking(clock=hand, sleep=sleep) as rig:
        rig.device.faults.fail_next(verb="get", resource="vxlan")
        assert await rig.nitro.get("vxlan") == []
        assert slept == [pytest.approx(KNOCK, rel=0.01)]
        assert rig.nitro.requests["knock"] == 1
        assert rig.asked("login", "login") == 1
        assert b'isthmus_nitro_requests_total{device="adc1",kind="knock",method="GET"}' in exposition()


async def test_a_read_does_not_wait_long() -> None:
    """Where the device asks for more than a moment, the read fails and says when to come back."""
    hand = Hand()
    async with talking(clock=hand) as rig:
        rig.device.faults.fail_next(verb="get", resource="vxlan", retry_after=60)
        with pytest.raises(NitroError) as away:
            await rig.nitro.get("vxlan")
        assert away.value.meaning is Meaning.UNAVAILABLE
        assert away.value.retry_after == pytest.approx(60, rel=0.05)
        with pytest.raises(NitroError):
            await rig.nitro.add("vxlan", [{"id": 1}])
        assert rig.asked("add", "vxlan") == 0


async def test_many_readers_knock_once() -> None:
    """Eight reads that meet a 503 together send one knock between them."""

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0.1)  # until all eight have met it
        hand.now = max(hand.now, began + seconds)

    hand = Hand()
    began = hand.now
    async with talking(clock=hand, sleep=sleep, concurrency=8) as rig:
        rig.device.faults.fail_next(8, verb="get", resource="vxlan")
        assert await asyncio.gather(*(rig.nitro.get("vxlan") for _ in range(8))) == [[]] * 8
        assert rig.nitro.requests["knock"] == 1


async def test_no_more_at_once_than_allowed() -> None:
    """Reads wait for their turn: the device never has more of ours at once than the user allows."""
    async with talking(concurrency=2) as rig:
        faults, most = rig.device.faults, 0
        faults.delay(0.01, verb="get", resource="vxlan")
        under_way = 0
        send = rig.nitro._open_wire().send

        async def counted(root: str, request: Request) -> Answer:
            nonlocal most, under_way
            under_way += 1
            most = max(most, under_way)
            try:
                return await send(root, request)
            finally:
                under_way -= 1

        rig.nitro._open_wire().send = counted  # type: ignore[method-assign]
        await asyncio.gather(*(rig.nitro.get("vxlan") for _ in range(20)))
        assert most == 2
        assert rig.asked("get", "vxlan") == 20


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("99999999", 3600),
        ("Fri, 20 Nov 2026 20:01:30 GMT", 90),
        ("Fri, 20 Nov 2026 19:00:00 GMT", 0),
        ("Sun, 20 Nov 2033 20:00:00 GMT", 3600),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("\u0663", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    """Seconds or a date, never more than an hour; anything else is as if nothing was said."""
    assert retry_after(text, datetime(2026, 11, 20, 20, 0, tzinfo=UTC)) == seconds


@given(st.text(max_size=40))
def test_any_retry_after_is_read(text: str) -> None:
    """Whatever a header says, it is seconds within an hour, or nothing."""
    found = retry_after(text)
    assert found is None or 0 <= found <= 3600


@given(st.integers(0, 2**32), st.lists(st.none() | st.floats(0, 300), min_size=1, max_size=40))
def test_the_gate_never_asks_in_a_rush(seed: int, answers: list[float | None]) -> None:
    """Whatever a device says, two requests are never closer than it asked for, nor real ones closer than the pauses allow."""
    hand = Hand()
    gate = Gate(hand, random.Random(seed))
    real = []
    for after in answers:
        wait = gate.wait()
        hand.now += wait
        if not gate.knocks():
            real.append(hand.now)
        gate.declines(after)
        assert gate.shut
        assert gate.wait() >= (KNOCK if after is None else after) - 1e-6
    assert sum(1 for at in real if at < real[0] + MINUTES) <= 8
    gate.serves()
    assert (gate.shut, gate.wait(), gate.knocks()) == (False, 0, False)
