"""Each state of a host has its verdict, its sentence and its way out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from isthmus.app.doctor.host import HostFacts, Wanted, judge_filters, judge_host, judge_tunnels
from isthmus.model.resources import Tunnel

TUNNEL = Tunnel("isth0", 7001, 4789, ip_address("192.0.2.1"), "02:00:00:00:70:01", 1450, "eth0")
GOOD = HostFacts(
    python=(3, 11),
    kernel="6.1.0-18-amd64",
    nft="1.0.6",
    capabilities=1 << 12 | 1 << 13,
    settings={
        "ipv4/ip_forward": "1",
        "ipv6/conf/all/forwarding": "1",
        "netfilter/nf_conntrack_count": "1000",
        "netfilter/nf_conntrack_max": "262144",
        "ipv4/neigh/default/gc_thresh3": "4096",
        "ipv6/neigh/default/gc_thresh3": "4096",
        "ipv4/conf/all/rp_filter": "0",
        "ipv4/conf/isth0/rp_filter": "2",
        "ipv4/conf/all/arp_ignore": "0",
    },
    mtus={"eth0": 1500},
)
WANTED = Wanted(100, frozenset({"eth0"}), (TUNNEL,), frozenset({4, 6}))


def test_a_good_host_is_well() -> None:
    """Nothing is said against a host that has all it needs."""
    answers = [*judge_host(GOOD, WANTED), *judge_tunnels("gw1", GOOD, [TUNNEL])]
    assert {answer.level for answer in answers} == {"ok"}


SETTINGS: list[tuple[Mapping[str, str], str, str, str]] = [
    ({"ipv4/ip_forward": "0"}, "fail", "does not forward IPv4", "/etc/sysctl.d"),
    ({"ipv6/conf/all/forwarding": "0"}, "fail", "does not forward IPv6", "/etc/sysctl.d"),
    ({"ipv6/conf/all/disable_ipv6": "1"}, "fail", "IPv6 is switched off", "disable_ipv6=0"),
    ({"ipv4/conf/isth0/rp_filter": "1"}, "fail", "drops answers that come by isth0", "rp_filter=2"),
    ({"ipv4/conf/isth0/rp_filter": "0", "ipv4/conf/all/rp_filter": "1"}, "fail", "drops answers", "rp_filter=2"),
    ({"ipv4/conf/eth0/arp_ignore": "2"}, "fail", "does not answer ARP for VIPs on eth0", "to 0 or 1"),
    ({"ipv4/conf/all/arp_ignore": "8"}, "fail", "does not answer ARP", "to 0 or 1"),
    ({"netfilter/nf_conntrack_count": "200000"}, "warn", "tracks 200000 of at most 262144", "nf_conntrack_max"),
    ({"netfilter/nf_conntrack_count": "262000"}, "fail", "tracks 262000", "nf_conntrack_max"),
    ({"ipv4/neigh/default/gc_thresh3": "200"}, "fail", "at most 200 IPv4 neighbors", "at least 912"),
    ({"ipv6/neigh/default/gc_thresh3": "400"}, "warn", "at most 400 IPv6 neighbors", "to 912"),
]


@pytest.mark.parametrize(("changed", "level", "text", "remedy"), SETTINGS)
def test_a_setting_that_costs_packets(changed: Mapping[str, str], level: str, text: str, remedy: str) -> None:
    """One bad setting makes exactly one answer bad, which says what and what to do."""
    facts = replace(GOOD, settings={**GOOD.settings, **changed})
    [bad] = [answer for answer in judge_host(facts, WANTED) if answer.level != "ok"]
    assert bad.level == level
    assert text in bad.text
    assert remedy in bad.remedy


@pytest.mark.parametrize(
    ("changed", "level", "text"),
    [
        ({"python": (3, 10)}, "fail", "Python 3.10 is too old"),
        ({"kernel": "5.10.0-28"}, "fail", "Linux 5.10.0-28"),
        ({"kernel": ""}, "fail", "(unknown)"),
        ({"nft": ""}, "fail", "not installed"),
        ({"nft": "0.9.8"}, "warn", "nft 0.9.8"),
        ({"capabilities": 0}, "fail", "lacks CAP_NET_ADMIN and CAP_NET_RAW"),
        ({"capabilities": 1 << 12}, "fail", "lacks CAP_NET_RAW"),
    ],
)
def test_a_host_that_lacks_something(changed: dict[str, Any], level: str, text: str) -> None:
    """What is missing or too old is named."""
    [bad] = [answer for answer in judge_host(replace(GOOD, **changed), WANTED) if answer.level != "ok"]
    assert (bad.level, text in bad.text) == (level, True)


def test_nothing_is_made_of_what_cannot_be_read() -> None:
    """Settings that are not there (another namespace, a module not loaded) are no trouble."""
    facts = replace(GOOD, settings={})
    assert all(answer.level == "ok" for answer in judge_host(facts, replace(WANTED, tunnels=())))


def test_a_tunnel_that_does_not_fit() -> None:
    """A tunnel whose packets are larger than what the underlay carries is named with the MTU that would do."""
    [bad] = judge_tunnels("gw1", replace(GOOD, mtus={"eth0": 1450}), [TUNNEL])
    assert bad.level == "fail"
    assert "to 1400" in bad.remedy


def test_a_port_that_another_program_has() -> None:
    """A program on the tunnel's UDP port takes its packets."""
    found = list(judge_tunnels("gw1", replace(GOOD, udp_ports=frozenset({4789})), [TUNNEL]))
    assert [one.level for one in found] == ["ok", "fail"]
    assert "ss -lunp sport = :4789" in found[1].remedy


def _chain(table: str, name: str, hook: str | None, policy: str = "accept") -> dict[str, Any]:
    chain: dict[str, Any] = {"family": "inet", "table": table, "name": name}
    return {"chain": {**chain, **({"hook": hook, "policy": policy} if hook else {})}}


def _rule(table: str, chain: str, *words: str) -> dict[str, Any]:
    return {"rule": {"family": "inet", "table": table, "chain": chain, "expr": [{word: None} for word in words]}}


@pytest.mark.parametrize(
    ("items", "texts"),
    [
        ([], ["no other packet filter"]),
        ([_chain("isthmus_main", "input", "input"), _rule("isthmus_main", "input", "drop")], ["no other"]),
        ([_chain("fw", "fwd", "forward", "drop")], ["inet fw fwd (hook forward) drops by policy"]),
        ([_chain("fw", "in", "input"), _rule("fw", "in", "match", "drop")], ["has 1 rule that drop or reject"]),
        ([_chain("fw", "in", "input"), _rule("fw", "in", "reject"), _rule("fw", "in", "drop")], ["has 2 rules"]),
        ([_chain("fw", "in", "input"), _rule("fw", "in", "accept")], ["no other"]),
        ([_chain("fw", "out", "output", "drop")], ["no other"]),
        ([_chain("fw", "sub", None), _rule("fw", "sub", "drop")], ["no other"]),
    ],
)
def test_filters_of_others(items: list[dict[str, Any]], texts: list[str]) -> None:
    """A chain of somebody else that may drop what we forward is named; ours, and what cannot matter, is not."""
    found = list(judge_filters({"nftables": [{"metainfo": {}}, *items]}, "isthmus_main"))
    assert len(found) == len(texts)
    assert all(text in one.text for one, text in zip(found, texts, strict=True))
