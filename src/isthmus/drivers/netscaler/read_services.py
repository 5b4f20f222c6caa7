"""Virtual servers and their addresses as they stand.

A virtual server of ours is a service group, its members, a virtual server and the binding between them, all of one name; the
name tells address, port and protocol. A VIP has no name: it is ours if something of ours bears its address in its name and
nobody else's virtual server uses it, or by its line in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isthmus.drivers.netscaler.canon import Unreadable, address_of
from isthmus.drivers.netscaler.intents import Intents
from isthmus.drivers.netscaler.names import Names
from isthmus.drivers.netscaler.nitro import Row
from isthmus.drivers.netscaler.objects import Obj
from isthmus.drivers.netscaler.read_places import objects, own_address
from isthmus.drivers.netscaler.settling import settle
from isthmus.drivers.netscaler.shapes import METHODS, vip_object
from isthmus.drivers.netscaler.sight import Sight
from isthmus.errors import DeviceError
from isthmus.model.resources import (
    ANYWHERE,
    Algorithm,
    IPAddress,
    Member,
    VirtualAddress,
    VirtualServer,
    endpoint_text,
)

__all__ = ["SERVICE_KINDS", "read_servers", "read_vips"]

SERVICE_KINDS = (
    "servicegroup",
    "servicegroup_servicegroupmember_binding",
    "servicegroup_lbmonitor_binding",
    "lbvserver",
    "lbvserver_servicegroup_binding",
)
_DATAGRAMS = frozenset({"UDP", "DNS", "RADIUS", "TFTP", "SIP_UDP", "SYSLOGUDP", "DTLS", "QUIC", "QUIC_BRIDGE"})
_ALGORITHMS: Mapping[str, Algorithm] = {"ROUNDROBIN": "round-robin", "SOURCEIPHASH": "source-hash"}


def read_servers(sight: Sight, intents: Intents, names: Names, rows: Mapping[str, Sequence[Row]]) -> None:
    """Note the virtual servers: ours whole or in part, others' by their address and port."""
    found: dict[str, list[Obj]] = {}
    for kind in SERVICE_KINDS:
        for obj, _ in objects(kind, rows[kind]):
            if names.read_server(obj.key[0]) is None:
                if kind == "lbvserver":
                    _foreign(sight, obj)
            elif kind != "servicegroup_lbmonitor_binding" or names.read_monitor(obj.get("monitor_name")):
                found.setdefault(obj.key[0], []).append(_drained(obj))
    for name, standing in sorted(found.items()):
        bare = names.read_server(name)
        assert bare is not None, "these are ours"
        candidate = _candidate(bare, names, standing)
        settle(sight, names, intents, bare.identity, VirtualServer.rank, candidate, standing, "its service group")


def complete(rows: Mapping[str, Sequence[Row]]) -> None:
    """Refuse lists that cannot be: a kind answers nothing although there are bindings to it; raises ``DeviceError``."""
    for parent, bindings in (
        ("servicegroup", SERVICE_KINDS[1:3]),
        ("lbvserver", SERVICE_KINDS[4:]),
    ):
        if not rows[parent] and any(rows[binding] for binding in bindings):
            raise DeviceError(f"the device lists no {parent}, and bindings of some: what it says cannot be whole")


def _drained(obj: Obj) -> Obj:
    """Return a member without the weight of one that takes no new connections: it says nothing then."""
    if obj.kind == "servicegroup_servicegroupmember_binding" and obj.get("state") == "DISABLED":
        return obj._replace(values=("1", "DISABLED"))
    return obj


def _candidate(bare: VirtualServer, names: Names, standing: Sequence[Obj]) -> VirtualServer | None:
    groups = [obj for obj in standing if obj.kind == "servicegroup"]
    servers = [obj for obj in standing if obj.kind == "lbvserver"]
    if not groups:
        return None
    algorithm: Algorithm = "round-robin"
    if servers:
        algorithm = _ALGORITHMS.get(servers[0].get("lbmethod"), "round-robin")
    checks = [
        names.read_monitor(obj.get("monitor_name"))
        for obj in standing
        if obj.kind == "servicegroup_lbmonitor_binding"
    ]
    members: list[Member] = []
    for obj in standing:
        if obj.kind == "servicegroup_servicegroupmember_binding":
            weight = int(obj.get("weight")) if obj.get("weight").isdecimal() else 1
            weight = weight if obj.get("state") == "ENABLED" else 0
            members.append(Member(address_of(obj.get("ip")), int(obj.get("port")), weight))
    members.sort(key=lambda member: (member.address.version, int(member.address), member.port))
    profile = groups[0].get("netprofile")
    return VirtualServer(
        bare.address,
        bare.protocol,
        bare.port,
        tuple(members),
        names.read_profile(profile) if profile else None,
        algorithm,
        checks[0] if checks else None,
    )


def _foreign(sight: Sight, obj: Obj) -> None:
    try:
        address, port = address_of(obj.get("ipv46")), int(obj.get("port"))
    except (Unreadable, ValueError):
        return
    protocol = "udp" if obj.get("servicetype") in _DATAGRAMS else "tcp"
    sentence = f"lbvserver {obj.get('name')} {obj.get('servicetype')} {endpoint_text(address, port)}"
    sight.add_foreign(f"virtual-server {endpoint_text(address, port)}/{protocol}", sentence)


def read_vips(sight: Sight, intents: Intents, names: Names, rows: Mapping[str, Sequence[Row]]) -> None:
    """Note the VIPs; one of ours that does not answer stands for nothing."""
    ours = set(intents.vips)
    theirs: dict[IPAddress, str] = {}
    for kind in ("servicegroup", "lbvserver"):
        for obj, _ in objects(kind, rows[kind]):
            bare = names.read_server(obj.key[0])
            if bare is not None:
                ours.add(bare.address)
            elif kind == "lbvserver":
                try:
                    theirs.setdefault(address_of(obj.get("ipv46")), obj.get("name"))
                except Unreadable:
                    continue
    for kind in ("nsip", "nsip6"):
        for obj, _ in objects(kind, rows[kind]):
            if obj.get("type") == "VIP":
                _read_vip(sight, ours, theirs, obj)


def _read_vip(sight: Sight, ours: set[IPAddress], theirs: Mapping[IPAddress, str], obj: Obj) -> None:
    try:
        own = own_address(obj)
    except Unreadable:
        return
    vip = VirtualAddress(own.ip, ANYWHERE)
    if own.ip not in ours or own.ip in theirs:
        used = f", used by lbvserver {theirs[own.ip]}" if own.ip in theirs else ""
        for identity in (vip.identity, f"source {own.ip}"):
            sight.add_foreign(identity, f"{obj.kind} {own.ip} VIP{used}", *(() if used else (obj,)))
    elif obj == vip_object(own.ip):
        sight.add(vip)
    elif obj == vip_object(own.ip, answers=False):
        # It stands, and answers nobody: what is written starts from it, and it is nothing that could be in the way.
        if sight.wants(vip.identity):
            sight.odd[vip.identity] = (obj,)
    else:
        sight.add_partial(vip.identity, vip.rank, "its netmask, ARP or state", (obj,))


assert set(METHODS.values()) == set(_ALGORITHMS), "what is written reads back"
