"""The rtnetlink messages we send for routes, neighbors and FDB entries (``man 7 rtnetlink``).

It knows how each is spelled and nothing of when to send it. Every route and neighbor carries our protocol number, and a
delete names it too, so that the kernel itself refuses to take a foreign one. The one confusing thing: an FDB entry is a
neighbor message of family AF_BRIDGE that must say NTF_SELF, or the kernel looks for a bridge.
"""

from __future__ import annotations

import socket
import struct

from isthmus.drivers.linux import netlink
from isthmus.drivers.linux.netlink import Message
from isthmus.drivers.linux.wire import attribute, u8
from isthmus.model.resources import ZERO_MAC, FdbEntry, Neighbor, Route

__all__ = [
    "AF_BRIDGE",
    "NEIGHBOR",
    "ONLINK",
    "PERMANENT",
    "ROUTE",
    "delete_fdb",
    "delete_neighbor",
    "delete_route",
    "mac_bytes",
    "mac_text",
    "new_fdb",
    "new_neighbor",
    "new_route",
]

ROUTE = struct.Struct("=8BI")
"""rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags."""
NEIGHBOR = struct.Struct("=BxxxiHBB")
"""ndmsg: family, ifindex, state, flags, type."""

NEW_ROUTE, DEL_ROUTE, GET_ROUTE = 24, 25, 26
NEW_NEIGHBOR, DEL_NEIGHBOR, GET_NEIGHBOR = 28, 29, 30

AF_BRIDGE = socket.AF_BRIDGE
MAIN_TABLE = 254
UNICAST, SCOPE_UNIVERSE, SCOPE_NOWHERE = 1, 0, 255
ONLINK = 4
DEFAULT_METRIC = {4: 0, 6: 1024}
NOARP, PERMANENT = 0x40, 0x80
NTF_SELF = 0x02

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH, RTA_TABLE, RTA_VIA = 1, 4, 5, 6, 7, 9, 15, 18
NDA_DST, NDA_LLADDR, NDA_PROTOCOL = 1, 2, 12
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_U32 = struct.Struct("=HHI")
_V4 = struct.Struct("=HH4s")
_V6 = struct.Struct("=HH16s")


def _address(kind: int, packed: bytes) -> bytes:
    return _V4.pack(8, kind, packed) if len(packed) == 4 else _V6.pack(20, kind, packed)


def new_route(route: Route, link: int, protocol: int, flags: int) -> Message:
    """Return the message that sets up ``route`` over the link with index ``link``; ``flags`` say how (CREATE, EXCL …)."""
    network = route.prefix
    version = network.version
    payload = ROUTE.pack(
        _FAMILY[version],
        network.prefixlen,
        0,
        0,
        MAIN_TABLE,
        protocol,
        SCOPE_UNIVERSE,
        UNICAST,
        ONLINK if route.onlink else 0,
    )
    payload += _address(RTA_DST, network.network_address.packed)
    payload += _address(RTA_GATEWAY, route.via.packed) + _U32.pack(8, RTA_OIF, link)
    if version == 6:
        payload += _U32.pack(8, RTA_PRIORITY, DEFAULT_METRIC[6])
    if route.source is not None:
        payload += _address(RTA_PREFSRC, route.source.packed)
    return Message(NEW_ROUTE, flags, payload)


def delete_route(
    family: int,
    length: int,
    destination: bytes,
    protocol: int,
    *,
    gateway: bytes = b"",
    link: int = 0,
    metric: int = 0,
) -> Message:
    """Return the message that deletes one route of ``protocol``; gateway, link and metric narrow it where given."""
    payload = ROUTE.pack(family, length, 0, 0, MAIN_TABLE, protocol, SCOPE_NOWHERE, 0, 0)
    payload += _address(RTA_DST, destination)
    if gateway:
        payload += _address(RTA_GATEWAY, gateway)
    if link:
        payload += _U32.pack(8, RTA_OIF, link)
    if metric:
        payload += _U32.pack(8, RTA_PRIORITY, metric)
    return Message(DEL_ROUTE, 0, payload)


def new_neighbor(neighbor: Neighbor, link: int, protocol: int, flags: int) -> Message:
    """Return the message that sets up a permanent ARP or NDP entry."""
    payload = NEIGHBOR.pack(_FAMILY[neighbor.address.version], link, PERMANENT, 0, UNICAST)
    payload += _address(NDA_DST, neighbor.address.packed)
    payload += attribute(NDA_LLADDR, mac_bytes(neighbor.mac)) + u8(NDA_PROTOCOL, protocol)
    return Message(NEW_NEIGHBOR, flags, payload)


def delete_neighbor(neighbor: Neighbor, link: int) -> Message:
    """Return the message that deletes an ARP or NDP entry; the kernel has no match by protocol here, look first."""
    payload = NEIGHBOR.pack(_FAMILY[neighbor.address.version], link, 0, 0, 0)
    return Message(DEL_NEIGHBOR, 0, payload + _address(NDA_DST, neighbor.address.packed))


def new_fdb(entry: FdbEntry, link: int) -> Message:
    """Return the message that sets up an FDB entry; the zero MAC takes one more destination, others take a new one."""
    flags = netlink.CREATE | (netlink.APPEND if entry.mac == ZERO_MAC else netlink.REPLACE)
    return Message(NEW_NEIGHBOR, flags, _fdb(entry, link, PERMANENT | NOARP))


def delete_fdb(entry: FdbEntry, link: int) -> Message:
    """Return the message that deletes an FDB entry, of the zero MAC only the one destination."""
    return Message(DEL_NEIGHBOR, 0, _fdb(entry, link, 0))


def _fdb(entry: FdbEntry, link: int, state: int) -> bytes:
    payload = NEIGHBOR.pack(AF_BRIDGE, link, state, NTF_SELF, 0)
    payload += attribute(NDA_LLADDR, mac_bytes(entry.mac))
    if state or entry.mac == ZERO_MAC:
        payload += _address(NDA_DST, entry.destination.packed)
    return payload


def dump_routes(family: int, protocol: int = 0) -> Message:
    """Return the request for the main table's routes, of one protocol where given (the kernel filters, if it can)."""
    table = _U32.pack(8, RTA_TABLE, MAIN_TABLE)
    return Message(GET_ROUTE, 0, ROUTE.pack(family, 0, 0, 0, 0, protocol, 0, 0, 0) + table)


def dump_neighbors(family: int = 0) -> Message:
    """Return the request for all ARP and NDP entries."""
    return Message(GET_NEIGHBOR, 0, NEIGHBOR.pack(family, 0, 0, 0, 0))


def dump_fdb(link: int) -> Message:
    """Return the request for the FDB of one link."""
    return Message(GET_NEIGHBOR, 0, NEIGHBOR.pack(AF_BRIDGE, link, 0, 0, 0))


def mac_bytes(mac: str) -> bytes:
    """Return ``02:00:…`` as six bytes; raises ``ValueError`` for anything else."""
    packed = bytes.fromhex(mac.replace(":", ""))
    if len(packed) != 6:
        raise ValueError(f"{mac!r} is not a MAC address")
    return packed


def mac_text(packed: bytes) -> str:
    """Return six bytes as ``02:00:…``."""
    return packed.hex(":")
