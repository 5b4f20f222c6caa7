"""Bridge entries, neighbors, routes, policy routes and net profiles as they stand.

What lies on a VXLAN of ours is ours, whoever put it there, and so is every route through a subnet of ours on one; but where
somebody has put a smaller subnet into ours, routes through that are theirs. Other routes are ours by their line in the ledger
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv6Network

from isthmus.drivers.netscaler.canon import Unreadable, address_of, network_of, text_of
from isthmus.drivers.netscaler.intents import Intents
from isthmus.drivers.netscaler.names import Names
from isthmus.drivers.netscaler.nitro import Row
from isthmus.drivers.netscaler.objects import Obj
from isthmus.drivers.netscaler.read_places import objects
from isthmus.drivers.netscaler.settling import settle
from isthmus.drivers.netscaler.shapes import APPLIED
from isthmus.drivers.netscaler.sight import Places, Sight
from isthmus.model.resources import (
    FdbEntry,
    IPAddress,
    IPNetwork,
    Neighbor,
    PolicyRoute,
    Route,
    SourceProfile,
    overlap,
)

__all__ = ["read_fdb", "read_neighbors", "read_policy_routes", "read_profiles", "read_routes"]

_MOVING = ("DYNAMIC", "OSPF", "ISIS", "RIP", "BGP", "ND-RA-ROUTE", "FIB6")


def _add(sight: Sight, found: dict[str, Obj], resource: FdbEntry | Neighbor, obj: Obj) -> None:
    """Note what is ours; where two rows claim one identity, it is not whole until one is left."""
    identity = resource.identity
    first = found.get(identity)
    if first is None:
        found[identity] = obj
        sight.add(resource)
        return
    standing = sight.odd.get(identity, (first,))
    sight.add_partial(identity, resource.rank, "one place alone", (*standing, obj))


def read_fdb(sight: Sight, intents: Intents, rows: Sequence[Row]) -> None:
    """Note the entries of our VXLANs' bridge tables, as far as somebody has put them there."""
    found: dict[str, Obj] = {}
    for obj, row in objects("bridgetable", rows):
        link = intents.tunnels.get(int(obj.get("vxlan")))
        if link is None or text_of(row, "type").upper() == "DYNAMIC":
            continue
        _add(sight, found, FdbEntry(link, obj.get("mac"), address_of(obj.get("vtep"))), obj)


def read_neighbors(sight: Sight, intents: Intents, rows: Mapping[str, Sequence[Row]]) -> None:
    """Note static ARP and neighbor entries; those that were learned are nobody's."""
    found: dict[str, Obj] = {}
    for kind in ("arp", "nd6"):
        for obj, row in objects(kind, rows[kind]):
            if text_of(row, "type").upper() == "DYNAMIC":
                continue
            address = address_of(obj.key[0])
            number = obj.get("vxlan")
            link = intents.tunnels.get(int(number)) if number.isdecimal() else None
            try:
                vtep = address_of(obj.get("vtep")) if obj.get("vtep") else None
            except Unreadable:
                vtep = None
            if link is not None:
                _add(sight, found, Neighbor(link, address, obj.get("mac"), vtep), obj)
                continue
            place = f"vxlan{number}" if number else f"vlan{text_of(row, 'vlan') or 1}"
            neighbor = Neighbor(place, address, obj.get("mac"), vtep)
            sight.add_foreign(neighbor.identity, f"{kind} {neighbor.describe().removeprefix('neighbor ')}")


def _prefix(obj: Obj) -> IPNetwork:
    if obj.kind == "route":
        return network_of(obj.get("network"), obj.get("netmask"))
    return IPv6Network(obj.get("network"))


def read_routes(sight: Sight, intents: Intents, places: Places, rows: Mapping[str, Sequence[Row]]) -> None:
    """Note the routes, one at a prefix; several of ours at one are spelled with a link that nobody wishes for."""
    standing: dict[str, list[tuple[Route, Obj]]] = {}
    theirs = _subnets_in_ours(intents, places)
    for kind in ("route", "route6"):
        for obj, row in objects(kind, rows[kind]):
            try:
                prefix, gateway = _prefix(obj), address_of(obj.get("gateway"))
            except (Unreadable, ValueError):
                continue
            of = text_of(row, "routetype").upper()
            link = _link_of(intents, places, gateway)
            contained = intents.link_of(gateway) is not None and not any(gateway in network for network in theirs)
            if of in ("", "STATIC") and (contained or (prefix, gateway) in intents.routes):
                route = Route(prefix, gateway, link)
                standing.setdefault(route.identity, []).append((route, obj))
            else:
                word = of.lower() if of in _MOVING or of == "CONNECTED" else "static"
                sight.add_foreign(f"route {prefix}", f"route {prefix} via {gateway} dev {link or '?'} {word}", obj)
    for found in standing.values():
        route, _ = found[0]
        if len(found) == 1:
            sight.add(route)
        else:
            sight.add(Route(route.prefix, route.via, ""), tuple(obj for _, obj in found))


def _subnets_in_ours(intents: Intents, places: Places) -> list[IPNetwork]:
    """Return the subnets of others that lie within one of ours: there is hardly ever one."""
    ours = [own.network for own, _ in intents.sources.values()]
    return [
        place.own.network
        for place in places.all
        if not place.ours
        and any(
            overlap(place.own.network, network)
            and network.prefixlen < place.own.network.prefixlen < network.max_prefixlen
            for network in ours
        )
    ]


def _link_of(intents: Intents, places: Places, gateway: IPAddress) -> str:
    link = intents.link_of(gateway)
    if link is not None:
        return link
    place = places.of(gateway)
    return place.link if place is not None else ""


def read_policy_routes(
    sight: Sight, intents: Intents, names: Names, places: Places, rows: Mapping[str, Sequence[Row]]
) -> None:
    """Note the policy routes of ours; one that is not in force is not whole."""
    for kind in ("nspbr", "nspbr6"):
        for obj, _ in objects(kind, rows[kind]):
            found = names.read_policy_route(obj.get("name"))
            if found is None:
                continue
            source, prefix = found
            obj = _canonical(obj)
            candidate: PolicyRoute | None = None
            try:
                if hop := obj.get("nexthopval"):
                    via = address_of(hop)
                    candidate = PolicyRoute(source, prefix, _link_of(intents, places, via), via)
                elif kind == "nspbr" and (tunnel := names.read_ip_tunnel(obj.get("iptunnelname"))):
                    candidate = PolicyRoute(source, prefix, tunnel)
            except Unreadable:
                candidate = None
            identity = PolicyRoute(source, prefix, "").identity
            settle(sight, names, intents, identity, PolicyRoute.rank, candidate, (obj,), "its next hop")


def _canonical(obj: Obj) -> Obj:
    """Return a policy route with what devices write in several ways in ours: they answer for what is in force."""
    values = list(obj.values)
    if values[-1].upper() in (APPLIED, "SFAPPLIED"):
        values[-1] = APPLIED
    for place in (0, 1, 2):
        try:
            first, dash, last = values[place].partition("-")
            if first:
                values[place] = str(address_of(first)) + (f"-{address_of(last)}" if dash and last != first else "")
        except Unreadable:
            continue
    return obj._replace(values=tuple(values))


def read_profiles(sight: Sight, intents: Intents, names: Names, rows: Sequence[Row]) -> None:
    """Note the net profiles of ours."""
    for obj, _ in objects("netprofile", rows):
        address = names.read_profile(obj.get("name"))
        if address is None:
            continue
        candidate = SourceProfile(address)
        settle(sight, names, intents, candidate.identity, SourceProfile.rank, candidate, (obj,), "its address")
