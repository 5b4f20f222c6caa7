"""The rules of addresses, neighbors, routes, VXLANs and policy routes.

The one confusing thing: a subnet address brings a connected route with it that is read back among the routes and cannot
be removed, and a policy route does nothing before ``nspbrs?action=apply``.
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address

from isthmus.lab.nitro.answers import Refusal
from isthmus.lab.nitro.kinds import Kind, Row, kind
from isthmus.lab.nitro.rules import Json, Rule, drop, there, together, unused
from isthmus.lab.nitro.running import Running

_IP6_USERS = (("ipset_nsip6_binding", "ipaddress"), ("netprofile", "srcip"), ("vxlan_srcip_binding", "srcip"))
_IP_USERS = (
    ("vxlan_nsip_binding", "ipaddress"),
    ("vxlan_srcip_binding", "srcip"),
    ("vlan_nsip_binding", "ipaddress"),
    ("ipset_nsip_binding", "ipaddress"),
    ("netprofile", "srcip"),
)
_VXLAN_USERS = (("arp", "vxlan"), ("bridgetable", "vxlan"), ("nspbr", "vxlan"), ("nspbr6", "vxlan"), ("nd6", "vxlan"))
PBR_KINDS = ("nspbr", "nspbr6")


def _subnets(running: Running) -> list[IPv4Network]:
    return [
        IPv4Interface(f"{row['ipaddress']}/{row['netmask']}").network
        for row in running.table("nsip").values()
        if row["type"] != "VIP"
    ]


def _subnets6(running: Running) -> list[IPv6Network]:
    return [
        IPv6Interface(str(row["ipv6address"])).network
        for row in running.table("nsip6").values()
        if row.get("type") != "VIP"
    ]


class Addresses(Rule):
    """nsip: the NSIP stays, an address in use stays, one address exists once."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        if row["type"] == "NSIP":
            raise Refusal(257)
        if row["type"] == "VIP":
            row.setdefault("netmask", "255.255.255.255")
        return row

    def updating(self, running: Running, before: Row, row: Row) -> Row:
        if row["type"] == "NSIP" and row.get("netmask") != before.get("netmask"):
            raise Refusal(257)
        return row

    def removing(self, running: Running, row: Row) -> None:
        if row["type"] == "NSIP":
            raise Refusal(2510)
        unused(running, _IP_USERS, row["ipaddress"])
        unused(running, (("lbvserver", "ipv46"),), row["ipaddress"], code=2407)

    def shown(self, running: Running, row: Row) -> Json:
        served = running.find("lbvserver", ipv46=row["ipaddress"])
        flags = {"NSIP": "32", "SNIP": "40"}.get(str(row["type"]), "0")
        return {"flags": flags, "vipvsercount": str(len(served)), "freeports": "0", "iptype": [row["type"]]}


class Addresses6(Rule):
    """nsip6: an address in use stays."""

    def removing(self, running: Running, row: Row) -> None:
        plain = str(IPv6Interface(str(row["ipv6address"])).ip)
        unused(running, _IP6_USERS, plain)
        unused(running, (("vxlan_nsip6_binding", "ipaddress"),), row["ipv6address"])
        unused(running, (("lbvserver", "ipv46"),), plain, code=2407)


class Neighbors(Rule):
    """arp and nd6: what lies behind a VXLAN names the VXLAN and the far VTEP."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        together(row, "vtep", "vxlan")
        together(row, "vxlan", "vtep")
        if "vxlan" in row and running.row("vxlan", row["vxlan"]) is None:
            raise Refusal(2614, row["vxlan"])
        return row

    def shown(self, running: Running, row: Row) -> Json:
        return {"type": "STATIC", "state": "0", "flags": "0", "timeout": "0", "controlplane": False}


class Bridges(Rule):
    """bridgetable: an entry lies in a VXLAN that exists."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        if running.row("vxlan", row["vxlan"]) is None:
            raise Refusal(2614, row["vxlan"])
        return row

    def shown(self, running: Running, row: Row) -> Json:
        return {"type": "STATIC", "flags": "0", "controlplane": False}


class Routes(Rule):
    """route: no host bits, a gateway on a subnet of the device, and connected routes that come by themselves."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        try:
            wanted = IPv4Network(f"{row['network']}/{row['netmask']}")
        except ValueError:
            raise Refusal(985, row["network"], row["netmask"]) from None
        gateway = ip_address(str(row["gateway"]))
        if not any(gateway in subnet for subnet in _subnets(running)):
            raise Refusal(986, gateway)
        if any(wanted == subnet for subnet in _subnets(running)):
            raise Refusal(273)
        return {**row, "routetype": "STATIC"}

    def removing(self, running: Running, row: Row) -> None:
        if row.get("routetype") == "CONNECTED":
            raise Refusal(257)

    def derived(self, running: Running) -> list[Row]:
        found: list[Row] = []
        for row in running.table("nsip").values():
            if row["type"] == "VIP" or row["netmask"] == "255.255.255.255" or row["state"] != "ENABLED":
                continue
            network = IPv4Interface(f"{row['ipaddress']}/{row['netmask']}").network.network_address
            found.append(
                {
                    "network": str(network),
                    "netmask": row["netmask"],
                    "gateway": row["ipaddress"],
                    "td": row["td"],
                    "routetype": "CONNECTED",
                }
            )
        return found

    def shown(self, running: Running, row: Row) -> Json:
        static = row["routetype"] == "STATIC"
        return {"Static": static, "permanent": not static, "direct": not static, "dynamic": False, "state": "0"}


class Routes6(Rule):
    """route6: no host bits, a gateway on a subnet of the device (or link-local, or in a VXLAN or VLAN that is named)."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        network = IPv6Interface(str(row["network"]))
        if network.ip != network.network.network_address:
            raise Refusal(985, row["network"])
        gateway = IPv6Address(str(row["gateway"]))
        placed = gateway.is_link_local or "vxlan" in row or "vlan" in row
        if not placed and not any(gateway in subnet for subnet in _subnets6(running)):
            raise Refusal(986, gateway)
        return {**row, "routetype": "STATIC"}


class Vxlans(Rule):
    """vxlan: one VLAN is extended by one VXLAN; bindings go with it, neighbors and bridge entries keep it."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        if "vlan" in row and running.find("vxlan", vlan=row["vlan"]):
            raise Refusal(2615, row["vlan"])
        return row

    def updating(self, running: Running, before: Row, row: Row) -> Row:
        if "vlan" in row and any(other["id"] != row["id"] for other in running.find("vxlan", vlan=row["vlan"])):
            raise Refusal(2615, row["vlan"])
        return row

    def removing(self, running: Running, row: Row) -> None:
        unused(running, _VXLAN_USERS, row["id"])

    def removed(self, running: Running, row: Row) -> None:
        for name in ("vxlan_srcip_binding", "vxlan_nsip_binding", "vxlan_nsip6_binding"):
            drop(running, kind(name), id=row["id"])


class VxlanBindings(Rule):
    """vxlan_*_binding: both ends exist, and an address lies in one VXLAN."""

    def __init__(self, field: str, *, alone: bool) -> None:
        """Make the rule; ``alone`` says that an address may be bound once only."""
        self._field = field
        self._alone = alone

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        if running.row("vxlan", row["id"]) is None:
            raise Refusal(2614, row["id"])
        address = str(row[self._field])
        if ":" in address:
            if not any(str(r["ipv6address"]).startswith(f"{address}/") for r in running.table("nsip6").values()):
                raise Refusal(258, self._field, address)
            return row
        own = there(running, "nsip", "ipaddress", address, said=self._field)
        if self._alone:
            unused(
                running, (("vxlan_nsip_binding", "ipaddress"), ("vlan_nsip_binding", "ipaddress")), address, code=2407
            )
            given = row.setdefault("netmask", own["netmask"])
            if given != own["netmask"]:
                raise Refusal(1111, given)
        return row


class VxlanAddresses6(Rule):
    """vxlan_nsip6_binding: both ends exist; the address is spelled with its prefix, as in nsip6."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        if running.row("vxlan", row["id"]) is None:
            raise Refusal(2614, row["id"])
        there(running, "nsip6", "ipv6address", row["ipaddress"], said="ipaddress")
        unused(running, (("vxlan_nsip6_binding", "ipaddress"),), row["ipaddress"], code=2407)
        return row


class VlanAddresses(Rule):
    """vlan_nsip_binding: both ends exist, and an address lies in one segment."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        there(running, "vlan", "id", row["id"])
        own = there(running, "nsip", "ipaddress", row["ipaddress"])
        unused(
            running,
            (("vxlan_nsip_binding", "ipaddress"), ("vlan_nsip_binding", "ipaddress")),
            row["ipaddress"],
            code=2407,
        )
        row.setdefault("netmask", own["netmask"])
        return row


class Vlans(Rule):
    """vlan: what a VXLAN extends stays; bindings go with it."""

    def removing(self, running: Running, row: Row) -> None:
        unused(running, (("vxlan", "vlan"),), row["id"])

    def removed(self, running: Running, row: Row) -> None:
        for name in ("vlan_nsip_binding", "vlan_interface_binding"):
            drop(running, kind(name), id=row["id"])


class IpSets(Rule):
    """ipset: a net profile keeps it; members go with it."""

    def removing(self, running: Running, row: Row) -> None:
        unused(running, (("netprofile", "srcip"),), row["name"])

    def removed(self, running: Running, row: Row) -> None:
        for name in ("ipset_nsip_binding", "ipset_nsip6_binding"):
            drop(running, kind(name), name=row["name"])


class IpSetMembers(Rule):
    """ipset_nsip_binding: both ends exist."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        there(running, "ipset", "name", row["name"])
        if kind.name == "ipset_nsip_binding":
            there(running, "nsip", "ipaddress", row["ipaddress"])
        elif not any(
            str(other["ipv6address"]).startswith(f"{row['ipaddress']}/") for other in running.table("nsip6").values()
        ):
            raise Refusal(258, "ipaddress", row["ipaddress"])
        return row


class NetProfiles(Rule):
    """netprofile: its source is an address of the device or a set of them; virtual servers and groups keep it."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        source = row.get("srcip")
        if source and not (
            running.find("nsip", ipaddress=source)
            or any(str(other["ipv6address"]).startswith(f"{source}/") for other in running.table("nsip6").values())
            or running.find("ipset", name=source)
        ):
            raise Refusal(258, "srcip", source)
        return row

    def updating(self, running: Running, before: Row, row: Row) -> Row:
        return self.adding(running, kind("netprofile"), row)

    def removing(self, running: Running, row: Row) -> None:
        unused(running, (("lbvserver", "netprofile"), ("servicegroup", "netprofile")), row["name"])


class PolicyRoutes(Rule):
    """nspbr: ALLOW needs a next hop or a tunnel; numbered by tens; in force only as last applied."""

    def __init__(self, name: str) -> None:
        """Make the rule of ``nspbr`` or ``nspbr6``."""
        self._name = name

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        if row.get("action") == "ALLOW" and not (
            row.get("nexthop") or row.get("iptunnel") or row.get("vxlanvlanmap")
        ):
            raise Refusal(1093, "action", "nextHop")
        for flag, value in (("srcip", "srcipval"), ("destip", "destipval"), ("nexthop", "nexthopval")):
            if self._name == "nspbr" and row.get(flag) is True and value not in row:
                raise Refusal(1095, value)
        if "vxlan" in row and running.row("vxlan", row["vxlan"]) is None:
            raise Refusal(2614, row["vxlan"])
        if "priority" in row:
            if any(other["name"] != row["name"] for other in running.find(self._name, priority=row["priority"])):
                raise Refusal(273, "priority", row["priority"])
        else:
            taken = [int(other["priority"]) for other in running.table(self._name).values()]  # type: ignore[arg-type]
            row["priority"] = max(taken, default=0) + 10
        return row

    def updating(self, running: Running, before: Row, row: Row) -> Row:
        return self.adding(running, kind(self._name), row)

    def shown(self, running: Running, row: Row) -> Json:
        applied = running.applied.get(self._name, {}).get((row["name"],)) == row
        return {"kernelstate": "APPLIED" if applied else "NOTAPPLIED", "hits": "0", "curstate": "1"}


def apply(running: Running, name: str) -> None:
    """Put the policy routes in force as they are configured now."""
    before = running.applied.get(name, {})
    running.applied[name] = dict(running.table(name))

    def undo() -> None:
        running.applied[name] = before

    running.changed(undo)


def renumber(running: Running, name: str) -> None:
    """Number the policy routes anew, by tens, in their order."""
    rows = sorted(running.table(name).values(), key=lambda row: int(row["priority"]))  # type: ignore[arg-type]
    for place, row in enumerate(rows, 1):
        running.put(kind(name), {**row, "priority": place * 10})


RULES: dict[str, Rule] = {
    "arp": Neighbors(),
    "bridgetable": Bridges(),
    "ipset": IpSets(),
    "ipset_nsip6_binding": IpSetMembers(),
    "ipset_nsip_binding": IpSetMembers(),
    "nd6": Neighbors(),
    "netprofile": NetProfiles(),
    "nsip": Addresses(),
    "nsip6": Addresses6(),
    "nspbr": PolicyRoutes("nspbr"),
    "nspbr6": PolicyRoutes("nspbr6"),
    "route": Routes(),
    "route6": Routes6(),
    "vlan": Vlans(),
    "vlan_nsip_binding": VlanAddresses(),
    "vxlan": Vxlans(),
    "vxlan_nsip6_binding": VxlanAddresses6(),
    "vxlan_nsip_binding": VxlanBindings("ipaddress", alone=True),
    "vxlan_srcip_binding": VxlanBindings("srcip", alone=False),
}
