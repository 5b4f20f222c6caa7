"""Tunnels and addresses as they stand, and from them what a path needs to know of the device: its links and subnets.

A VXLAN is ours by its line in the ledger; an address on one by its binding, or by its line while it is not bound. An address
of our own network on nothing of ours is nobody's but whoever put it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv6Interface

from isthmus.drivers.netscaler.canon import Unreadable, address_of, interface_of, text_of, whole
from isthmus.drivers.netscaler.intents import Intents
from isthmus.drivers.netscaler.names import Names
from isthmus.drivers.netscaler.nitro import Row
from isthmus.drivers.netscaler.objects import Obj, read
from isthmus.drivers.netscaler.settling import settle
from isthmus.drivers.netscaler.sight import Place, Places, Sight, interface
from isthmus.model.resources import ANYWHERE, IPAddress, IPInterface, IpTunnel, SourceAddress, Tunnel

__all__ = ["Bound", "bound_addresses", "places", "read_ip_tunnels", "read_sources", "read_tunnels", "tunnel_spelled"]

Bound = dict[IPAddress, list[Obj]]
"""The bindings of each address to VXLANs."""

_DEFAULT_LINK = "vlan1"


def objects(kind: str, rows: Sequence[Row]) -> list[tuple[Obj, Row]]:
    """Return the rows that read as objects."""
    found = []
    for row in rows:
        try:
            found.append((read(kind, row), row))
        except Unreadable:
            continue
    return found


def tunnel_spelled(name: str, vni: int, port: int, local: IPAddress, mac: str) -> Tunnel:
    """Return a tunnel as this device has it: its MAC is the device's own, its MTU and interface nobody sets.

    The MTU shown is what a segment of 1,500 bytes leaves.
    """
    return Tunnel(name, vni, port, local, mac, 1450 if local.version == 4 else 1430)


def read_tunnels(
    sight: Sight, intents: Intents, names: Names, vxlans: Sequence[Row], ends: Sequence[Row], mac: str
) -> None:
    """Note every VXLAN."""
    bindings: dict[str, list[Obj]] = {}
    for end, _ in objects("vxlan_srcip_binding", ends):
        bindings.setdefault(end.get("id"), []).append(end)
    standing = {obj.get("id"): obj for obj, _ in objects("vxlan", vxlans)}
    for number, vxlan in standing.items():
        name = intents.tunnels.get(int(number))
        if name is None:
            sentence = f"vxlan {number} port {vxlan.get('port')}"
            for tunnel in (f"isth{number}", f"isthf{number}"):
                sight.add_foreign(f"tunnel {tunnel}", sentence, vxlan, *bindings.get(number, ()))
            for version in (4, 6):
                sight.add_foreign(f"vxlan {number}/{vxlan.get('port')} ipv{version}", sentence)
            continue
        found = (vxlan, *bindings.get(number, ()))
        candidate = None
        if len(found) == 2 and vxlan.get("port").isdecimal():
            local = address_of(found[1].get("srcip"))
            candidate = tunnel_spelled(name, int(number), int(vxlan.get("port")), local, mac)
        settle(sight, names, intents, f"tunnel {name}", Tunnel.rank, candidate, found, "its source address")


def read_ip_tunnels(sight: Sight, intents: Intents, names: Names, rows: Sequence[Row]) -> None:
    """Note every IP tunnel; one that does not bear a name of ours is no resource's identity."""
    for obj, _ in objects("iptunnel", rows):
        name = names.read_ip_tunnel(obj.get("name"))
        if name is None:
            continue
        try:
            candidate = IpTunnel(name, address_of(obj.get("local")), address_of(obj.get("remote")))
        except Unreadable:
            candidate = None
        settle(sight, names, intents, f"tunnel {name}", IpTunnel.rank, candidate, (obj,), "its ends")


def bound_addresses(rows4: Sequence[Row], rows6: Sequence[Row]) -> Bound:
    """Return which address is bound to which VXLAN."""
    found: Bound = {}
    for kind, rows in (("vxlan_nsip_binding", rows4), ("vxlan_nsip6_binding", rows6)):
        for obj, _ in objects(kind, rows):
            found.setdefault(address_of(obj.get("ipaddress")), []).append(obj)
    return found


def own_address(obj: Obj) -> IPInterface:
    """Return the address of a row of ``nsip`` or ``nsip6``; raise ``Unreadable``."""
    if obj.kind == "nsip6":
        return IPv6Interface(obj.get("ipv6address"))
    return interface_of(obj.get("ipaddress"), obj.get("netmask"))


def read_sources(
    sight: Sight, intents: Intents, names: Names, rows: Mapping[str, Sequence[Row]], bound: Bound
) -> None:
    """Note the addresses on our tunnels, and all others that are not VIPs as foreign."""
    for kind in ("nsip", "nsip6"):
        for obj, _ in objects(kind, rows[kind]):
            if obj.get("type") != "VIP":
                _read_source(sight, intents, names, obj, bound)


def _read_source(sight: Sight, intents: Intents, names: Names, obj: Obj, bound: Bound) -> None:
    try:
        own = own_address(obj)
    except Unreadable:
        return
    bindings = bound.get(own.ip, [])
    links = [intents.tunnels[vni] for vni in (int(one.get("id")) for one in bindings) if vni in intents.tunnels]
    if obj.get("type") != "SNIP" or not (links or own.ip in intents.sources) or len(links) < len(bindings):
        for identity in (f"source {own.ip}", f"vip {own.ip}"):
            sight.add_foreign(identity, f"{obj.kind} {own} {obj.get('type')}", obj, *bindings)
        return
    if not bindings and intents.sources.get(own.ip, (own, ""))[1] == ANYWHERE:
        links = [ANYWHERE]  # it serves IP tunnels, which nothing is bound to
    candidate = SourceAddress(own, links[0]) if len(links) == 1 else None
    settle(
        sight,
        names,
        intents,
        f"source {own.ip}",
        SourceAddress.rank,
        candidate,
        (obj, *bindings),
        "its place on a tunnel",
    )


def places(intents: Intents, rows: Mapping[str, Sequence[Row]], bound: Bound, vlans: Sequence[Row]) -> Places:
    """Return the subnets of the device: those of its own addresses, the NSIP's as if it were alone in its network.

    ``vlans`` are the bindings of addresses to VLANs; an address without one is in VLAN 1.
    """
    links: dict[IPAddress, str] = {}
    for row in vlans:
        try:
            links[address_of(text_of(row, "ipaddress"))] = f"vlan{whole(text_of(row, 'id'))}"
        except Unreadable:
            continue
    found: list[Place] = []
    for kind in ("nsip", "nsip6"):
        for obj, _ in objects(kind, rows[kind]):
            if obj.get("type") not in ("NSIP", "SNIP"):
                continue
            try:
                own = own_address(obj)
            except Unreadable:
                continue
            if own.ip.is_link_local:
                continue
            bindings = bound.get(own.ip, [])
            if bindings:
                vni = int(bindings[0].get("id"))
                found.append(Place(own, intents.tunnels.get(vni, f"vxlan{vni}"), vni in intents.tunnels))
            elif own.ip in intents.sources:
                found.append(Place(own, intents.sources[own.ip][1], ours=True))
            else:
                length = own.max_prefixlen if obj.get("type") == "NSIP" else own.network.prefixlen
                found.append(Place(interface(own.ip, length), links.get(own.ip, _DEFAULT_LINK)))
    return Places(found)
