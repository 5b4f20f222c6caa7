"""What identifies the objects that we remove: the key in the path, and the arguments behind it.

Source: ``nitro_schema.json`` (the vendor's 2024+ map: primary key and DELETE arguments) for the kinds that the driver writes;
vxlan_nsip6_binding as the vendor's Terraform provider has it. What a row holds besides is left out of a removal.
``all`` of ``arp`` is no argument here: it would remove everybody's.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.drivers.netscaler.nitro.results import Row

__all__ = ["Identity", "identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Key of a kind ("" where it has none) and the arguments that tell one object from another."""

    key: str
    args: tuple[str, ...] = ()

    def of(self, row: Row) -> tuple[str | None, dict[str, str]]:
        """Return what goes into the path and what goes into ``args``; raise ValueError where the key is missing."""
        said = self.row(row)
        if self.key and self.key not in said:
            raise ValueError(f"a row without its {self.key} cannot be removed")
        args = {name: _text(said[name]) for name in self.args if name in said}
        if not self.key and not args:
            raise ValueError("a row without anything that identifies it cannot be removed")
        return _text(said[self.key]) if self.key else None, args

    def row(self, row: Row) -> Row:
        """Return what of ``row`` identifies it, as the bulk form wants it; some keys are read back in another case."""
        lower = {name.lower(): value for name, value in row.items()}
        names = (self.key, *self.args) if self.key else self.args
        return {name: lower[name] for name in names if lower.get(name) not in (None, "")}


_KINDS = {
    "arp": Identity("ipaddress", ("ownernode", "td")),
    "bridgetable": Identity("", ("mac", "vxlan", "vtep", "devicevlan")),
    "iptunnel": Identity("name"),
    "ipset": Identity("name"),
    "ipset_nsip_binding": Identity("name", ("ipaddress",)),
    "ipset_nsip6_binding": Identity("name", ("ipaddress",)),
    "lbmonitor": Identity("monitorname", ("type",)),
    "lbvserver": Identity("name"),
    "lbvserver_servicegroup_binding": Identity("name", ("servicegroupname", "servicename")),
    "nd6": Identity("neighbor", ("vlan", "vxlan", "td")),
    "netprofile": Identity("name"),
    "nsip": Identity("ipaddress", ("td",)),
    "nsip6": Identity("ipv6address", ("td",)),
    "nspbr": Identity("name"),
    "nspbr6": Identity("name"),
    "policypatset": Identity("name"),
    "policypatset_pattern_binding": Identity("name", ("string",)),
    "route": Identity("network", ("netmask", "gateway", "vlan", "td", "ownergroup")),
    "route6": Identity("network", ("gateway", "vlan", "vxlan", "td", "ownergroup")),
    "server": Identity("name"),
    "servicegroup": Identity("servicegroupname"),
    "servicegroup_lbmonitor_binding": Identity("servicegroupname", ("monitor_name",)),
    "servicegroup_servicegroupmember_binding": Identity("servicegroupname", ("ip", "servername", "port")),
    "vxlan": Identity("id"),
    "vxlan_nsip_binding": Identity("id", ("ipaddress", "netmask")),
    "vxlan_nsip6_binding": Identity("id", ("ipaddress", "netmask")),
    "vxlan_srcip_binding": Identity("id", ("srcip",)),
}


def identity(kind: str) -> Identity:
    """Return how objects of ``kind`` are told apart; raise ValueError for one that we never remove."""
    try:
        return _KINDS[kind]
    except KeyError:
        raise ValueError(f"nobody has said what identifies {kind}") from None


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
