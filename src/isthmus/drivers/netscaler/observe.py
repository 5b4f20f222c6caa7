"""One look at a device: everything side by side, or what a few identities need.

A look at some identities reads objects by their names or values and takes subnets and tunnels from the last look at
everything; tunnels and addresses are few, so they are read whole when one of them is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from isthmus.drivers.netscaler.canon import mask_of, text_of
from isthmus.drivers.netscaler.fetching import Fetcher, Selection
from isthmus.drivers.netscaler.intents import Intents, line_of
from isthmus.drivers.netscaler.ledger import Ledger
from isthmus.drivers.netscaler.names import Names
from isthmus.drivers.netscaler.nitro import Nitro, Row
from isthmus.drivers.netscaler.read_places import (
    Bound,
    bound_addresses,
    places,
    read_ip_tunnels,
    read_sources,
    read_tunnels,
)
from isthmus.drivers.netscaler.read_routes import (
    read_fdb,
    read_neighbors,
    read_policy_routes,
    read_profiles,
    read_routes,
)
from isthmus.drivers.netscaler.read_services import SERVICE_KINDS, complete, read_servers, read_vips
from isthmus.drivers.netscaler.sight import Places, Sight
from isthmus.errors import DeviceError
from isthmus.model.resources import IPAddress, VirtualServer

__all__ = ["Known", "look"]

_TUNNEL_KINDS = ("vxlan", "vxlan_srcip_binding")
_BINDINGS = ("vxlan_nsip_binding", "vxlan_nsip6_binding")
_ADDRESSES = ("nsip", "nsip6")
_MOST_TEXT = 64


@dataclass(slots=True)
class Known:
    """What outlives a look: where things are on the device, monitors of ours, and those of them nobody uses."""

    places: Places = field(default_factory=Places)
    monitors: frozenset[str] = frozenset()
    idle_monitors: frozenset[str] = frozenset()
    servers: dict[str, str] = field(default_factory=dict)
    """What the device calls members that it does not call by their address."""
    counts: dict[str, int] = field(default_factory=dict)


async def look(
    nitro: Nitro, names: Names, ledger: Ledger, known: Known, mac: str, identities: Collection[str] | None = None
) -> Sight:
    """Return what stands: everything, or what stands at ``identities``; raises ``DeviceError`` where that is not known."""
    sight = Sight(None if identities is None else frozenset(identities))
    if identities is None or not ledger.was_read:
        await ledger.read()
    fetcher = Fetcher(nitro)
    _want(fetcher, sight, names, ledger.intents)
    try:
        await fetcher.all()
    except ExceptionGroup as failures:
        raise _first(failures) from failures
    rows = {kind: fetcher.rows(kind) for kind in _ALL_KINDS}
    bound = bound_addresses(rows["vxlan_nsip_binding"], rows["vxlan_nsip6_binding"])
    if identities is None:
        _check(rows, ledger.intents)
        known.places = places(ledger.intents, rows, bound, rows["vlan_nsip_binding"])
        _know_monitors(known, names, rows)
        known.counts = fetcher.counts
        members = rows["servicegroup_servicegroupmember_binding"]
        named = ((text_of(row, "ip"), text_of(row, "servername")) for row in members)
        known.servers = {ip: name for ip, name in named if ip and name and ip != name}
    _read(sight, names, ledger.intents, known, rows, bound, mac)
    if identities is None:
        standing = [line for one in sight.resources.values() if (line := line_of(one)) is not None]
        ledger.forget_lost(standing)
    return sight


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first of several failures to read: the others say the same, or follow from it."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


_ALL_KINDS = (
    *_TUNNEL_KINDS,
    "iptunnel",
    *_ADDRESSES,
    *_BINDINGS,
    "vlan_nsip_binding",
    "bridgetable",
    "arp",
    "nd6",
    "route",
    "route6",
    "nspbr",
    "nspbr6",
    "netprofile",
    *SERVICE_KINDS,
    "lbmonitor",
)


def _want(fetcher: Fetcher, sight: Sight, names: Names, intents: Intents) -> None:
    if sight.identities is None:
        for kind in _ALL_KINDS:
            fetcher.want(kind)
        return
    if sight.asks("tunnel"):
        for kind in (*_TUNNEL_KINDS, "iptunnel"):
            fetcher.want(kind)
    if sight.asks("vxlan"):
        fetcher.want("vxlan")
    if sight.asks("source"):
        for kind in _BINDINGS:
            fetcher.want(kind)
    addresses = [*(sight.asked("source") or ()), *(sight.asked("vip") or ())]
    if addresses:
        _want_addresses(fetcher, addresses)
    if words := sight.asked("vip"):
        _want_vips(fetcher, names, words)
    _want_entries(fetcher, sight, intents)
    _want_named(fetcher, sight, names)


def _addresses(words: Sequence[str]) -> list[IPAddress]:
    found = []
    for word in words:
        try:
            found.append(ip_address(word))
        except ValueError:
            continue
    return found


def _want_addresses(fetcher: Fetcher, words: Sequence[str]) -> None:
    found = _addresses(words)
    fetcher.want("nsip", [{"ipaddress": str(one)} for one in found if one.version == 4])
    # An IPv6 address is kept with its length, which nobody says here: there are few enough of them to read all.
    fetcher.want("nsip6", None if any(one.version == 6 for one in found) else [])


def _want_vips(fetcher: Fetcher, names: Names, words: Sequence[str]) -> None:
    found = _addresses(words)
    fetcher.want("lbvserver", [{"ipv46": str(one)} for one in found])
    fetcher.want("servicegroup", [{"servicegroupname": f"/^{re.escape(names.of_address(one))}/"} for one in found])


def _want_entries(fetcher: Fetcher, sight: Sight, intents: Intents) -> None:
    fdb: list[Mapping[str, str]] = []
    for words in sight.asked("fdb") or ():
        name, mac, *_ = [*words.split(" "), ""]
        if (vni := intents.vni(name)) is not None:
            fdb.append({"vxlan": str(vni), "mac": mac})
    neighbors = _addresses([words.rpartition(" ")[2] for words in sight.asked("neighbor") or ()])
    prefixes = []
    for words in sight.asked("route") or ():
        try:
            prefixes.append(ip_network(words))
        except ValueError:
            continue
    selections: dict[str, list[Mapping[str, str]]] = {
        "bridgetable": fdb,
        "arp": [{"ipaddress": str(one)} for one in neighbors if one.version == 4],
        "nd6": [{"neighbor": str(one)} for one in neighbors if one.version == 6],
        "route": [
            {"network": str(one.network_address), "netmask": mask_of(one.prefixlen)}
            for one in prefixes
            if one.version == 4
        ],
        "route6": [{"network": str(one)} for one in prefixes if one.version == 6],
    }
    for kind, selection in selections.items():
        if selection:
            fetcher.want(kind, selection)


def _want_named(fetcher: Fetcher, sight: Sight, names: Names) -> None:
    policy: dict[str, list[Mapping[str, str]]] = {"nspbr": [], "nspbr6": []}
    for words in sight.asked("policy-route") or ():
        source, _, prefix = words.partition(" ")
        try:
            name = names.policy_route(ip_address(source), ip_network(prefix))
        except ValueError:
            continue
        policy["nspbr" if ip_address(source).version == 4 else "nspbr6"].append({"=": name})
    for kind, selection in policy.items():
        if selection:
            fetcher.want(kind, selection)
    if profiles := _addresses(sight.asked("source-profile") or ()):
        fetcher.want("netprofile", [{"=": names.profile(one)} for one in profiles])
    servers = [server for words in sight.asked("virtual-server") or () if (server := _server(words)) is not None]
    if servers:
        groups: Selection = [{"=": names.server(server)} for server in servers]
        for kind in SERVICE_KINDS:
            if kind == "lbvserver":
                fetcher.want(kind, [{"ipv46": str(one)} for one in sorted({s.address for s in servers}, key=str)])
            else:
                fetcher.want(kind, groups)


def _server(words: str) -> VirtualServer | None:
    """Return the bare virtual server that an identity names: ``203.0.113.10:80/tcp``."""
    place, _, protocol = words.rpartition("/")
    host, _, port = place.rpartition(":")
    if protocol not in ("tcp", "udp") or len(words) > _MOST_TEXT:
        return None
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
        return VirtualServer(address, "tcp" if protocol == "tcp" else "udp", int(port))
    except ValueError:
        return None


def _check(rows: Mapping[str, Sequence[Row]], intents: Intents) -> None:
    """Refuse answers that cannot be: a device without its own address, parts without what they are a part of."""
    if not any(text_of(row, "type").upper() == "NSIP" for kind in _ADDRESSES for row in rows[kind]):
        raise DeviceError("the device lists no address of its own: what it says cannot be whole")
    if not rows["vxlan"] and any(rows[kind] for kind in ("vxlan_srcip_binding", *_BINDINGS)):
        raise DeviceError("the device lists no VXLAN, and bindings of some: what it says cannot be whole")
    complete(rows)


def _know_monitors(known: Known, names: Names, rows: Mapping[str, Sequence[Row]]) -> None:
    ours = {text_of(row, "monitorname") for row in rows["lbmonitor"]}
    ours = {name for name in ours if names.read_monitor(name) is not None}
    used = {text_of(row, "monitor_name") for row in rows["servicegroup_lbmonitor_binding"]}
    known.monitors, known.idle_monitors = frozenset(ours), frozenset(ours - used)


def _read(
    sight: Sight, names: Names, intents: Intents, known: Known, rows: dict[str, list[Row]], bound: Bound, mac: str
) -> None:
    if sight.asks("tunnel", "vxlan"):
        read_tunnels(sight, intents, names, rows["vxlan"], rows["vxlan_srcip_binding"], mac)
        read_ip_tunnels(sight, intents, names, rows["iptunnel"])
    if sight.asks("source", "vip"):
        read_sources(sight, intents, names, rows, bound)
    if sight.asks("vip"):
        read_vips(sight, intents, names, rows)
    read_fdb(sight, intents, rows["bridgetable"])
    read_neighbors(sight, intents, rows)
    read_routes(sight, intents, known.places, rows)
    read_policy_routes(sight, intents, names, known.places, rows)
    read_profiles(sight, intents, names, rows["netprofile"])
    if sight.asks("virtual-server"):
        read_servers(sight, intents, names, rows)
