"""What the host holds, told apart: ours as resources, others' as sentences, interfaces as facts.

Everything is read from the kernel at that moment (the nft table from memory where that is known to be true). A thing is
ours by its mark; on a tunnel of ours everything is, by containment. The one confusing thing: an identity holds one
thing, the kernel may hold several (two routes to one prefix, one address on two links); then what we tell is spelled
with an empty link, which nobody desires, and the next update leaves one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from ipaddress import ip_address

import msgspec

from isthmus.drivers.base import Observation
from isthmus.drivers.linux.kernel import Kernel, Links
from isthmus.drivers.linux.links import AddressRow
from isthmus.drivers.linux.nft import Table
from isthmus.drivers.linux.rtnetlink import PERMANENT
from isthmus.drivers.linux.rules import read_rules, resource_of
from isthmus.drivers.linux.sentences import (
    fdb_of,
    foreign_address,
    foreign_link,
    foreign_neighbor,
    foreign_route,
    neighbor_of,
    prefix_of,
    route_of,
    tunnel_of,
)
from isthmus.drivers.linux.services import Held
from isthmus.drivers.linux.tables import NeighborRow, RouteRow
from isthmus.model.facts import DeviceFacts, Interface
from isthmus.model.resources import (
    AnyResource,
    IPAddress,
    IPInterface,
    SourceAddress,
    VirtualAddress,
)

__all__ = ["observe"]

_NFT_KINDS = frozenset({"virtual-server", "mss-clamp", "port-filter", "vip"})


class _Findings:
    """Resources and sentences, as far as they were asked for."""

    def __init__(self, identities: frozenset[str] | None) -> None:
        self.identities = identities
        self.kinds = None if identities is None else {identity.partition(" ")[0] for identity in identities}
        self.resources: dict[str, AnyResource] = {}
        self.foreign: dict[str, str] = {}

    def asks(self, *kinds: str) -> bool:
        """Say whether anything of these kinds was asked for."""
        return self.kinds is None or not self.kinds.isdisjoint(kinds)

    def add(self, resource: AnyResource, **several: object) -> None:
        """Note what is ours; ``several`` are the fields that spell it where something else of ours holds the identity."""
        identity = resource.identity
        if self.identities is not None and identity not in self.identities:
            return
        if several and identity in self.resources:
            resource = msgspec.structs.replace(resource, **several)
        self.resources[identity] = resource

    def add_foreign(self, identity: str, sentence: str) -> None:
        """Note what is not ours."""
        if self.identities is None or identity in self.identities:
            self.foreign.setdefault(identity, sentence)

    def observation(self, facts: DeviceFacts) -> Observation:
        foreign = {identity: text for identity, text in self.foreign.items() if identity not in self.resources}
        return Observation(self.resources, foreign, facts, self.identities)


async def observe(kernel: Kernel, table: Table, identities: Collection[str] | None) -> Observation:
    """Return what the host holds: everything, or what stands at ``identities`` alone."""
    findings = _Findings(None if identities is None else frozenset(identities))
    links = await kernel.links()
    addresses = await kernel.addresses(None if identities is None else _places_in(identities))
    held = await table.held() if findings.asks(*_NFT_KINDS) else {}
    _read_tunnels(findings, links)
    _read_addresses(findings, links, addresses, kernel.owner.protocol, held)
    _read_table(findings, held)
    if findings.asks("route"):
        _read_routes(findings, links, await kernel.routes(), kernel.owner.protocol)
    if findings.asks("neighbor"):
        _read_neighbors(findings, links, await kernel.neighbors(), kernel.owner.protocol)
    if findings.asks("direct-return"):
        for rule in await read_rules(kernel):
            findings.add(resource_of(rule))
    if findings.asks("fdb"):
        for name in sorted(links.ours):
            _read_fdb(findings, links, await kernel.fdb(links.index(name)))
    return findings.observation(_facts(links, addresses, kernel.owner.protocol))


def _places_in(identities: Collection[str]) -> list[IPAddress]:
    """Return the addresses that ``identities`` name."""
    texts = [what for kind, _, what in (one.partition(" ") for one in identities) if kind in ("vip", "source")]
    return [ip_address(text) for text in texts]


def _read_tunnels(findings: _Findings, links: Links) -> None:
    for row in links.rows:
        if row.name in links.ours:
            findings.add(tunnel_of(row, links))
            continue
        findings.add_foreign(f"tunnel {row.name}", foreign_link(row))
        if row.vxlan is not None:
            for version in row.vxlan.versions:
                findings.add_foreign(f"vxlan {row.vxlan.vni}/{row.vxlan.port} ipv{version}", foreign_link(row))


def _read_addresses(
    findings: _Findings, links: Links, rows: Sequence[AddressRow], protocol: int, held: Mapping[str, Held]
) -> None:
    for row in rows:
        link = links.name(row.link)
        if row.protocol != protocol:
            sentence = foreign_address(row, links)
            findings.add_foreign(f"vip {row.address}", sentence)
            findings.add_foreign(f"source {row.address}", sentence)
        elif link in links.ours or row.length != row.address.max_prefixlen:
            source = SourceAddress(row.interface, link)
            findings.add(source, link="")
        else:
            # Without its place in the table a VIP would answer on every port: then it is not yet one.
            vip = VirtualAddress(row.address, link if f"vip {row.address}" in held else "", row.lapses)
            findings.add(vip, link="")


def _read_table(findings: _Findings, held: Mapping[str, Held]) -> None:
    wanted = held if findings.identities is None else findings.identities & held.keys()
    for identity in wanted:
        resource = held[identity].resource
        if not isinstance(resource, VirtualAddress):
            findings.add(resource)
        elif identity not in findings.resources:
            findings.add(VirtualAddress(resource.address, ""))  # in the table, but the address itself is gone


def _read_routes(findings: _Findings, links: Links, rows: Sequence[RouteRow], protocol: int) -> None:
    for row in rows:
        if row.protocol == protocol:
            route = route_of(row, links)
            findings.add(route, link="")
        else:
            findings.add_foreign(f"route {prefix_of(row)}", foreign_route(row, links))


def _read_neighbors(findings: _Findings, links: Links, rows: Sequence[NeighborRow], protocol: int) -> None:
    for row in rows:
        if not row.state & PERMANENT or not row.destination or len(row.mac) != 6:
            continue
        neighbor = neighbor_of(row, links)
        if row.protocol == protocol or neighbor.link in links.ours:
            findings.add(neighbor)
        else:
            findings.add_foreign(neighbor.identity, foreign_neighbor(row, links))


def _read_fdb(findings: _Findings, links: Links, rows: Sequence[NeighborRow]) -> None:
    for row in rows:
        findings.add(fdb_of(row, links))


def _facts(links: Links, rows: Sequence[AddressRow], protocol: int) -> DeviceFacts:
    """Return what the host is by itself: the VIPs that we have put up are none of it, and may be ten thousand."""
    addresses: dict[int, list[IPInterface]] = {}
    for row in rows:
        if (
            row.protocol == protocol
            and row.length == row.address.max_prefixlen
            and links.name(row.link) not in links.ours
        ):
            continue
        addresses.setdefault(row.link, []).append(row.interface)
    return DeviceFacts(
        tuple(
            Interface(
                row.name,
                row.mac,
                row.mtu,
                tuple(addresses.get(row.ifindex, ())),
                row.running,
                row.name in links.ours,
            )
            for row in sorted(links.rows, key=lambda row: row.ifindex)
        )
    )
