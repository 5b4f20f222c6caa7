"""Where each address of a device is: on which link, with which mask, and whether it answers for itself.

It reads the configuration and decides; nothing is done here. Addresses bound to a VXLAN or a VLAN are there and nowhere
else; the others are on the segment that has them. The one confusing thing is an address of no segment: nobody can be asked
about its neighbors, so it is there as a host only, and a subnet that was meant to lie in a VXLAN is not reachable until its
address is bound to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from isthmus.lab.adc.things import Key, Thing
from isthmus.lab.adc.wiring import Address, Interface, Wiring, address_of, interface_of
from isthmus.lab.nitro.kinds import Row
from isthmus.lab.nitro.running import Running


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A VXLAN that can carry: its link, the line that makes it, its id."""

    vni: int
    link: str
    made_by: str


@dataclass(frozen=True, slots=True)
class Place:
    """One address: its link (``lo`` for one of no segment), its mask there, what it is, and whether it answers for itself."""

    interface: Interface
    link: str
    kind: str
    answers: bool = True
    made_by: str = ""
    address: Address = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", self.interface.ip)


@dataclass(slots=True)
class Places:
    """All addresses of a device, and its VXLANs by id."""

    addresses: list[Place] = field(default_factory=list)
    tunnels: dict[int, Tunnel] = field(default_factory=dict)
    things: dict[Key, Thing] = field(default_factory=dict)

    subnets: list[Place] = field(default_factory=list)
    _by_address: dict[Address, Place] = field(default_factory=dict)

    def add(self, place: Place) -> None:
        """Put one more address somewhere."""
        self.addresses.append(place)
        self._by_address.setdefault(place.address, place)
        if place.link != "lo" and place.interface.network.num_addresses > 1:
            self.subnets.append(place)

    def at(self, address: Address) -> Place | None:
        """Return the place of an address."""
        return self._by_address.get(address)

    def towards(self, address: Address) -> Place | None:
        """Return the place whose subnet has ``address``: the narrowest, an address for traffic before one for management."""
        fits = [
            (place.interface.network.prefixlen, place.kind == "SNIP", -number)
            for number, place in enumerate(self.subnets)
            if place.address.version == address.version and address in place.interface.network
        ]
        return self.subnets[-max(fits)[2]] if fits else None

    def sources(self, version: int) -> list[Address]:
        """Return the addresses that traffic may come from."""
        return [
            place.address for place in self.addresses if place.kind == "SNIP" and place.address.version == version
        ]


def places(running: Running, wiring: Wiring, management: Interface, *, primary: bool) -> Places:
    """Return where each address is; a secondary has its own address for management and nothing else."""
    found = Places()
    cable = wiring.towards(management.ip) or wiring.cables[0]
    found.add(Place(management, cable.link, "NSIP"))
    rows = list(_rows(running)) if primary else []
    # Tunnels first: they start at an address of a cable, and other addresses lie in them.
    outside = [row for row in rows if _bound(running, row[0]) is None]
    for address, kind, answers, vlan in outside:
        for place in _outside(running, wiring, address, kind, answers, vlan):
            found.add(place)
    if primary:
        _tunnels(running, wiring, found)
    for address, kind, answers, _ in rows:
        tunnel = found.tunnels.get(_bound(running, address) or 0)
        if tunnel is not None:
            found.add(Place(address, tunnel.link, kind, answers, tunnel.made_by))
    _everywhere(found)
    for place in found.addresses:
        found.things |= _things(place)
    return found


def _rows(running: Running) -> Iterator[tuple[Interface, str, bool, int]]:
    """Yield address, type, whether it answers ARP or NDP, and its VLAN; the device's own NSIP is told from outside."""
    for row in running.table("nsip").values():
        if row["state"] == "ENABLED" and row["type"] != "NSIP":
            yield _interface(row), str(row["type"]), row["arp"] == "ENABLED", 0
    for row in running.table("nsip6").values():
        answers = row.get("nd", "ENABLED") == "ENABLED"
        yield (
            interface_of(str(row["ipv6address"])),
            str(row.get("type", "SNIP")),
            answers,
            int(str(row.get("vlan", 0))),
        )


def _interface(row: Row) -> Interface:
    return interface_of(f"{row['ipaddress']}/{row['netmask']}")


def _bound(running: Running, address: Interface) -> int | None:
    """Return the id of the VXLAN an address is bound to."""
    if address.version == 6:
        bound = running.find("vxlan_nsip6_binding", ipaddress=str(address))
    else:
        bound = running.find("vxlan_nsip_binding", ipaddress=str(address.ip))
    return int(str(bound[0]["id"])) if bound else None


def _outside(
    running: Running, wiring: Wiring, address: Interface, kind: str, answers: bool, vlan: int
) -> Iterator[Place]:
    host = interface_of(str(address.ip))
    of_vlan = running.find("vlan_nsip_binding", ipaddress=str(address.ip)) if address.version == 4 else []
    if of_vlan or vlan > 1:
        ports = running.find("vlan_interface_binding", id=of_vlan[0]["id"] if of_vlan else vlan)
        cables = [cable for port in ports if (cable := wiring.numbered(str(port["ifnum"]))) is not None]
        for cable in cables:
            yield Place(host if kind == "VIP" else address, cable.link, kind, answers)
        return
    cable = wiring.towards(address.ip)
    if cable is None:
        yield Place(host, "lo", kind, answers)
    else:
        # IPv6 answers where an address is and nowhere else, so one that is to be silent sits on the loopback.
        silent6 = address.version == 6 and not answers
        yield Place(host if kind == "VIP" or silent6 else address, "lo" if silent6 else cable.link, kind, answers)


def _tunnels(running: Running, wiring: Wiring, found: Places) -> None:
    for binding in running.table("vxlan_srcip_binding").values():
        start = found.at(address_of(str(binding["srcip"])))
        row = running.row("vxlan", binding["id"])
        if start is None or row is None or row["type"] != "VXLAN":
            continue
        vni, link = int(str(row["id"])), f"vx{row['id']}"
        overhead = 50 if start.address.version == 4 else 70
        # Bound to a cable, a VXLAN takes its MTU from it; else outer packets would be fragmented silently.
        where = f"dev {start.link}" if start.link != "lo" else ""
        line = (
            f"link add {link} address {wiring.mac} mtu {wiring.mtu - overhead} type vxlan id {vni} "
            f"local {start.address} dstport {row['port']} ttl 64 {where}"
        )
        found.tunnels[vni] = Tunnel(vni, link, line)
        up = (line, f"link set {link} up")
        found.things[("tunnel", vni)] = Thing("ip", 0, up, (f"link del {link}",))


def _everywhere(found: Places) -> None:
    """Have the subnet addresses of no segment answer in every VXLAN, as a device answers for what is bound nowhere."""
    for place in [
        place for place in found.addresses if place.link == "lo" and place.kind == "SNIP" and place.answers
    ]:
        for tunnel in found.tunnels.values():
            found.add(Place(place.interface, tunnel.link, place.kind, True, tunnel.made_by))


def _things(place: Place) -> dict[Key, Thing]:
    interface, link = place.interface, place.link
    nodad = " nodad" if interface.version == 6 else ""
    line = f"{interface} dev {link}"
    made: dict[Key, Thing] = {
        ("address", link, place.address): Thing(
            "ip", 1, (f"addr add {line}{nodad}",), (f"addr del {line}",), on=place.made_by
        )
    }
    if interface.version == 4 and not place.answers:
        element = f"arp adc silent {{ {place.address} }}"
        made["silent", place.address] = Thing("nft", 0, (f"add element {element}",), (f"delete element {element}",))
    return made
