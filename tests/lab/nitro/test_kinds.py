"""Every kind that can be added is added, read back, counted and removed."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.lab.nitro import Refusal
from isthmus.lab.nitro.kinds import Field, kinds
from isthmus.lab.nitro.writing import compact, spaced
from lab.nitro.talking import DONE, Nitro

MAC = "0a:00:00:00:00:01"
# kind -> what it is made of, what removes it, and what is read back of it
CASES: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "arp": ({"ipaddress": "10.1.0.9", "mac": MAC, "ifnum": "1/1"}, "10.1.0.9", {"mac": MAC, "type": "STATIC"}),
    "bridgetable": (
        {"mac": MAC, "vxlan": "200", "vtep": "10.0.0.9"},
        f"?args=mac:{MAC},vxlan:200,vtep:10.0.0.9",
        {"vxlan": "200", "bridgeage": "300"},
    ),
    "ipset": ({"name": "t"}, "t", {"td": "0"}),
    "ipset_nsip6_binding": ({"name": "s", "ipaddress": "2001:db8::1"}, "s?args=ipaddress:2001:db8::1", {"name": "s"}),
    "ipset_nsip_binding": ({"name": "s", "ipaddress": "10.1.0.1"}, "s?args=ipaddress:10.1.0.1", {"name": "s"}),
    "iptunnel": (
        {"name": "t", "remote": "10.0.0.9", "remotesubnetmask": "255.255.255.255", "local": "10.1.0.1"},
        "t",
        {"protocol": "IPIP"},
    ),
    "lbmonitor": ({"monitorname": "m2", "type": "HTTP"}, "m2?args=type:HTTP", {"interval": 5, "retries": 3}),
    "lbvserver": (
        {"name": "w", "servicetype": "HTTP", "ipv46": "203.0.113.9", "port": 80},
        "w",
        {"port": 80, "m": "IP"},
    ),
    "lbvserver_servicegroup_binding": (
        {"name": "v", "servicegroupname": "sg"},
        "v?args=servicegroupname:sg",
        {"servicegroupname": "sg"},
    ),
    "nd6": ({"neighbor": "2001:db8::9", "mac": MAC}, "2001:db8::9", {"mac": MAC}),
    "netprofile": ({"name": "n", "srcip": "10.1.0.1"}, "n", {"srcip": "10.1.0.1", "td": "0"}),
    "nsip": ({"ipaddress": "10.2.0.1", "netmask": "255.255.255.0"}, "10.2.0.1", {"type": "SNIP", "flags": "40"}),
    "nsip6": ({"ipv6address": "2001:db8:2::1/64"}, "2001:db8:2::1%252F64", {"td": "0"}),
    "nspbr": (
        {"name": "p", "action": "ALLOW", "nexthop": True, "nexthopval": "10.1.0.9"},
        "p",
        {"nexthop": True, "priority": "10", "kernelstate": "NOTAPPLIED"},
    ),
    "nspbr6": (
        {"name": "p", "action": "ALLOW", "nexthop": True, "nexthopval": "2001:db8::9"},
        "p",
        {"action": "ALLOW"},
    ),
    "policypatset": ({"name": "q", "comment": "ours"}, "q", {"comment": "ours"}),
    "policypatset_pattern_binding": ({"name": "ps", "string": "x"}, "ps?args=string:x", {"index": "1"}),
    "route": (
        {"network": "10.244.1.0", "netmask": "255.255.255.0", "gateway": "10.1.0.9"},
        "10.244.1.0?args=netmask:255.255.255.0,gateway:10.1.0.9",
        {"distance": "1", "weight": "1", "routetype": "STATIC"},
    ),
    "route6": (
        {"network": "2001:db8:9::/64", "gateway": "2001:db8::9"},
        "2001:db8:9::%252F64?args=gateway:2001:db8::9",
        {"routetype": "STATIC"},
    ),
    "server": ({"name": "b", "ipaddress": "10.1.0.8"}, "b", {"ipaddress": "10.1.0.8", "state": "ENABLED"}),
    "servicegroup": ({"servicegroupname": "h", "servicetype": "TCP"}, "h", {"cip": "DISABLED", "memberport": None}),
    "servicegroup_lbmonitor_binding": (
        {"servicegroupname": "sg", "monitor_name": "m"},
        "sg?args=monitor_name:m",
        {"monstate": "ENABLED", "monweight": "1"},
    ),
    "servicegroup_servicegroupmember_binding": (
        {"servicegroupname": "sg", "ip": "2001:db8::7", "port": 80},
        "sg?args=ip:2001:db8::7,port:80",
        {"servername": "2001:db8::7", "port": 80, "weight": "1", "svrstate": "DOWN"},
    ),
    "vlan": ({"id": 70}, "70", {"sharing": "DISABLED"}),
    "vlan_interface_binding": ({"id": 60, "ifnum": "1/1", "tagged": True}, "60?args=ifnum:1%252F1", {"tagged": True}),
    "vlan_nsip_binding": (
        {"id": 60, "ipaddress": "10.1.0.1"},
        "60?args=ipaddress:10.1.0.1",
        {"netmask": "255.255.255.0"},
    ),
    "vxlan": ({"id": 5}, "5", {"port": 4789, "type": "VXLAN"}),
    "vxlan_nsip6_binding": (
        {"id": 200, "ipaddress": "2001:db8::1/64"},
        "200?args=ipaddress:2001:db8::1%252F64",
        {"ipaddress": "2001:db8::1/64"},
    ),
    "vxlan_nsip_binding": (
        {"id": 200, "ipaddress": "10.1.0.1"},
        "200?args=ipaddress:10.1.0.1",
        {"netmask": "255.255.255.0"},
    ),
    "vxlan_srcip_binding": ({"id": 200, "srcip": "10.1.0.1"}, "200?args=srcip:10.1.0.1", {"id": "200"}),
}
BASE = (
    ("nsip", {"ipaddress": "10.1.0.1", "netmask": "255.255.255.0"}),
    ("nsip6", {"ipv6address": "2001:db8::1/64"}),
    ("vxlan", {"id": 200}),
    ("vlan", {"id": 60}),
    ("ipset", {"name": "s"}),
    ("servicegroup", {"servicegroupname": "sg", "servicetype": "TCP"}),
    ("lbvserver", {"name": "v", "servicetype": "TCP"}),
    ("lbmonitor", {"monitorname": "m", "type": "TCP"}),
    ("policypatset", {"name": "ps"}),
)


def test_no_kind_is_left_out() -> None:
    """Each kind that can be added has its case, but the nodes of a pair, which are made when it is started."""
    assert {name for name, of in kinds().items() if "add" in of.operations} - {"hanode"} == set(CASES)


@pytest.mark.parametrize("kind", sorted(CASES))
async def test_there_and_back(nitro: Nitro, kind: str) -> None:
    """It is added once, read back with its defaults, counted, and gone after the removal."""
    for other, given in BASE:
        await nitro.made(other, **given)
    fields, path, shown = CASES[kind]
    listed = f"{kind}?bulkbindings=yes"
    before = await nitro.get(listed)
    await nitro.made(kind, **fields)
    [row] = [row for row in await nitro.get(listed) if row not in before]
    assert {name: row.get(name) for name in shown} == shown
    assert await nitro.get(f"{listed}&count=yes") == [{"__count": len(before) + 1}]
    assert (await nitro.add(kind, **fields)).code in (273, 1335, 2407)
    reply = await nitro.call("DELETE", kind + ("" if path.startswith("?") else "/") + path)
    assert (reply.line, reply.text) == ("200 OK", DONE)
    assert await nitro.get(listed) == before


async def test_interfaces_are_told_with_their_macs(nitro: Nitro) -> None:
    """Interface is read under its capital letter, one or all, its loopback included; nothing of it can be changed."""
    reply = await nitro.call("GET", "Interface")
    assert [(row["id"], row["mac"]) for row in reply.json["Interface"]] == [
        ("1/1", "02:4e:53:00:00:01"),
        ("LO/1", "00:00:00:00:00:00"),
    ]
    [one] = (await nitro.call("GET", "Interface/1%252F1")).json["Interface"]
    assert (one["mac"], one["mtu"], one["state"]) == ("02:4e:53:00:00:01", "1500", "ENABLED")
    assert (await nitro.call("GET", "Interface/9%252F9")).code == 258
    assert (await nitro.call("PUT", "Interface", {"Interface": {"id": "1/1", "mtu": 9000}})).code == 1240


def test_how_bodies_are_written() -> None:
    """Spaces inside brackets behind the PHP layer, none before it; text stays what it is."""
    value = {"a": [{"b": 'x "y", {z}'}, 1, True, None], "c": [], "d": {}, "é": "ü"}
    assert spaced(value) == '{ "a": [ { "b": "x \\"y\\", {z}" }, 1, true, null ], "c": [ ], "d": { }, "é": "ü" }'
    assert compact({"a": [1, {"b": "c"}]}) == '{"a":[1,{"b":"c"}]}'


@pytest.mark.parametrize(
    ("field", "given", "kept", "shown"),
    [
        (Field("f", "dbl"), "7", 7, "7"),
        (Field("f", "dbl"), 7.0, 7, "7"),
        (Field("f", "int"), "7", 7, 7),
        (Field("f", "bool"), "true", True, True),
        (Field("f", "bool"), "NO", False, False),
        (Field("f", "str", choices=("ENABLED", "DISABLED")), "enabled", "ENABLED", "ENABLED"),
        (Field("f", "str", choices=("YES", "NO")), True, "YES", "YES"),
        (Field("f", "str", many=True), "a,b", ("a", "b"), ["a", "b"]),
        (Field("f", "str", form="mac"), "0A:00:00:00:00:01", MAC, MAC),
        (Field("f", "str", form="address"), "2001:0db8::0001", "2001:db8::1", "2001:db8::1"),
        (Field("f", "str", form="mask"), "0.0.0.0", "0.0.0.0", "0.0.0.0"),
    ],
)
def test_values(field: Field, given: Any, kept: Any, shown: Any) -> None:
    """Values are kept in one form, whatever form they come in, and shown in the device's."""
    assert field.read(given) == kept
    assert field.show(kept) == shown


@pytest.mark.parametrize(
    ("field", "given", "code"),
    [
        (Field("f", "dbl"), True, 1097),
        (Field("f", "dbl"), "1e3", 1097),
        (Field("f", "dbl"), 10**20, 1097),
        (Field("f", "int", low=1, high=9), 10, 1108),
        (Field("f", "int", low=1, high=9), 0, 1109),
        (Field("f", "bool"), "maybe", 1097),
        (Field("f", "str"), {"a": 1}, 1097),
        (Field("f", "str"), "x" * 3000, 1106),
        (Field("f", "str", form="address"), "10.1.1.300", 1110),
        (Field("f", "str", form="mask"), "255.0.255.0", 1111),
        (Field("f", "str", form="mask"), "0.0.0.255", 1111),
        (Field("f", "str", form="mask"), "24", 1111),
        (Field("f", "str", form="mac"), "0a:00", 1097),
    ],
)
def test_bad_values(field: Field, given: Any, code: int) -> None:
    """What has no such form is refused with the code for it."""
    with pytest.raises(Refusal) as refused:
        field.read(given)
    assert refused.value.code == code
