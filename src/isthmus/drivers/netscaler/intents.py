"""The lines of our ledger: what each says, and which lines a resource needs before it is made.

A line is an intent, written before the object. It marks what bears no name of ours and lies in nothing of ours: VXLANs, the
addresses on them until they are bound, direct routes, VIPs without a virtual server. The line is exact (a route's gateway is
part of it), so that what somebody else puts up in the same place is not taken for ours.

    vxlan 7001 isth7001            our VXLAN 7001 is the tunnel isth7001
    snip 198.18.0.1/24 isth7001    our address on it; routes through 198.18.0.0/24 are ours
    route 10.244.1.0/24 192.0.2.11
    vip 203.0.113.10
    writer 17 1732100000000 Fri-Nov-20-...   whose session writes, since which epoch
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network

from isthmus.model.resources import (
    AnyResource,
    IPAddress,
    IPInterface,
    IPNetwork,
    Route,
    SourceAddress,
    Tunnel,
    VirtualAddress,
)

__all__ = ["Intents", "Writer", "line_of"]


@dataclass(frozen=True, order=True, slots=True)
class Writer:
    """A controller's session that writes, or wrote: its number and start as the device tells them, and its epoch."""

    epoch: int
    sid: str
    since: str

    @property
    def line(self) -> str:
        return f"writer {self.sid} {self.epoch} {self.since}"


@dataclass(slots=True)
class Intents:
    """What lines say, as far as they read; a line that does not is nobody's and is left alone."""

    tunnels: dict[int, str] = field(default_factory=dict)
    sources: dict[IPAddress, tuple[IPInterface, str]] = field(default_factory=dict)
    routes: set[tuple[IPNetwork, IPAddress]] = field(default_factory=set)
    vips: set[IPAddress] = field(default_factory=set)
    writers: list[Writer] = field(default_factory=list)

    def vni(self, name: str) -> int | None:
        """Return the VXLAN of one of our tunnels."""
        return next((vni for vni, of in self.tunnels.items() if of == name), None)

    def link_of(self, gateway: IPAddress) -> str | None:
        """Return the tunnel of ours that ``gateway`` is reached through: one of our addresses on it shares its subnet."""
        for own, link in self.sources.values():
            if own.version == gateway.version and gateway in own.network and link in self.tunnels.values():
                return link
        return None


def read_intents(lines: Iterable[str]) -> Intents:
    """Return what ``lines`` say."""
    found = Intents()
    for line in lines:
        try:
            _read(line, found)
        except ValueError:
            continue
    return found


def _read(line: str, found: Intents) -> None:
    kind, *words = line.split(" ")
    match kind, words:
        case "vxlan", [number, name]:
            found.tunnels[int(number)] = name
        case "snip", [address, link]:
            own = ip_interface(address)
            found.sources[own.ip] = (own, link)
        case "route", [prefix, gateway]:
            found.routes.add((ip_network(prefix), ip_address(gateway)))
        case "vip", [address]:
            found.vips.add(ip_address(address))
        case "writer", [sid, epoch, since]:
            found.writers.append(Writer(int(epoch), sid, since))


def line_of(resource: AnyResource) -> str | None:
    """Return the line that marks ``resource`` as ours, none for what needs none.

    Whether a route or a VIP needs it depends on what it lies in; that is for the caller to know.
    """
    match resource:
        case Tunnel(name=name, vni=vni):
            return f"vxlan {vni} {name}"
        case SourceAddress(address=address, link=link):
            return f"snip {address} {link}"
        case Route(prefix=prefix, via=via):
            return f"route {prefix} {via}"
        case VirtualAddress(address=address):
            return f"vip {address}"
    return None
