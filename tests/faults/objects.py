"""What stands on a NetScaler, read without the driver: rows of its configuration, spelled once, beside what should be there.

Both sides become the same few *objects*: a kind, what names it, and what of it matters. A virtual server is one object, made
of the appliance's four: how it is called there, and how many rows it takes, is the driver's business and not the judge's.
Whatever stands there besides, and that nobody else has made, is an object, too, so that what is left over shows.

The one confusing thing: a ledger is how the driver knows its own, so its lines are not objects; they are only counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from isthmus.lab.nitro.kinds import Row
from isthmus.lab.nitro.running import Running
from isthmus.model.resources import (
    AnyResource,
    FdbEntry,
    IpTunnel,
    Neighbor,
    PolicyRoute,
    Route,
    SourceAddress,
    SourceProfile,
    Tunnel,
    VirtualAddress,
    VirtualServer,
)

Key = tuple[str, ...]
Objects = dict[Key, tuple[str, ...]]
PREFIX = "isth_main_"
_MEMBERS = "servicegroup_servicegroupmember_binding"
_BOUND = "lbvserver_servicegroup_binding"
_METHODS = {"round-robin": "ROUNDROBIN", "source-hash": "SOURCEIPHASH"}
_SERVED = ("lbvserver", "servicegroup", _MEMBERS, _BOUND)
_BESIDES = ("policypatset", "policypatset_pattern_binding", "server")


def wanted(resources: Mapping[str, AnyResource]) -> Objects:
    """Return the objects that ``resources`` are on a NetScaler."""
    vnis = {one.name: str(one.vni) for one in resources.values() if isinstance(one, Tunnel)}
    found: Objects = {}
    for one in resources.values():
        found |= _wanted(one, vnis)
    return found


def _wanted(one: AnyResource, vnis: Mapping[str, str]) -> Objects:
    match one:
        case Tunnel():
            return {
                ("vxlan", str(one.vni)): (str(one.port),),
                ("vxlan_srcip_binding", str(one.vni), str(one.local)): (),
            }
        case IpTunnel():
            return {("iptunnel", str(one.local), str(one.remote)): ("IPIP",)}
        case SourceAddress():
            own = one.address
            return {
                ("nsip", str(own.ip)): ("SNIP", str(own.netmask)),
                ("vxlan_nsip_binding", vnis.get(one.link, "?"), str(own.ip)): (),
            }
        case FdbEntry():
            return {("bridgetable", one.mac, vnis.get(one.tunnel, "?"), str(one.destination)): ()}
        case Neighbor():
            return {("arp", str(one.address)): (one.mac, vnis.get(one.link, "?"), str(one.vtep))}
        case Route():
            return {("route", str(one.prefix), str(one.via)): ()}
        case PolicyRoute():
            return {("nspbr", str(one.source), str(one.prefix)): (str(one.via or one.link), "APPLIED")}
        case SourceProfile():
            return {("netprofile", str(one.address)): ()}
        case VirtualServer():
            members = sorted(f"{m.address}:{m.port} {'ENABLED' if m.weight else 'DISABLED'}" for m in one.members)
            server = ("server", str(one.address), str(one.port), one.protocol.upper())
            return {server: (_METHODS[one.algorithm], str(one.source or ""), *members)}
        case VirtualAddress():
            return {("nsip", str(one.address)): ("VIP", "255.255.255.255")}
    return {("nothing that a NetScaler has", one.identity): ()}


def pieces(objects: Objects) -> set[Key]:
    """Return what can go by itself: each object, and each member of a virtual server."""
    found = set(objects)
    for key, told in objects.items():
        if key[0] == "server":
            found |= {("member", *key[1:], one.partition(" ")[0]) for one in told[2:] if ":" in one}
    return found


def standing(running: Running, others: Iterable[tuple[str, Key]] = ()) -> Objects:
    """Return the objects that ``running`` holds, less the rows of ``others`` (kind and identity) and the device's own."""
    theirs = set(others)
    found: Objects = {}
    for kind, table in running.tables.items():
        for key, row in table.items():
            if (kind, key) in theirs or kind in _SERVED or kind in _BESIDES or row.get("type") == "NSIP":
                continue
            found |= _standing(kind, row, running)
    return found | _served(running, theirs)


def _standing(kind: str, row: Row, running: Running) -> Objects:
    match kind:
        case "vxlan":
            return {("vxlan", str(row["id"])): (str(row["port"]),)}
        case "vxlan_srcip_binding":
            return {(kind, str(row["id"]), str(row["srcip"])): ()}
        case "vxlan_nsip_binding":
            return {(kind, str(row["id"]), str(row["ipaddress"])): ()}
        case "iptunnel":
            return {(kind, str(row["local"]), str(row["remote"])): (str(row["protocol"]),)}
        case "nsip":
            off = ["DISABLED"] if row.get("state") != "ENABLED" else []
            off += ["asked for by nobody"] if row.get("arp") == "DISABLED" else []
            return {(kind, str(row["ipaddress"])): (str(row["type"]), str(row["netmask"]), *off)}
        case "bridgetable":
            return {(kind, str(row["mac"]), str(row["vxlan"]), str(row["vtep"])): ()}
        case "arp":
            return {(kind, str(row["ipaddress"])): (str(row["mac"]), str(row.get("vxlan")), str(row.get("vtep")))}
        case "route":
            return {(kind, str(ip_network(f"{row['network']}/{row['netmask']}")), str(row["gateway"])): ()}
        case "nspbr":
            applied = running.applied.get(kind, {}).get((row["name"],)) == row
            way = str(row.get("nexthopval") or row.get("iptunnelname"))
            key = (kind, str(row.get("srcipval")), _prefix(str(row.get("destipval"))))
            return {key: (way, "APPLIED" if applied else "NOTAPPLIED")}
        case "netprofile":
            return {(kind, str(row.get("srcip"))): ()}
    return {(kind, *(str(row[name]) for name in sorted(row)[:4])): ()}


def _prefix(text: str) -> str:
    """Return a range of addresses as the prefix that it is."""
    first, dash, last = text.partition("-")
    low, high = int(ip_address(first)), int(ip_address(last if dash else first))
    return str(ip_network((low, 32 - (low ^ high).bit_length())))


def _served(running: Running, theirs: set[tuple[str, Key]]) -> Objects:
    found: Objects = {}
    groups = {
        key[0]: row for key, row in running.table("servicegroup").items() if ("servicegroup", key) not in theirs
    }
    bound: dict[Any, list[Any]] = {}
    for row in running.table(_BOUND).values():
        bound.setdefault(row["name"], []).append(row["servicegroupname"])
    used = set()
    for key, row in running.table("lbvserver").items():
        if ("lbvserver", key) in theirs:
            continue
        behind = [name for name in bound.get(row["name"], []) if name in groups]
        used.update(behind)
        members = [text for name in behind for text in _members(running, name)]
        profile = next((groups[name]["netprofile"] for name in behind if groups[name].get("netprofile")), None)
        profile = profile or row.get("netprofile")
        named = running.row("netprofile", profile) if profile else None
        source = str(named.get("srcip")) if named is not None else ""
        told = [str(row.get("lbmethod")), source, *sorted(members)]
        if len(behind) != 1:
            told.append(f"{len(behind)} groups")
        if row.get("state") == "DISABLED":
            told.append("DISABLED")
        found["server", str(row["ipv46"]), str(row["port"]), str(row["servicetype"])] = tuple(told)
    for name in groups.keys() - used:
        found["a service group that nobody uses", str(name)] = tuple(_members(running, name))
    return found


def _members(running: Running, group: Any) -> list[str]:
    return [
        f"{row['ip']}:{row['port']} {row.get('state', 'ENABLED')}"
        for row in running.find(_MEMBERS, servicegroupname=group)
    ]


def lines(running: Running) -> list[str]:
    """Return the lines of the ledger."""
    table = running.table("policypatset_pattern_binding").values()
    return sorted(str(row["string"]) for row in table if str(row["name"]).startswith(f"{PREFIX}ledger"))
