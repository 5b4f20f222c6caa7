"""The rules of our nft table, as text; they never change while the gateway works, only the elements of its maps do.

::

    prerouting, output   VIP . proto . port           -> services   -> goto rr_12_0 … sh_420_15 (no members: rr_0)
    rr_N_S, sh_N_S       VIP . proto . port . slot    -> slots_S    -> dnat to pod . port
    postrouting          original VIP . proto . port  -> sources    -> snat, only what we have translated
    input, forward       VIP . proto . port in empty  -> refuse     a service without members says so at once
    input                VIP in vips                  -> refuse     a VIP answers echo and neighbor discovery, no more
    input                UDP port in filtered         -> drop       unless port . sender in allowed
    forward              link in clamped              -> MSS        out: by the route's MTU; both ways: by the map

The slots are spread over 16 maps, because the kernel's dump of a map starts from its beginning for every 32 KiB it gives
out: reading 600,000 elements back from one map takes 16 s, from sixteen 1 s. Each rule carries a digest of its text as
its comment, by which a reader knows that the rules stand as we wrote them. The one confusing thing: ``th dport``, never
``tcp dport``; with the latter nft 1.0.6 adds ``l4proto tcp`` without a word and UDP never matches.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from isthmus.drivers.linux.slots import CLASSES, HASH_CLASSES

__all__ = ["SETS", "SHARDS", "VERDICT", "ElementSet", "chain_of", "chains", "expected_rules", "maps_text", "text"]

SHARDS = range(16)
HASH_SEED = 0x15713A5
"""Fixed, so that a client keeps its pod across restarts and gateways."""


class ElementSet(NamedTuple):
    """One map or set: its declaration, and how long its keys and data are in bytes (data 0 for a set)."""

    name: str
    declaration: str
    key: int
    data: int


VERDICT = -1
"""The data length of a verdict map, whose values name chains."""

# Numbers, not names (RFC 5237): nft looks names up in /etc/protocols, which a small installation lacks (package netbase).
_ICMP, _TCP, _UDP, _ICMP6, _SCTP = 1, 6, 17, 58, 132
_SERVICE4 = "ip daddr . meta l4proto . th dport"
_SERVICE6 = "ip6 daddr . meta l4proto . th dport"
_SLOT = "numgen inc mod 420"

SETS: dict[str, ElementSet] = {
    entry.name: entry
    for entry in (
        ElementSet("services4", f"typeof {_SERVICE4} : verdict", 12, VERDICT),
        ElementSet("services6", f"typeof {_SERVICE6} : verdict", 24, VERDICT),
        *(ElementSet(f"slots4_{n}", f"typeof {_SERVICE4} . {_SLOT} : ip daddr . th dport", 16, 8) for n in SHARDS),
        *(ElementSet(f"slots6_{n}", f"typeof {_SERVICE6} . {_SLOT} : ip6 daddr . th dport", 28, 20) for n in SHARDS),
        ElementSet("sources4", "type ipv4_addr . inet_proto . inet_service : ipv4_addr", 12, 4),
        ElementSet("sources6", "type ipv6_addr . inet_proto . inet_service : ipv6_addr", 24, 16),
        ElementSet("weights4", f"typeof {_SERVICE4} . ip saddr . th sport : meta mark", 20, 4),
        ElementSet("weights6", f"typeof {_SERVICE6} . ip6 saddr . th sport : meta mark", 44, 4),
        ElementSet("silent4", f"typeof {_SERVICE4} . ip saddr . th sport", 20, 0),
        ElementSet("silent6", f"typeof {_SERVICE6} . ip6 saddr . th sport", 44, 0),
        ElementSet("empty4", f"typeof {_SERVICE4}", 12, 0),
        ElementSet("empty6", f"typeof {_SERVICE6}", 24, 0),
        ElementSet("vips4", "type ipv4_addr", 4, 0),
        ElementSet("vips6", "type ipv6_addr", 16, 0),
        ElementSet("clamped", "type ifname", 16, 0),
        ElementSet("mss4", "typeof meta iifname : tcp option maxseg size", 16, 2),
        ElementSet("mss6", "typeof meta iifname : tcp option maxseg size", 16, 2),
        ElementSet("filtered", "type inet_service", 2, 0),
        ElementSet("allowed4", "typeof udp dport . ip saddr", 8, 0),
        ElementSet("allowed6", "typeof udp dport . ip6 saddr", 20, 0),
    )
}


def chain_of(algorithm: str, size: int, shard: int = 0) -> str:
    """Return the chain that serves ``size`` slots by ``algorithm``; the one of 0 slots translates nothing."""
    return f"{'rr' if algorithm == 'round-robin' else 'sh'}_{size}" + (f"_{shard}" if size else "")


def _serving(chain: str, shard: int, pick4: str, pick6: str) -> tuple[str, str | None, list[str]]:
    return (
        chain,
        None,
        [
            f"meta nfproto ipv4 dnat ip to {_SERVICE4} . {pick4} map @slots4_{shard}",
            f"meta nfproto ipv6 dnat ip6 to {_SERVICE6} . {pick6} map @slots6_{shard}",
        ],
    )


def _chains() -> list[tuple[str, str | None, list[str]]]:
    """Return name, hook and rules of each chain, those that others jump to first."""
    chains = [
        _serving(chain_of("round-robin", n, shard), shard, f"numgen inc mod {n}", f"numgen inc mod {n}")
        for n in CLASSES
        for shard in SHARDS
    ]
    chains += [
        _serving(
            chain_of("source-hash", n, shard),
            shard,
            f"jhash ip saddr mod {n} seed {HASH_SEED:#x}",
            f"jhash ip6 saddr mod {n} seed {HASH_SEED:#x}",
        )
        for n in HASH_CLASSES
        for shard in SHARDS
    ]
    services = [f"{_SERVICE4} vmap @services4", f"{_SERVICE6} vmap @services6"]
    # nft 1.0.6 knows the type of `ct original proto-dst` only behind a protocol, hence a rule for each.
    sources = [
        f"ct status dnat meta l4proto {protocol} snat {family} to "
        f"ct original {family} daddr . meta l4proto . ct original proto-dst map @sources{version}"
        for protocol in (_TCP, _UDP, _SCTP)
        for family, version in (("ip", 4), ("ip6", 6))
    ]
    empty = [f"{_SERVICE4} @empty4 goto refuse", f"{_SERVICE6} @empty6 goto refuse"]
    started = "ct state & (established | related) == 0"
    syn = "tcp flags & (syn | rst) == syn"
    clamps = [f"{syn} oifname @clamped tcp option maxseg size set rt mtu"]
    clamps += [
        f"{syn} meta nfproto ipv{version} tcp option maxseg size set {link} map @mss{version}"
        for version in (4, 6)
        for link in ("oifname", "iifname")
    ]
    return [
        *((chain_of(algorithm, 0), None, []) for algorithm in ("round-robin", "source-hash")),
        ("refuse", None, [f"meta l4proto {_TCP} reject with tcp reset", "reject with icmpx port-unreachable"]),
        *chains,
        ("prerouting", "type nat hook prerouting priority dstnat; policy accept;", services),
        ("output", "type nat hook output priority -100; policy accept;", services),
        ("postrouting", "type nat hook postrouting priority srcnat; policy accept;", sources),
        (
            "input",
            "type filter hook input priority filter; policy accept;",
            [
                "meta nfproto ipv4 udp dport @filtered udp dport . ip saddr != @allowed4 drop",
                "meta nfproto ipv6 udp dport @filtered udp dport . ip6 saddr != @allowed6 drop",
                *empty,
                # A packet out of its window is not worth a reset to a client that is served well.
                "ip daddr @vips4 ct state invalid drop",
                "ip6 daddr @vips6 ct state invalid drop",
                f"ip daddr @vips4 meta l4proto != {_ICMP} {started} goto refuse",
                f"ip6 daddr @vips6 meta l4proto != {_ICMP6} {started} goto refuse",
            ],
        ),
        ("forward", "type filter hook forward priority mangle; policy accept;", [*clamps, *empty]),
    ]


def chains() -> list[str]:
    """Return the names of our chains."""
    return [name for name, _, _ in _chains()]


def _digest(chain: str, number: int, rule: str) -> str:
    return hashlib.sha256(f"{chain} {number} {rule}".encode()).hexdigest()[:12]


def expected_rules() -> list[tuple[str, str]]:
    """Return (chain, comment) of each rule, in order within its chain."""
    return [(chain, _digest(chain, n, rule)) for chain, _, rules in _chains() for n, rule in enumerate(rules)]


def maps_text(table: str) -> str:
    """Return what adds the maps and chains that are missing in a table; those that stand stay as they are."""
    return "".join(f"{line}\n" for line in _frame(table))


def text(table: str, comment: str, *, dormant: bool = False) -> str:
    """Return what makes the whole table; ``dormant`` keeps its hooks out of the packets' way."""
    flags = " flags dormant ;" if dormant else ""
    lines = [f'add table inet {table} {{ comment "{comment}" ;{flags} }}', *_frame(table)]
    for chain, _, rules in _chains():
        for number, rule in enumerate(rules):
            lines.append(f'add rule inet {table} {chain} {rule} comment "{_digest(chain, number, rule)}"')
    return "".join(f"{line}\n" for line in lines)


def _frame(table: str) -> list[str]:
    lines = []
    for entry in SETS.values():
        word = "set" if entry.data == 0 else "map"
        lines.append(f"add {word} inet {table} {entry.name} {{ {entry.declaration} ; }}")
    for name, hook, _ in _chains():
        lines.append(f"add chain inet {table} {name}" + (f" {{ {hook} }}" if hook else ""))
    return lines
