"""What a NetScaler can have, and how it reads it back: pure, by value alone.

A device tells less than a Linux gateway is told: the MAC and MTU of a tunnel are its own, a route has no preferred source, a
VIP no link. So these are spelled here as they will be read, and what would be lost in silence is refused with a way out.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from isthmus.drivers.base import Adapted
from isthmus.drivers.netscaler.names import NAME_MAX, Names
from isthmus.drivers.netscaler.read_places import tunnel_spelled
from isthmus.model.resources import (
    ANYWHERE,
    AnyResource,
    DirectReturn,
    FdbEntry,
    HealthCheck,
    IPAddress,
    IpTunnel,
    Member,
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

__all__ = ["Spelling", "adapt"]

_OLDEST_VXLAN = (11, 0, 0)
_MOST_WEIGHT = 100
_SERVED = ("tcp", "udp")


class _Refused(Exception):
    """This value cannot be had; the text says why, and what to do."""


class Spelling(msgspec.Struct, frozen=True):
    """What spelling depends on: our names, the release (zeros while unknown), the MAC of tunnels, our monitors if any.

    ``balances`` says that load balancing is on, or will be before anything needs it.
    """

    names: Names
    release: tuple[int, int, int] = (0, 0, 0)
    tunnel_mac: str = ""
    check: HealthCheck | None = None
    balances: bool = True


def adapt(desired: Mapping[str, AnyResource], by: Spelling) -> Adapted:
    """Return ``desired`` in this device's spelling, and what it refuses with reasons."""
    resources: dict[str, AnyResource] = {}
    refused: dict[str, str] = {}
    for identity, resource in desired.items():
        try:
            spelled = _spell(resource, by)
        except _Refused as error:
            refused[identity] = str(error)
        else:
            resources[spelled.identity] = spelled
    return Adapted(resources, refused)


def _spell(resource: AnyResource, by: Spelling) -> AnyResource:
    if isinstance(resource, VirtualServer | VirtualAddress) and not by.balances:
        raise _Refused("feature LB is switched off there; enable ns feature LB, or let us: enableFeatures: true")
    match resource:
        case Route(prefix=prefix, via=via, link=link):
            if via.version != prefix.version:
                raise _Refused(f"next hop {via} and prefix {prefix} are of different IP versions")
            return Route(prefix, via, link)
        case FdbEntry(mac=mac):
            return msgspec.structs.replace(resource, mac=_mac(mac))
        case Neighbor():
            return _neighbor(resource)
        case VirtualServer():
            return _server(resource, by)
        case VirtualAddress(address=address, lapses=lapses):
            if lapses:
                raise _Refused(
                    "a VIP that lapses by itself is nothing that a NetScaler has: it could not give way to another device; "
                    "serve this segment's VIPs with one device, or with a NetScaler pair"
                )
            return VirtualAddress(address, ANYWHERE)
        case Tunnel():
            return _tunnel(resource, by)
        case IpTunnel(name=name, local=local, remote=remote):
            if local.version == 6 or remote.version == 6:
                raise _Refused("IP tunnels of this device carry IPv4 over IPv4 alone; use encapsulation vxlan")
            _short(by.names.ip_tunnel(name))
        case SourceAddress():
            pass
        case PolicyRoute(source=source, prefix=prefix, via=hop):
            if source.version != prefix.version or (hop is not None and hop.version != prefix.version):
                raise _Refused(f"source, prefix and next hop of the route to {prefix} are of different IP versions")
            if hop is None and prefix.version == 6:
                raise _Refused("an IPv6 policy route needs a next hop on this device; use encapsulation vxlan")
            _short(by.names.policy_route(source, prefix))
        case SourceProfile(address=address):
            _short(by.names.profile(address))
        case MssClamp(link=link):
            raise _Refused(
                f"a NetScaler keeps no MSS per link ({link}); it segments to the path's MTU as a proxy does"
            )
        case PortFilter(port=port):
            raise _Refused(
                f"UDP port {port} cannot be filtered by us on a NetScaler; do it by an ACL of your own if you must"
            )
        case DirectReturn():
            raise _Refused("returning directly is up to nodes; this device has no rule for that")
        case Partial(of=of):
            raise _Refused(f"{of} is a part of something, which nobody can want")
    return resource


def _tunnel(tunnel: Tunnel, by: Spelling) -> Tunnel:
    _range("VNI", tunnel.vni, 1, (1 << 24) - 1)
    _range("port", tunnel.port, 1, 65534)
    if by.release != (0, 0, 0) and by.release < _OLDEST_VXLAN:
        raise _Refused("this release knows no VXLAN; NetScaler 11.0 and newer do")
    if not tunnel.name or len(tunnel.name) > 15 or " " in tunnel.name:
        raise _Refused(f"{tunnel.name!r} cannot be a tunnel's name (1 to 15 characters, no space)")
    return tunnel_spelled(tunnel.name, tunnel.vni, tunnel.port, tunnel.local, by.tunnel_mac)


def _neighbor(neighbor: Neighbor) -> Neighbor:
    if neighbor.vtep is None:
        raise _Refused(
            f"an entry for {neighbor.address} needs its tunnel end on this device; "
            "static neighbors on segments are not ours to set there"
        )
    return msgspec.structs.replace(neighbor, mac=_mac(neighbor.mac))


def _server(server: VirtualServer, by: Spelling) -> VirtualServer:
    if server.protocol not in _SERVED:
        raise _Refused(f"a NetScaler does not balance {server.protocol}; serve this port with a Linux gateway")
    _range("port", server.port, 1, 65535)
    version = server.address.version
    if server.source is not None and server.source.version != version:
        raise _Refused(f"source {server.source} and VIP {server.address} are of different IP versions")
    seen: dict[tuple[IPAddress, int], Member] = {}
    for member in server.members:
        if member.address.version != version:
            raise _Refused(f"member {member.address} and VIP {server.address} are of different IP versions")
        _range("member port", member.port, 1, 65534)
        _range("weight", member.weight, 0, _MOST_WEIGHT)
        if seen.setdefault((member.address, member.port), member) != member:
            raise _Refused("one member is named twice with different weights")
    _short(by.names.server(server))
    members = tuple(sorted(seen.values(), key=lambda one: (int(one.address), one.port)))
    check = server.check if server.check is not None else by.check
    return msgspec.structs.replace(server, members=members, check=check)


def _mac(text: str) -> str:
    mac = text.lower().replace("-", ":")
    parts = mac.split(":")
    if len(parts) != 6 or not all(len(part) == 2 and set(part) <= set("0123456789abcdef") for part in parts):
        raise _Refused(f"{text!r} is not a MAC address")
    return mac


def _range(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise _Refused(f"{what} {value} is outside {least} to {most}")


def _short(name: str) -> None:
    if len(name) > NAME_MAX:
        raise _Refused(f"{name} is longer than the {NAME_MAX} characters of a name; use a shorter installation name")
