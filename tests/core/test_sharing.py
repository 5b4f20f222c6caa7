"""Devices shared over replicas: each has one writer, all are taken, and none moves without need."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.sharing import in_line, steps

DEVICES = [f"gw{number}" for number in range(30)]
names = st.sets(st.text("abcdef", min_size=1, max_size=6), min_size=1, max_size=6)


def test_everybody_alive_takes_a_share() -> None:
    """Three replicas that begin together take all thirty devices between them, each a fair part."""
    shares = {me: steps(me, DEVICES, {"a", "b", "c"}, {}, {}, 5.0)[0] for me in "abc"}
    assert sorted(device for share in shares.values() for device in share) == sorted(DEVICES)
    assert all(4 <= len(share) <= 16 for share in shares.values())


def test_the_devices_of_the_dead_are_taken_and_no_others() -> None:
    """When one dies, only its devices move; those alive keep theirs."""
    holders = {device: in_line(device, "abc")[0] for device in DEVICES}
    for me in "ab":
        take, give = steps(me, DEVICES, {"a", "b"}, holders, {}, 5.0)
        assert not give
        assert all(holders[device] == "c" for device in take)
        assert take == [
            device for device in sorted(DEVICES) if holders[device] == "c" and in_line(device, "ab")[0] == me
        ]


def test_the_second_in_line_waits() -> None:
    """A device that its first in line does not take goes to the next after a while, one after the other."""
    first, second, third = in_line("gw1", "abc")
    for me, least in ((first, 0.0), (second, 5.0), (third, 10.0)):
        assert steps(me, ["gw1"], set("abc"), {}, {"gw1": least}, 5.0)[0] == ["gw1"]
        if least:
            assert steps(me, ["gw1"], set("abc"), {}, {"gw1": least - 0.1}, 5.0)[0] == []


@given(live=names, newcomer=st.text("xyz", min_size=1, max_size=4))
def test_a_newcomer_gets_its_share_and_moves_nothing_else(live: set[str], newcomer: str) -> None:
    """Whoever has a device gives it up only to the newcomer, and nobody takes what somebody alive has."""
    holders = {device: in_line(device, live)[0] for device in DEVICES}
    now = live | {newcomer}
    for me in live:
        take, give = steps(me, DEVICES, now, holders, {}, 5.0)
        assert not take
        assert all(in_line(device, now)[0] == newcomer for device in give)
    assert steps(newcomer, DEVICES, now, holders, {}, 5.0) == ([], [])


@given(live=names, device=st.text(min_size=1, max_size=20))
def test_the_line_is_the_same_for_all(live: set[str], device: str) -> None:
    """Every replica sees the same order, whoever it hears of first."""
    assert in_line(device, sorted(live)) == in_line(device, sorted(live, reverse=True))
