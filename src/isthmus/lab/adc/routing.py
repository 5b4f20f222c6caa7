"""What a device's neighbors, bridge table, routes and policy routes are in the kernel.

It reads the configuration and decides; nothing is done here. A next hop is reachable where an address of the device has it in
its subnet, or where a neighbor was written into a VXLAN. The one confusing thing: a route whose next hop is not reachable
stays one on the device, and its packets are lost; so here it becomes an unreachable one, which leaves them to no wider route.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network, summarize_address_range

from isthmus.lab.adc.places import Places
from isthmus.lab.adc.things import Key, Thing, Tool
from isthmus.lab.adc.wiring import Address, Cidr, Wiring, address_of
from isthmus.lab.nitro.kinds import Row
from isthmus.lab.nitro.running import Running

NOBODY = "00:00:00:00:00:00"
_TABLES = 100_000  # tables of policy routes: this and their priority
_PREFERENCES = 1_000


@dataclass(frozen=True, slots=True)
class Hop:
    """The way to a neighbor: a link, the device's address there, and the line that made the link."""

    link: str
    source: Address | None
    made_by: str = ""


@dataclass(slots=True)
class Roads:
    """All that leads anywhere; ``unread`` are policy routes with conditions that are not imitated."""

    things: dict[Key, Thing] = field(default_factory=dict)
    hosts: dict[Address, Hop] = field(default_factory=dict)
    routes: list[tuple[Cidr, list[Hop]]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    sources: dict[Address, Address | None] = field(default_factory=dict)  # by destination, as far as asked for


def roads(running: Running, wiring: Wiring, where: Places) -> Roads:
    """Return everything that leads anywhere."""
    found = Roads()
    _bridges(running, where, found)
    _neighbors(running, wiring, where, found)
    _routes(running, where, found)
    _iptunnels(running, found)
    for name in ("nspbr", "nspbr6"):
        for row in running.applied.get(name, {}).values():
            try:
                _policy(row, name == "nspbr6", where, found)
            except ValueError:  # an address that is none: the API keeps these as text
                found.unread.append(str(row["name"]))
    return found


def hop(address: Address, where: Places, found: Roads) -> Hop | None:
    """Return the way to a neighbor, none where nobody can be asked for it."""
    if address in found.hosts:
        return found.hosts[address]
    place = where.towards(address)
    if place is None:
        return None
    # With its last address a link loses its routes, so they hang on the address, too.
    made_by = f"{place.made_by} {place.interface}"
    return Hop(place.link, place.address if place.kind == "SNIP" else None, made_by)


def source(address: Address, where: Places, found: Roads) -> Address | None:
    """Return the address that a connection to ``address`` comes from when no net profile says it: that of its way out.

    Without one on that way it is any subnet address, and none if the device has none of the family: then it cannot connect.
    """
    if address not in found.sources:
        found.sources[address] = _source(address, where, found)
    return found.sources[address]


def _source(address: Address, where: Places, found: Roads) -> Address | None:
    way = hop(address, where, found)
    if way is None:
        fits = [(network.prefixlen, hops) for network, hops in found.routes if address in network and hops]
        way = max(fits, key=lambda item: item[0])[1][0] if fits else None
    if way is not None and way.source is not None:
        return way.source
    others = where.sources(address.version)
    return min(others, key=int) if others else None


def _bridges(running: Running, where: Places, found: Roads) -> None:
    for row in running.table("bridgetable").values():
        tunnel = where.tunnels.get(int(str(row["vxlan"])))
        if tunnel is not None:
            _forward(found, tunnel.link, str(row["mac"]), str(row["vtep"]), tunnel.made_by)


def _forward(found: Roads, link: str, mac: str, vtep: str, made_by: str) -> None:
    """Have frames to ``mac`` sent to ``vtep``; frames to nobody in particular go to all that are told for nobody."""
    line = f"{mac} dev {link} dst {vtep} self permanent"
    flood = mac == NOBODY
    key: Key = ("forward", link, mac, vtep) if flood else ("forward", link, mac)
    verb = "append" if flood else "replace"
    gone = f"fdb del {mac} dev {link} dst {vtep} self"
    found.things[key] = Thing("bridge", 0, (f"fdb {verb} {line}",), (gone,), over=not flood, on=made_by)


def _neighbors(running: Running, wiring: Wiring, where: Places, found: Roads) -> None:
    for kind, word in (("arp", "ipaddress"), ("nd6", "neighbor")):
        for row in running.table(kind).values():
            address = address_of(str(row[word]))
            if "vxlan" in row:
                tunnel = where.tunnels.get(int(str(row["vxlan"])))
                if tunnel is None:
                    continue
                link, made_by = tunnel.link, tunnel.made_by
                _forward(found, link, str(row["mac"]), str(row["vtep"]), made_by)
                _host(address, link, made_by, running, where, found)
            else:
                cable = wiring.towards(address)
                if cable is None:
                    continue
                link, made_by = cable.link, ""
            make = f"neigh replace {address} lladdr {row['mac']} dev {link} nud permanent"
            gone = f"neigh del {address} dev {link}"
            found.things["neighbor", link, address] = Thing("ip", 3, (make,), (gone,), over=True, on=made_by)


def _host(address: Address, link: str, made_by: str, running: Running, where: Places, found: Roads) -> None:
    """Lead to a neighbor in a VXLAN even if its subnet is bound to none, as it was done before addresses could be bound."""
    place = where.towards(address)
    if place is not None and place.link == link:
        return
    own = _subnet_of(address, running)
    if own is None:
        return
    found.hosts[address] = Hop(link, own, made_by)
    width = 32 if address.version == 4 else 128
    scope = " scope link" if address.version == 4 else ""
    make = f"route replace {address}/{width} dev {link}{scope} src {own}"
    found.things["host", address] = Thing("ip", 2, (make,), (f"route del {address}/{width} dev {link}",), on=made_by)


def _subnet_of(address: Address, running: Running) -> Address | None:
    for row in running.table("nsip").values() if address.version == 4 else ():
        if row["type"] == "SNIP" and row["state"] == "ENABLED":
            network = ip_network(f"{row['ipaddress']}/{row['netmask']}", strict=False)
            if address in network:
                return address_of(str(row["ipaddress"]))
    for row in running.table("nsip6").values() if address.version == 6 else ():
        if row.get("type", "SNIP") == "SNIP" and address in ip_network(str(row["ipv6address"]), strict=False):
            return address_of(str(row["ipv6address"]).partition("/")[0])
    return None


def _routes(running: Running, where: Places, found: Roads) -> None:
    wanted: dict[Cidr, list[tuple[Address, Hop | None]]] = {}
    for network, gateway, link in _configured(running, where):
        way = hop(gateway, where, found)
        if way is None and link is not None:
            way = link
        wanted.setdefault(network, []).append((gateway, way))
    for network, hops in wanted.items():
        good = [(gateway, way) for gateway, way in hops if way is not None]
        found.routes.append((network, [way for _, way in good]))
        make, on = f"route replace unreachable {network}", ""
        if good:
            on = ", ".join(way.made_by for _, way in good)
            own = next((way.source for _, way in good if way.source is not None), None)
            words = " ".join(f"nexthop via {gateway} dev {way.link}" for gateway, way in good)
            if len(good) == 1:
                words = words.removeprefix("nexthop ")
            make = f"route replace {network} {f'src {own} ' if own is not None else ''}{words}"
        # Replacing one IPv6 route by a multipath one, or back, leaves remains in some kernels.
        over = network.version == 4
        found.things["route", network] = Thing("ip", 4, (make,), (f"route del {network}",), over=over, on=on)


def _configured(running: Running, where: Places) -> Iterator[tuple[Cidr, Address, Hop | None]]:
    for row in running.table("route").values():
        yield IPv4Network(f"{row['network']}/{row['netmask']}"), address_of(str(row["gateway"])), None
    for row in running.table("route6").values():
        gateway = address_of(str(row["gateway"]))
        tunnel = where.tunnels.get(int(str(row.get("vxlan", 0))))
        link = Hop(tunnel.link, None, tunnel.made_by) if tunnel is not None and gateway.is_link_local else None
        yield IPv6Network(str(row["network"])), gateway, link


def tunnel_link(name: str) -> str:
    """Return the link of an IP tunnel: short enough for the kernel, the same each time."""
    return f"it{zlib.crc32(name.encode()):08x}"


def _iptunnels(running: Running, found: Roads) -> None:
    for row in running.table("iptunnel").values():
        link = tunnel_link(str(row["name"]))
        make = f"link add {link} type ipip remote {row['remote']} local {row['local']} ttl 64"
        if row["protocol"] == "IPIP" and row["remotesubnetmask"] == "255.255.255.255":
            lines = (make, f"link set {link} up")
            found.things["iptunnel", row["name"]] = Thing("ip", 0, lines, (f"link del {link}",))


def _policy(row: Row, six: bool, where: Places, found: Roads) -> None:
    """Make one policy route: a rule that chooses, and for ALLOW a table of its own that leads to the next hop."""
    number = int(str(row["priority"]))
    tool: Tool = "ip6" if six else "ip"
    if row.get("state", "ENABLED") != "ENABLED":
        return
    selectors = _selectors(row, six)
    if selectors is None:
        found.unread.append(str(row["name"]))
        return
    table = "main"
    if row["action"] == "ALLOW":
        table, on = str(_TABLES + number), ""
        make = f"route replace unreachable default table {table}"
        if row.get("iptunnel") and row.get("iptunnelname"):
            make = f"route replace default dev {tunnel_link(str(row['iptunnelname']))} table {table}"
        elif row.get("nexthopval"):
            gateway = address_of(str(row["nexthopval"]))
            way = hop(gateway, where, found)
            if way is not None:
                make, on = f"route replace default via {gateway} dev {way.link} table {table}", way.made_by
        gone = f"route flush table {table}"
        found.things["table", six, number] = Thing(tool, 5, (make,), (gone,), on=on)
    rules = tuple(f"pref {_PREFERENCES + number} {words} lookup {table}" for words in selectors)
    made, gone_rules = tuple(f"rule add {rule}" for rule in rules), tuple(f"rule del {rule}" for rule in rules)
    found.things["rule", six, number] = Thing(tool, 6, made, gone_rules)


def _selectors(row: Row, six: bool) -> list[str] | None:
    """Return what the rules of a policy route look at; none if it looks at something that is not imitated."""
    suffix = "v6" if six else ""
    if any(
        row.get(word) for word in ("srcport", "destport", "srcmac", "protocol", "protocolnumber", "vlan", "vxlan")
    ):
        return None
    sides: list[list[str]] = []
    for word, spoken in (("srcip", "from"), ("destip", "to")):
        value = row.get(f"{word}{suffix}val")
        if str(row.get(f"{word}op", "=")) not in ("=", "EQ"):
            return None
        prefixes = [f"{spoken} {prefix}" for prefix in _range(str(value))] if value else []
        sides.append(prefixes or ["from all" if spoken == "from" else ""])
    return [f"{start} {end}".strip() for start in sides[0] for end in sides[1]]


def _range(text: str) -> list[Cidr]:
    """Return what ``10.1.0.1``, ``10.1.0.0-10.1.0.255`` or ``2001:db8::/64`` covers."""
    if "/" in text:
        return [ip_network(text, strict=False)]
    first, _, last = text.partition("-")
    return list(summarize_address_range(address_of(first), address_of(last or first)))
