"""Slots give exact shares where they can, and move little when members change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.drivers.linux.slots import CLASSES, fill, quotas
from isthmus.model.resources import Algorithm, Member

ALGORITHMS: tuple[Algorithm, ...] = ("round-robin", "source-hash")


def members(count: int, weight: int = 1) -> list[Member]:
    return [Member(ip_address(0x0AF40001 + number), 8080, weight) for number in range(count)]


def placed(pods: Sequence[Member], algorithm: Algorithm) -> list[Member]:
    active, order = fill(pods, algorithm)
    return [active[number] for number in order]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30])
def test_round_robin_serves_each_member_once_a_turn(count: int) -> None:
    """Over any window of as many requests as members, wherever it begins, each member is asked once."""
    slots = placed(members(count), "round-robin")
    for start in range(len(slots)):
        window = [slots[(start + offset) % len(slots)] for offset in range(count)]
        assert len(set(window)) == count


@given(st.integers(1, 420), st.sampled_from(ALGORITHMS))
def test_shares_differ_by_one_slot_at_most(count: int, algorithm: Algorithm) -> None:
    """Equal members get equal shares, but for one slot where the class does not divide."""
    slots = placed(members(count), algorithm)
    assert len(slots) in CLASSES
    shares = Counter(slots)
    assert len(shares) == count
    assert max(shares.values()) - min(shares.values()) <= 1


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40))
def test_weights_are_shares(weights: list[int]) -> None:
    """Every weight gets a slot at least, all slots are given, and more weight never gets less."""
    shares = quotas(weights, 420)
    assert sum(shares) == 420
    assert min(shares) >= 1
    for weight, share in zip(weights, shares, strict=True):
        for other, other_share in zip(weights, shares, strict=True):
            assert weight <= other or share >= other_share


def test_three_to_one_is_exact() -> None:
    """A member with weight 3 beside one of weight 1 gets three quarters."""
    heavy, light = Member(ip_address("10.0.0.1"), 80, 3), Member(ip_address("10.0.0.2"), 80, 1)
    assert Counter(placed([heavy, light], "round-robin")) == {heavy: 9, light: 3}


@given(st.integers(2, 29), st.data())
def test_a_member_more_moves_little(count: int, data: st.DataObject) -> None:
    """By source hash a new member takes its share and little more moves between the others."""
    before = members(count)
    position = data.draw(st.integers(0, count))
    newcomer = Member(ip_address("10.99.0.1"), data.draw(st.integers(1, 65535)))
    after = [*before[:position], newcomer, *before[position:]]
    old, new = placed(before, "source-hash"), placed(after, "source-hash")
    if len(old) == len(new):
        moved = sum(1 for was, now in zip(old, new, strict=True) if was != now and now != newcomer)
        assert moved <= len(new) * 0.4


def test_moves_are_few_on_average() -> None:
    """Over many sizes less than a fifth of the slots change hands beyond what the new member takes."""
    shares = []
    for count in range(2, 29):
        for port in range(1, 20):
            newcomer = Member(ip_address("10.99.0.1"), port)
            old, new = placed(members(count), "source-hash"), placed([*members(count), newcomer], "source-hash")
            moved = sum(1 for was, now in zip(old, new, strict=True) if was != now and now != newcomer)
            shares.append(moved / len(new))
    assert sum(shares) / len(shares) < 0.2


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), max_size=12, unique_by=lambda pair: pair[0]))
def test_who_drains_gets_nothing(pairs: list[tuple[int, int]]) -> None:
    """A member with weight 0 is in no slot, and without others there are no slots."""
    pods = [Member(ip_address(number), 80, weight) for number, weight in sorted(pairs)]
    for algorithm in ALGORITHMS:
        slots = placed(pods, algorithm)
        assert {pod for pod in pods if pod.weight} == set(slots)
