"""Telling the other ends of our tunnels that an address of ours is here now, and by which MAC.

A device that finds nodes by flooding keeps a MAC that it has learned for minutes, so a node that is set up anew with another
one would be a black hole as long. Our tunnels flood nowhere by themselves: each known neighbor is told alone. The confusing
thing: a gateway's tunnel has a neighbor per node, which have static entries and need no telling, so crowds are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.drivers.base import Outcome
from isthmus.drivers.linux.announce import BROADCAST, Announcer
from isthmus.drivers.linux.expected import Expected
from isthmus.drivers.linux.kernel import Links
from isthmus.drivers.linux.rtnetlink import mac_bytes
from isthmus.model.resources import ZERO_MAC, FdbEntry, Neighbor, SourceAddress, Tunnel

__all__ = ["greet", "greetable"]

_CROWD = 100
"""A link joins at most so many devices; more neighbors than that are nodes."""


def greetable(outcomes: Iterable[Outcome]) -> set[str]:
    """Return the links of ours whose end, or an address on it, is new."""
    links: set[str] = set()
    for one in outcomes:
        if one.result == "done":
            match one.change.after:
                case Tunnel(name=name) | SourceAddress(link=name):
                    links.add(name)
    return links


def greet(announcer: Announcer, names: Iterable[str], links: Links, expected: Expected) -> None:
    """Announce our addresses on each of these links to everybody who is known there; returns at once."""
    for name in names:
        link = links.by_name.get(name)
        if link is None:
            continue
        standing = [one for one in expected.resources.values() if _on(one, name)]
        addresses = [one.address.ip for one in standing if isinstance(one, SourceAddress)]
        known = {one.mac for one in standing if isinstance(one, Neighbor)}
        if any(isinstance(one, FdbEntry) and one.mac == ZERO_MAC for one in standing):
            known = {*known, BROADCAST}
        if addresses and 0 < len(known) <= _CROWD:
            announcer.announce(addresses, link, [mac_bytes(mac) for mac in sorted(known)])


def _on(resource: object, name: str) -> bool:
    match resource:
        case SourceAddress(link=link) | Neighbor(link=link) | FdbEntry(tunnel=link):
            return link == name
    return False
