"""What a resource of ours is on the device: pure, one resource in, its objects out."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from isthmus.drivers.netscaler.canon import mask_of, prefix_range
from isthmus.drivers.netscaler.names import Names
from isthmus.drivers.netscaler.objects import Obj, make
from isthmus.model.resources import (
    ANYWHERE,
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

__all__ = ["METHODS", "SERVICE_TYPES", "Impossible", "objects_of", "vip_object"]

METHODS = {"round-robin": "ROUNDROBIN", "source-hash": "SOURCEIPHASH"}
SERVICE_TYPES = {"tcp": "TCP", "udp": "UDP"}
APPLIED = "APPLIED"


class Impossible(Exception):
    """This resource cannot be written now; the text says why."""


def objects_of(resource: AnyResource, names: Names, vni_of: Callable[[str], int | None]) -> tuple[Obj, ...]:
    """Return what ``resource`` is made of, in the order it is made; raise ``Impossible``.

    ``vni_of`` tells the VXLAN behind a tunnel's name.
    """

    def vxlan(link: str) -> int:
        found = vni_of(link)
        if found is None:
            raise Impossible(f"there is no tunnel {link} on the device")
        return found

    match resource:
        case Tunnel(vni=vni, port=port, local=local):
            return (make("vxlan", id=vni, port=port), make("vxlan_srcip_binding", id=vni, srcip=local))
        case IpTunnel(name=name, local=local, remote=remote):
            return (make("iptunnel", name=names.ip_tunnel(name), local=local, remote=remote),)
        case SourceAddress(link=link):
            return _source(resource, vxlan(link)) if link != ANYWHERE else _source(resource, 0)[:1]
        case FdbEntry(tunnel=link, mac=mac, destination=vtep):
            return (make("bridgetable", mac=mac, vxlan=vxlan(link), vtep=vtep),)
        case Neighbor(link=link, address=address, mac=mac, vtep=vtep):
            if vtep is None:
                raise Impossible("an entry without its tunnel end is nothing that this device can hold")
            if address.version == 4:
                return (make("arp", ipaddress=address, mac=mac, vxlan=vxlan(link), vtep=vtep),)
            return (make("nd6", neighbor=address, mac=mac, vxlan=vxlan(link), vtep=vtep),)
        case Route(prefix=prefix, via=via):
            if prefix.version == 4:
                network, mask = prefix.network_address, mask_of(prefix.prefixlen)
                return (make("route", network=network, netmask=mask, gateway=via),)
            return (make("route6", network=prefix, gateway=via),)
        case PolicyRoute():
            return (_policy_route(resource, names),)
        case SourceProfile(address=address):
            return (make("netprofile", name=names.profile(address), srcip=address),)
        case VirtualServer():
            return _server(resource, names)
        case VirtualAddress(address=address):
            return (vip_object(address),)
    raise Impossible(f"{resource.describe()} is nothing that this device can hold")


def vip_object(address: IPv4Address | IPv6Address, *, answers: bool = True) -> Obj:
    """Return a VIP; one that does not answer keeps its virtual servers and is asked for by nobody."""
    word = "ENABLED" if answers else "DISABLED"
    if address.version == 4:
        return make("nsip", ipaddress=address, netmask="255.255.255.255", type="VIP", arp=word, state="ENABLED")
    return make("nsip6", ipv6address=f"{address}/128", type="VIP", nd=word)


def _source(resource: SourceAddress, vni: int) -> tuple[Obj, ...]:
    own = resource.address
    if own.version == 4:
        mask = mask_of(own.network.prefixlen)
        return (
            make("nsip", ipaddress=own.ip, netmask=mask, type="SNIP", arp="ENABLED", state="ENABLED"),
            make("vxlan_nsip_binding", id=vni, ipaddress=own.ip, netmask=mask),
        )
    return (
        make("nsip6", ipv6address=own, type="SNIP", nd="ENABLED"),
        make("vxlan_nsip6_binding", id=vni, ipaddress=own),
    )


def _policy_route(route: PolicyRoute, names: Names) -> Obj:
    name = names.policy_route(route.source, route.prefix)
    hop = "" if route.via is None else str(route.via)
    target = prefix_range(route.prefix)
    if route.prefix.version == 6:
        if not hop:
            raise Impossible("an IPv6 policy route into an IP tunnel is nothing that this device can hold")
        return make(
            "nspbr6", name=name, srcipv6val=route.source, destipv6val=target, nexthopval=hop, kernelstate=APPLIED
        )
    return make(
        "nspbr",
        name=name,
        srcipval=route.source,
        destipval=target,
        nexthopval=hop,
        iptunnelname="" if hop else names.ip_tunnel(route.link),
        kernelstate=APPLIED,
    )


def _server(server: VirtualServer, names: Names) -> tuple[Obj, ...]:
    name = names.server(server)
    kind = SERVICE_TYPES[server.protocol]
    profile = "" if server.source is None else names.profile(server.source)
    # Without a source of ours the client's own address is kept.
    usip = "YES" if server.source is None else "NO"
    group = {"servicegroupname": name, "servicetype": kind, "usip": usip, "netprofile": profile}
    found = [make("servicegroup", **group, state="ENABLED")]
    if server.check is not None:
        monitor = names.monitor(server.check, server.protocol)
        found.append(make("servicegroup_lbmonitor_binding", servicegroupname=name, monitor_name=monitor))
    found += [
        make(
            "servicegroup_servicegroupmember_binding",
            servicegroupname=name,
            ip=member.address,
            port=member.port,
            weight=member.weight or 1,
            state="ENABLED" if member.weight else "DISABLED",
        )
        for member in server.members
    ]
    found.append(
        make(
            "lbvserver",
            name=name,
            servicetype=kind,
            ipv46=server.address,
            port=server.port,
            lbmethod=METHODS[server.algorithm],
            netprofile=profile,
            state="ENABLED",
        )
    )
    found.append(make("lbvserver_servicegroup_binding", name=name, servicegroupname=name))
    return tuple(found)
