"""NITRO's objects as values: what identifies one, what of it is ours to set, and in which order kinds come and go.

A resource of ours is one or several objects (``shapes`` says which). Reading turns rows into objects, writing is the
difference between the objects that stand and those that should. The one confusing thing: ``rank`` orders what is made and
``gone`` what is removed; they are not each other's reverse, for some objects take others along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from isthmus.drivers.netscaler.canon import Unreadable, spell, text_of
from isthmus.drivers.netscaler.nitro import Row

__all__ = ["KINDS", "Kind", "Obj", "make", "read"]


class Obj(NamedTuple):
    """One object: what names it, and what of it we set, both as text in the order of its kind's fields."""

    kind: str
    key: tuple[str, ...]
    values: tuple[str, ...] = ()

    def get(self, name: str) -> str:
        """Return a field by its name."""
        of = KINDS[self.kind]
        if name in of.key:
            return self.key[of.key.index(name)]
        return self.values[of.values.index(name)]

    def named(self) -> Row:
        """Return the row that tells the device which object is meant."""
        of = KINDS[self.kind]
        return {name: _sent(of, name, text) for name, text in zip(of.key, self.key, strict=True)}

    def row(self) -> Row:
        """Return the row that makes the object."""
        of = KINDS[self.kind]
        row = self.named()
        for name, text in zip(of.values, self.values, strict=True):
            if text and name not in of.told:
                row[name] = _sent(of, name, text)
                row |= of.flags.get(name, {})
        return {**row, **of.always}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object.

    ``swap``: a new value needs the old object out of the way first. ``fixed`` are values that only a new object can have.
    ``told`` are values that are not written as fields (by actions, or by the device itself). ``flags`` go along with a value.
    """

    key: tuple[str, ...]
    values: tuple[str, ...] = ()
    rank: int = 0
    gone: int = 0
    swap: bool = False
    fixed: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    flags: Mapping[str, Row] = field(default_factory=dict)
    always: Row = field(default_factory=dict)
    within: tuple[str, ...] = ()
    """Kinds whose removal takes this one along."""


_MEMBER = "servicegroup_servicegroupmember_binding"
_PBR_FLAGS: dict[str, Row] = {
    "srcipval": {"srcip": True, "srcipop": "="},
    "destipval": {"destip": True, "destipop": "="},
    "nexthopval": {"nexthop": True},
    "iptunnelname": {"iptunnel": True},
}
_PBR6_FLAGS: dict[str, Row] = {
    "srcipv6val": {"srcipv6": True, "srcipop": "="},
    "destipv6val": {"destipv6": True, "destipop": "="},
    "nexthopval": {"nexthop": True},
}

KINDS: dict[str, Kind] = {
    "vxlan": Kind(("id",), ("port",), rank=0, gone=30, numbers=frozenset({"id", "port"})),
    "vxlan_srcip_binding": Kind(
        ("id", "srcip"), rank=1, gone=20, swap=True, numbers=frozenset({"id"}), within=("vxlan",)
    ),
    "iptunnel": Kind(
        ("name",),
        ("remote", "local"),
        rank=2,
        gone=10,
        swap=True,
        fixed=frozenset({"remote", "local"}),
        always={"remotesubnetmask": "255.255.255.255", "protocol": "IPIP"},
    ),
    "nsip": Kind(
        ("ipaddress",),
        ("netmask", "type", "arp", "state"),
        rank=50,
        gone=20,
        fixed=frozenset({"type"}),
        told=frozenset({"state"}),
    ),
    "nsip6": Kind(("ipv6address",), ("type", "nd"), rank=50, gone=20, swap=True, fixed=frozenset({"type"})),
    "vxlan_nsip_binding": Kind(
        ("id", "ipaddress", "netmask"), rank=60, gone=10, swap=True, numbers=frozenset({"id"}), within=("vxlan",)
    ),
    "vxlan_nsip6_binding": Kind(  # its address is spelled with the prefix length, as in nsip6
        ("id", "ipaddress"), rank=60, gone=10, swap=True, numbers=frozenset({"id"}), within=("vxlan",)
    ),
    "bridgetable": Kind(("mac", "vxlan", "vtep"), rank=10, gone=10, swap=True, numbers=frozenset({"vxlan"})),
    "arp": Kind(
        ("ipaddress",),
        ("mac", "vxlan", "vtep"),
        rank=11,
        gone=11,
        swap=True,
        fixed=frozenset({"mac", "vxlan", "vtep"}),
        numbers=frozenset({"vxlan"}),
    ),
    "nd6": Kind(
        ("neighbor",),
        ("mac", "vxlan", "vtep"),
        rank=12,
        gone=12,
        swap=True,
        fixed=frozenset({"mac", "vxlan", "vtep"}),
        numbers=frozenset({"vxlan"}),
    ),
    "route": Kind(("network", "netmask", "gateway"), rank=10, gone=10),
    "route6": Kind(("network", "gateway"), rank=11, gone=11),
    "nspbr": Kind(
        ("name",),
        ("srcipval", "destipval", "nexthopval", "iptunnelname", "kernelstate"),
        rank=20,
        gone=20,
        told=frozenset({"kernelstate"}),
        flags=_PBR_FLAGS,
        always={"action": "ALLOW"},
    ),
    "nspbr6": Kind(
        ("name",),
        ("srcipv6val", "destipv6val", "nexthopval", "kernelstate"),
        rank=21,
        gone=21,
        told=frozenset({"kernelstate"}),
        flags=_PBR6_FLAGS,
        always={"action": "ALLOW"},
    ),
    "netprofile": Kind(("name",), ("srcip",), rank=10, gone=10),
    "servicegroup": Kind(
        ("servicegroupname",),
        ("servicetype", "usip", "netprofile", "state"),
        rank=10,
        gone=30,
        fixed=frozenset({"servicetype"}),
        told=frozenset({"state"}),
    ),
    _MEMBER: Kind(
        ("servicegroupname", "ip", "port"),
        ("weight", "state"),
        rank=20,
        gone=5,
        fixed=frozenset({"weight"}),
        told=frozenset({"state"}),
        numbers=frozenset({"port", "weight"}),
        within=("servicegroup",),
    ),
    "servicegroup_lbmonitor_binding": Kind(
        ("servicegroupname", "monitor_name"), rank=15, gone=6, within=("servicegroup",)
    ),
    "lbvserver": Kind(
        ("name",),
        ("servicetype", "ipv46", "port", "lbmethod", "netprofile", "state"),
        rank=30,
        gone=10,
        fixed=frozenset({"servicetype", "ipv46", "port"}),
        told=frozenset({"state"}),
        numbers=frozenset({"port"}),
    ),
    "lbvserver_servicegroup_binding": Kind(
        ("name", "servicegroupname"), rank=40, gone=8, within=("lbvserver", "servicegroup")
    ),
}


def _sent(of: Kind, name: str, text: str) -> str | int:
    return int(text) if name in of.numbers else text


def make(kind: str, **fields: object) -> Obj:
    """Return an object from values of ours; what is not given is empty."""
    of = KINDS[kind]
    texts = {name: str(value) for name, value in fields.items()}
    return Obj(kind, tuple(texts[name] for name in of.key), tuple(texts.get(name, "") for name in of.values))


def read(kind: str, row: Row) -> Obj:
    """Return a row as an object; raise ``Unreadable`` where what names it does not read.

    A value that does not read is kept as it came: it equals nothing that we would write, so it is put right.
    """
    of = KINDS[kind]
    key = tuple(spell(kind, name, text_of(row, name)) for name in of.key)
    if not all(key):
        raise Unreadable(f"{kind} without {of.key[key.index('')]}")
    return Obj(kind, key, tuple(_value(kind, name, row) for name in of.values))


_DEFAULTS = {
    "arp": "ENABLED",
    "nd": "ENABLED",
    "port": "4789",
    "state": "ENABLED",
    "usip": "NO",
    "weight": "1",
}
"""What a value is that a device leaves out."""
_SWITCHED = ("servicegroup", "lbvserver")
"""What can be switched off by order; a device says so in one of two fields, and in both of them other things as well."""


def _value(kind: str, name: str, row: Row) -> str:
    if name == "state" and kind in _SWITCHED:
        off = text_of(row, name).upper() == "DISABLED" or text_of(row, "curstate").upper() == "OUT OF SERVICE"
        return "DISABLED" if off else "ENABLED"
    try:
        text = text_of(row, name) or _DEFAULTS.get(name, "")
        return spell(kind, name, text)
    except Unreadable:
        return "unreadable"


def by_key(objects: Iterable[Obj]) -> dict[tuple[str, tuple[str, ...]], Obj]:
    """Return objects by what names them."""
    return {(obj.kind, obj.key): obj for obj in objects}
