"""Durations, ranges, selectors and the names of claims."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.model.kinds import KINDS, Wrong, vip_address, vip_name
from isthmus.model.kinds.addresses import Family, Interval, merged, parse_range, without
from isthmus.model.kinds.cluster import KubeClusterSpec
from isthmus.model.kinds.duration import format_duration, parse_duration
from isthmus.model.kinds.pool import AddressPoolSpec, AddressPoolStatus, shared
from isthmus.model.kinds.selector import LabelSelector

intervals = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda pair: (pair[0], pair[0] + pair[1])))
small = st.integers(0, 255).map(lambda last: f"192.0.2.{last}")
pool_ranges = st.lists(
    st.one_of(
        small,
        st.tuples(small, small).map(lambda ends: " - ".join(sorted(ends, key=lambda end: int(ip_address(end))))),
        st.integers(24, 32).flatmap(
            lambda prefix: st.integers(0, 2 ** (prefix - 24) - 1).map(
                lambda index: f"192.0.2.{index * 2 ** (32 - prefix)}/{prefix}"
            )
        ),
    ),
    min_size=1,
    max_size=6,
)


def members(found: tuple[Interval, ...] | list[Interval]) -> set[int]:
    """Return the integers of intervals."""
    return {number for first, last in found for number in range(first, last + 1)}


@given(intervals, intervals)
def test_interval_arithmetic(ours: list[Interval], theirs: list[Interval]) -> None:
    """Intervals are sets of integers: union, difference and intersection agree with sets, sorted and disjoint."""
    for found, expected in (
        (merged(ours), members(ours)),
        (without(ours, theirs), members(ours) - members(theirs)),
        (shared(merged(ours), merged(theirs)), members(ours) & members(theirs)),
    ):
        assert members(found) == expected
        assert all(left[1] + 1 < right[0] for left, right in pairwise(found))


@given(pool_ranges, pool_ranges, st.booleans())
def test_pool_contains_exactly_its_intervals(ranges: list[str], exclude: list[str], avoid: bool) -> None:
    """A pool contains an address if and only if it is in one of its intervals, and its size counts them."""
    # One address far away, so that something is left whatever is excluded.
    spec = AddressPoolSpec(
        ranges=tuple(map(parse_range, [*ranges, "198.51.100.1"])),
        exclude=tuple(map(parse_range, exclude)),
        avoid_network_and_broadcast=avoid,
    )
    given_away = members(spec.addresses(4))
    base = int(IPv4Address("192.0.2.0"))
    for number in range(base - 1, base + 257):
        assert spec.contains(IPv4Address(number)) == (number in given_away)
    assert spec.size(4) == len(given_away)
    assert spec.size(6) == 0


def test_pool_edges_and_families() -> None:
    """Network and broadcast addresses are left out of networks only, and a huge IPv6 pool costs nothing."""
    spec = AddressPoolSpec(
        ranges=tuple(map(parse_range, ["192.0.2.0/30", "192.0.2.8/31", "192.0.2.16 - 192.0.2.19", "2001:db8::/48"])),
        avoid_network_and_broadcast=True,
    )
    base = int(IPv4Address("192.0.2.0"))
    assert spec.addresses(4) == ((base + 1, base + 2), (base + 8, base + 9), (base + 16, base + 19))
    assert spec.size(6) == 2**80 - 1
    assert not spec.contains(IPv6Address("2001:db8::"))
    assert spec.contains(IPv6Address("2001:db8::1"))
    # An IPv6 address with the integer of an IPv4 one is not in the pool.
    assert not spec.contains(IPv6Address(base + 1))


def test_pool_admits_who_meets_every_restriction() -> None:
    """Cluster, namespace and both selectors must all fit."""
    spec = AddressPoolSpec(
        ranges=(parse_range("192.0.2.1"),),
        clusters=("east",),
        namespaces=("shop",),
        namespace_selector=LabelSelector(match_labels={"team": "a"}),
    )
    right = {"cluster": "east", "namespace": "shop", "namespace_labels": {"team": "a"}, "service_labels": {}}
    assert spec.admits(**right)  # type: ignore[arg-type]
    for wrong in ({"cluster": "west"}, {"namespace": "other"}, {"namespace_labels": {}}):
        assert not spec.admits(**(right | wrong))  # type: ignore[arg-type]


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_claim_names(address: IPv4Address | IPv6Address) -> None:
    """A claim's name is one to one with its address, and a name that Kubernetes takes."""
    name = vip_name(address)
    assert ":" not in name
    assert name == name.lower()
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    assert vip_address(name) == address


def test_one_address_has_one_name() -> None:
    """An IPv4 address in IPv6 clothes is named as the IPv4 address it is; its own spelling is no name."""
    assert vip_name(IPv6Address("::ffff:192.0.2.1")) == "192.0.2.1"
    with pytest.raises(Wrong, match="IPv6 clothes"):
        vip_address("0000-0000-0000-0000-0000-ffff-c000-0201")


@pytest.mark.parametrize("name", ["", "a", "192.0.2.01", "192.0.2", "2001-db8--1", "2001-0DB8-0-0-0-0-0-1", "1-2"])
def test_no_second_name(name: str) -> None:
    """No other spelling of an address is taken for its name."""
    with pytest.raises(Wrong):
        vip_address(name)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("40s", 40),
        ("5m", 300),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("1d", 86400),
        (7, 7),
        ("7", 7),
        ("0s", 0),
    ],
)
def test_durations(text: str | int, seconds: float) -> None:
    """Durations are read as people write them."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "5x", "-5s", "5 s", "1h 30m", "1e3s", "9999d", True, None, [], float("nan")]
)
def test_no_durations(text: object) -> None:
    """What is not clearly a duration is refused."""
    with pytest.raises(Wrong):
        parse_duration(text)


@given(st.integers(0, 366 * 86400 * 1000))
def test_duration_round_trip(milliseconds: int) -> None:
    """A duration written out reads as the same duration."""
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


def test_selectors_mean_what_they_mean_in_kubernetes() -> None:
    """All requirements must hold; NotIn and DoesNotExist match what lacks the label; empty matches all."""
    selector = LabelSelector.model_validate(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "zone", "operator": "In", "values": ["a", "b"]},
                {"key": "tier", "operator": "NotIn", "values": ["internal"]},
                {"key": "edge", "operator": "Exists"},
                {"key": "drain", "operator": "DoesNotExist"},
            ],
        }
    )
    good = {"app": "web", "zone": "a", "edge": ""}
    assert selector.matches(good)
    for change in ({"app": "x"}, {"zone": "c"}, {"tier": "internal"}, {"drain": "yes"}):
        assert not selector.matches(good | change)
    assert not selector.matches({"app": "web", "zone": "a"})
    assert LabelSelector().matches({})


def test_whose_services_are_ours() -> None:
    """A class must match; no class is ours only where the cluster says so."""
    spec = KubeClusterSpec(in_cluster=True)
    assert spec.serves("isthmus.dev/load-balancer")
    assert not spec.serves("example.org/other")
    assert not spec.serves(None)
    assert KubeClusterSpec.model_validate({"inCluster": True, "loadBalancer": {"default": True}}).serves(None)


def test_objects_are_frozen() -> None:
    """Nobody changes an object in place."""
    for model in KINDS.values():
        assert model.model_config["frozen"]
    spec = AddressPoolSpec(ranges=(parse_range("192.0.2.1"),))
    with pytest.raises(ValueError, match="frozen"):
        spec.priority = 5  # type: ignore[misc]


def test_families() -> None:
    """A range knows its family."""
    expected: list[tuple[str, Family]] = [("192.0.2.1", 4), ("2001:db8::/64", 6)]
    for text, family in expected:
        assert parse_range(text).family == family
        assert str(parse_range(text)) == text


def test_counts_fit_into_kubernetes() -> None:
    """An IPv6 pool has more addresses than Kubernetes has integers; its status shows the largest there is."""
    assert AddressPoolStatus(total=2**80, used=3).model_dump(include={"total", "used"}) == {
        "total": 2**63 - 1,
        "used": 3,
    }
