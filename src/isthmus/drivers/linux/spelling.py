"""What this device can have, and how it reads it back: pure, by value alone.

Spelling is small (MACs in lower case, members and senders sorted), refusing is the point: a value that the kernel or the
slot maps cannot hold is declined here with a sentence, before anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import msgspec

from isthmus.drivers.base import Adapted
from isthmus.drivers.linux.services import by_version
from isthmus.drivers.linux.slots import MOST_MEMBERS
from isthmus.model.resources import (
    AnyResource,
    DirectReturn,
    FdbEntry,
    IPAddress,
    IpTunnel,
    MssClamp,
    Neighbor,
    Partial,
    PolicyRoute,
    PortFilter,
    Route,
    SourceAddress,
    SourceProfile,
    Tunnel,
    VirtualAddress,
    VirtualServer,
)

__all__ = ["adapt", "replaces"]

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LINK = re.compile(r"[^\s/:\0]{1,15}")
_MOST_WEIGHT = 1_000_000
_HasMac = TypeVar("_HasMac", Tunnel, FdbEntry, Neighbor)


class _Refused(Exception):
    """This value cannot be had; the text says why."""


def adapt(desired: Mapping[str, AnyResource], *, ipv6: bool, announce: Sequence[str] = ()) -> Adapted:
    """Return ``desired`` in this device's spelling, and what it refuses with reasons."""
    resources: dict[str, AnyResource] = {}
    refused: dict[str, str] = {}
    for identity, resource in desired.items():
        try:
            spelled = _spell(resource, announce)
            if not ipv6 and any(address.version == 6 for address in _addresses(spelled)):
                raise _Refused("IPv6 is disabled on this host")
        except _Refused as error:
            refused[identity] = str(error)
        else:
            resources[identity if spelled is resource else spelled.identity] = spelled
    return Adapted(resources, refused)


def replaces(before: AnyResource, after: AnyResource) -> str:
    """Return what of ``before`` the kernel cannot change into ``after`` while it stands, in words, or an empty text."""
    if isinstance(before, Tunnel) and isinstance(after, Tunnel):
        fields = (
            ("its VNI", before.vni != after.vni),
            ("its port", before.port != after.port),
            ("its local address", before.local != after.local),
            ("its underlay", before.underlay != after.underlay),
        )
        return " and ".join(words for words, differs in fields if differs)
    if isinstance(before, IpTunnel) or isinstance(after, IpTunnel):
        return "its ends" if type(before) is type(after) else "its kind"
    if isinstance(before, SourceAddress) and isinstance(after, SourceAddress):
        # IPv6 knows an address once per link, whatever its length; two lengths of one IPv4 address stand side by side.
        moves = before.link != after.link or before.address == after.address or before.address.version == 4
        return "" if moves else "its prefix length"
    return ""


def _spell(resource: AnyResource, announce: Sequence[str]) -> AnyResource:
    match resource:  # those that there are thousands of go first
        case Route():
            _route(resource)
        case FdbEntry(tunnel=link):
            _check_link(link)
            return _with_mac(resource)
        case Neighbor(link=link):
            _check_link(link)
            if resource.vtep is not None:
                raise _Refused("this gateway keeps a neighbor's tunnel end in an FDB entry of its own")
            return _with_mac(resource)
        case VirtualServer():
            return _server(resource)
        case VirtualAddress(link=link):
            _check_link(link)
            if announce and link != "lo" and link not in announce:
                raise _Refused(f"this gateway answers for VIPs on {', '.join(announce)} only, not on {link}")
        case Tunnel():
            return _tunnel(resource)
        case SourceAddress(link=link):
            _check_link(link)
        case MssClamp(link=link, mtu=mtu):
            _check_link(link)
            _check_range("MTU", mtu, 576, 65535)
        case PortFilter(port=port, sources=sources):
            _check_range("port", port, 1, 65535)
            ordered = tuple(sorted(set(sources), key=by_version))
            return resource if ordered == sources else msgspec.structs.replace(resource, sources=ordered)
        case DirectReturn(link=link):
            _check_link(link)
        case PolicyRoute():
            raise _Refused("this gateway has one routing table for all its sources, and no policy routes")
        case SourceProfile():
            raise _Refused(
                "virtual servers on this gateway name their sender themselves; it has no profiles for that"
            )
        case IpTunnel(name=name, local=local, remote=remote):
            _check_link(name)
            if local.version != 4 or remote.version != 4:
                raise _Refused("an IP-in-IP tunnel has IPv4 ends")
            if local == remote:
                raise _Refused(f"an IP-in-IP tunnel needs two ends, and both are {local}")
        case Partial():
            raise _Refused("what is not whole is only observed, never wanted")
    return resource


def _tunnel(tunnel: Tunnel) -> Tunnel:
    _check_link(tunnel.name)
    if tunnel.underlay is not None:
        _check_link(tunnel.underlay)
    _check_range("VNI", tunnel.vni, 1, (1 << 24) - 1)
    _check_range("port", tunnel.port, 1, 65535)
    _check_range("MTU", tunnel.mtu, 576, 65535)
    spelled = _with_mac(tunnel)
    if int(spelled.mac[:2], 16) & 1 or spelled.mac == "00:00:00:00:00:00":
        raise _Refused(f"{tunnel.mac} cannot be a tunnel's own MAC: it is a group's, or zero")
    return spelled


def _route(route: Route) -> None:
    _check_link(route.link)
    if route.via.version != route.prefix.version:
        raise _Refused(f"next hop {route.via} and prefix {route.prefix} are of different IP versions")
    if route.source is not None and route.source.version != route.prefix.version:
        raise _Refused(f"source {route.source} and prefix {route.prefix} are of different IP versions")


def _server(server: VirtualServer) -> VirtualServer:
    _check_range("port", server.port, 1, 65535)
    if server.protocol not in ("tcp", "udp", "sctp"):
        raise _Refused(f"{server.protocol} cannot be served")
    version = server.address.version
    if server.source is not None and server.source.version != version:
        raise _Refused(f"source {server.source} and VIP {server.address} are of different IP versions")
    for member in server.members:
        if member.address.version != version:
            raise _Refused(f"member {member.address} and VIP {server.address} are of different IP versions")
        _check_range("member port", member.port, 1, 65535)
        _check_range("weight", member.weight, 0, _MOST_WEIGHT)
    places = [(int(member.address), member.port) for member in server.members]
    rising = all(one < next_one for one, next_one in pairwise(places))  # sorted, and nobody twice: so they come
    members = server.members if rising else tuple(sorted(set(server.members)))
    if not rising and len({(member.address, member.port) for member in members}) < len(members):
        raise _Refused("one member is named twice with different weights")
    active = sum(1 for member in members if member.weight)
    if active > MOST_MEMBERS:
        raise _Refused(f"{active} members, and this gateway has {MOST_MEMBERS} slots for one service")
    return server if rising or members == server.members else msgspec.structs.replace(server, members=members)


def _with_mac(resource: _HasMac) -> _HasMac:
    if _MAC.fullmatch(resource.mac):
        return resource
    mac = resource.mac.lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise _Refused(f"{resource.mac!r} is not a MAC address")
    return msgspec.structs.replace(resource, mac=mac)


@lru_cache(maxsize=256)
def _is_link(name: str) -> bool:
    return bool(_LINK.fullmatch(name)) and name not in (".", "..")


def _check_link(name: str) -> None:
    if not _is_link(name):
        raise _Refused(f"{name!r} cannot be a link's name (1 to 15 characters, no space, slash or colon)")


def _check_range(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise _Refused(f"{what} {value} is outside {least} to {most}")


def _addresses(resource: AnyResource) -> list[IPAddress]:
    match resource:
        case Tunnel(local=local):
            return [local]
        case SourceAddress(address=interface):
            return [interface.ip]
        case FdbEntry(destination=address) | Neighbor(address=address) | VirtualAddress(address=address):
            return [address]
        case VirtualServer(address=address):
            return [address]
        case Route(via=address):
            return [address]
        case DirectReturn(network=network):
            return [network.network_address]
    return []
