"""Judges the host this runs on: versions, rights, sysctls, tables, foreign packet filters. Pure; ``host_facts`` reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus.app.doctor.answers import Answer, fail, ok, warn
from isthmus.model.resources import Tunnel

__all__ = ["HostFacts", "judge_filters", "judge_host", "judge_tunnels"]

_SUBJECT = "this host"
_NET_ADMIN, _NET_RAW = 12, 13
_KERNEL, _NFT, _PYTHON = (5, 18), (1, 0, 2), (3, 11)
_OVERHEAD = {4: 50, 6: 70}


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the host says of itself. ``settings`` are sysctls under net/ that could be read, by their path."""

    python: tuple[int, int] = _PYTHON
    kernel: str = ""
    nft: str = ""
    capabilities: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    mtus: Mapping[str, int] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    udp_ports: frozenset[int] = frozenset()
    """UDP ports that programs (not the kernel's own tunnels) listen on."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration wants of the host."""

    neighbors: int = 0
    vip_links: frozenset[str] = frozenset()
    tunnels: tuple[Tunnel, ...] = ()
    versions: frozenset[int] = frozenset({4})


def judge_host(facts: HostFacts, wanted: Wanted) -> Iterator[Answer]:
    """Yield what is to be said of versions, rights and sysctls."""
    yield from _versions(facts)
    yield from _rights(facts)
    yield from _forwarding(facts, wanted)
    yield from _reverse_path(facts, wanted)
    yield from _arp(facts, wanted)
    yield from _conntrack(facts)
    yield from _neighbors(facts, wanted)


def _numbers(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: ``6.1.0-18-amd64`` is 6, 1, 0."""
    found: list[int] = []
    for part in text.lstrip("v").replace("-", ".").split("."):
        if not part.isdecimal():
            break
        found.append(int(part))
    return tuple(found)


def _versions(facts: HostFacts) -> Iterator[Answer]:
    text = ".".join(map(str, facts.python))
    if facts.python < _PYTHON:
        yield fail(_SUBJECT, f"Python {text} is too old", "Isthmus needs 3.11 or newer")
    else:
        yield ok(_SUBJECT, f"Python {text}")
    if _numbers(facts.kernel)[:2] < _KERNEL:
        yield fail(
            _SUBJECT,
            f"Linux {facts.kernel or '(unknown)'} does not keep the mark of an address",
            "a gateway needs Linux 5.18 or newer",
        )
    else:
        yield ok(_SUBJECT, f"Linux {facts.kernel}")
    if not facts.nft:
        yield fail(_SUBJECT, "nft is not installed", "install the package nftables")
    elif _numbers(facts.nft) < _NFT:
        yield warn(_SUBJECT, f"nft {facts.nft} is older than any that was tried", "1.0.2 or newer is known to work")
    else:
        yield ok(_SUBJECT, f"nft {facts.nft}")


def _rights(facts: HostFacts) -> Iterator[Answer]:
    missing = [
        name
        for name, bit in (("CAP_NET_ADMIN", _NET_ADMIN), ("CAP_NET_RAW", _NET_RAW))
        if not facts.capabilities >> bit & 1
    ]
    if missing:
        yield fail(
            _SUBJECT,
            f"this process lacks {' and '.join(missing)}, so what it says of the gateway is not the whole truth",
            "run it as root, as the controller is",
        )
    else:
        yield ok(_SUBJECT, "may change the network (CAP_NET_ADMIN, CAP_NET_RAW)")


def _forwarding(facts: HostFacts, wanted: Wanted) -> Iterator[Answer]:
    for version, name in ((4, "ipv4/ip_forward"), (6, "ipv6/conf/all/forwarding")):
        value = facts.settings.get(name)
        if version not in wanted.versions or value is None:
            continue
        if value == "1":
            yield ok(_SUBJECT, f"forwards IPv{version}")
        else:
            yield fail(
                _SUBJECT,
                f"does not forward IPv{version} (net.{name.replace('/', '.')} = {value})",
                "the controller switches it on when it starts; if something switches it off, look in /etc/sysctl.d",
            )
    if 6 in wanted.versions and facts.settings.get("ipv6/conf/all/disable_ipv6") == "1":
        yield fail(_SUBJECT, "IPv6 is switched off, and a link wants it", "set net.ipv6.conf.all.disable_ipv6=0")


def _strictest(facts: HostFacts, key: str, link: str) -> int:
    """Return the larger of ``all`` and the link's own, as the kernel takes them for rp_filter and arp_ignore."""
    values = [facts.settings.get(f"ipv4/conf/{name}/{key}", "0") for name in ("all", link)]
    return max(int(value) if value.lstrip("-").isdecimal() else 0 for value in values)


def _reverse_path(facts: HostFacts, wanted: Wanted) -> Iterator[Answer]:
    strict = [tunnel.name for tunnel in wanted.tunnels if _strictest(facts, "rp_filter", tunnel.name) == 1]
    if strict:
        yield fail(
            _SUBJECT,
            f"drops answers that come by {', '.join(strict)} (rp_filter is strict there)",
            "set net.ipv4.conf.NAME.rp_filter=2; the controller does so for tunnels it makes, so something undoes it",
        )
    elif wanted.tunnels:
        yield ok(_SUBJECT, "takes answers on our tunnels, whichever way they were asked for (rp_filter)")


def _arp(facts: HostFacts, wanted: Wanted) -> Iterator[Answer]:
    deaf = [
        f"{link} (arp_ignore = {value})"
        for link in sorted(wanted.vip_links - {"lo"})
        if (value := _strictest(facts, "arp_ignore", link)) in (2, 8)
    ]
    if deaf:
        yield fail(
            _SUBJECT,
            f"does not answer ARP for VIPs on {', '.join(deaf)}",
            "set net.ipv4.conf.all.arp_ignore and that of the interface to 0 or 1",
        )
    elif wanted.vip_links - {"lo"}:
        yield ok(_SUBJECT, "answers ARP for VIPs")


def _conntrack(facts: HostFacts) -> Iterator[Answer]:
    used, most = (facts.settings.get(f"netfilter/nf_conntrack_{key}", "") for key in ("count", "max"))
    if not (used.isdecimal() and most.isdecimal() and int(most)):
        return
    share = int(used) / int(most)
    text = f"tracks {used} of at most {most} connections"
    remedy = "raise net.netfilter.nf_conntrack_max (and hash size with it); a full table drops new connections"
    if share >= 0.95:
        yield fail(_SUBJECT, text, remedy)
    elif share >= 0.75:
        yield warn(_SUBJECT, text, remedy)
    else:
        yield ok(_SUBJECT, text)


def _neighbors(facts: HostFacts, wanted: Wanted) -> Iterator[Answer]:
    for version in sorted(wanted.versions):
        key = f"ipv{version}/neigh/default/gc_thresh3"
        most = facts.settings.get(key, "")
        if not most.isdecimal():
            continue
        text = (
            f"keeps at most {most} IPv{version} neighbors, for {wanted.neighbors} nodes and the clients beside them"
        )
        if int(most) < wanted.neighbors + 128:
            yield fail(
                _SUBJECT, text, f"raise net.{key.replace('/', '.')} to at least {4 * (wanted.neighbors + 128)}"
            )
        elif int(most) < 2 * (wanted.neighbors + 128):
            yield warn(_SUBJECT, text, f"raise net.{key.replace('/', '.')} to {4 * (wanted.neighbors + 128)}")
        else:
            yield ok(_SUBJECT, text)


def judge_tunnels(device: str, facts: HostFacts, tunnels: Sequence[Tunnel]) -> Iterator[Answer]:
    """Yield what is to be said of the tunnels' MTU and UDP ports."""
    subject = f"device {device}"
    for tunnel in tunnels:
        underlay = tunnel.underlay or facts.addresses.get(str(tunnel.local))
        mtu, room = facts.mtus.get(underlay or ""), tunnel.mtu + _OVERHEAD[tunnel.local.version]
        if mtu is None:
            yield warn(subject, f"{tunnel.name}: no interface has {tunnel.local}, so its MTU cannot be judged")
        elif mtu < room:
            yield fail(
                subject,
                f"{tunnel.name} has MTU {tunnel.mtu}, its packets need {room} bytes, and {underlay} carries {mtu}",
                f"lower spec.overlay.mtu to {mtu - _OVERHEAD[tunnel.local.version]}, or raise the MTU of {underlay}",
            )
        else:
            yield ok(subject, f"{tunnel.name}: MTU {tunnel.mtu} fits into the {mtu} of {underlay}")
        if tunnel.port in facts.udp_ports:
            yield fail(
                subject,
                f"another program listens on UDP port {tunnel.port} of {tunnel.name}",
                f"`ss -lunp sport = :{tunnel.port}` names it; stop it, or give the link another spec.overlay.port",
            )


_DROPPING = ("input", "forward", "prerouting", "postrouting")


def judge_filters(ruleset: Mapping[str, Any], ours: str) -> Iterator[Answer]:
    """Yield a warning for every chain of others (``nft -j list ruleset``) that may drop what we forward."""
    chains: dict[tuple[str, str, str], str] = {}
    drops: dict[tuple[str, str, str], int] = {}
    for item in ruleset.get("nftables", ()):
        chain, rule = item.get("chain"), item.get("rule")
        if chain is not None and chain.get("hook") in _DROPPING and chain.get("table") != ours:
            key = (chain["family"], chain["table"], chain["name"])
            chains[key] = chain["hook"]
            if chain.get("policy") == "drop":
                drops[key] = -1
        elif rule is not None and any("drop" in part or "reject" in part for part in rule.get("expr", ())):
            key = (rule["family"], rule["table"], rule["chain"])
            if drops.get(key) != -1:
                drops[key] = drops.get(key, 0) + 1
    found = [(key, chains[key], number) for key, number in sorted(drops.items()) if key in chains]
    for (family, table, name), hook, number in found:
        why = (
            "drops by policy"
            if number == -1
            else f"has {number} rule{'' if number == 1 else 's'} that drop or reject"
        )
        yield warn(
            _SUBJECT,
            f"nft chain {family} {table} {name} (hook {hook}) {why}: packets to VIPs or pods may be among them",
            f"`nft list chain {family} {table} {name}`; let what goes to pods and VIPs pass there",
        )
    if not found:
        yield ok(_SUBJECT, "no other packet filter (nft) can drop what we forward")
