"""Addresses, segments, neighbors and policy routes, and what depends on what."""

from __future__ import annotations

from typing import Any

import pytest

from lab.nitro.talking import Nitro

SNIP = ("nsip", {"ipaddress": "10.0.0.50", "netmask": "255.255.255.0"})
VXLAN = ("vxlan", {"id": 200, "port": 8472})
PBR = {
    "name": "p",
    "action": "ALLOW",
    "srcip": True,
    "srcipval": "10.0.0.50",
    "nexthop": True,
    "nexthopval": "10.0.0.11",
}

Made = tuple[str, dict[str, Any]]

USED: list[tuple[list[Made], str, int]] = [
    ([], "nsip/192.0.2.10", 2510),
    ([SNIP, VXLAN, ("vxlan_srcip_binding", {"id": 200, "srcip": "10.0.0.50"})], "nsip/10.0.0.50", 315),
    ([SNIP, VXLAN, ("vxlan_nsip_binding", {"id": 200, "ipaddress": "10.0.0.50"})], "nsip/10.0.0.50", 315),
    ([SNIP, ("netprofile", {"name": "n", "srcip": "10.0.0.50"})], "nsip/10.0.0.50", 315),
    (
        [SNIP, ("ipset", {"name": "s"}), ("ipset_nsip_binding", {"name": "s", "ipaddress": "10.0.0.50"})],
        "nsip/10.0.0.50",
        315,
    ),
    ([("ipset", {"name": "s"}), ("netprofile", {"name": "n", "srcip": "s"})], "ipset/s", 315),
    (
        [VXLAN, ("arp", {"ipaddress": "10.9.0.1", "mac": "0a:00:00:00:00:01", "vxlan": 200, "vtep": "10.0.0.9"})],
        "vxlan/200",
        315,
    ),
    ([VXLAN, ("bridgetable", {"mac": "0a:00:00:00:00:01", "vxlan": 200, "vtep": "10.0.0.9"})], "vxlan/200", 315),
    ([("vlan", {"id": 70}), ("vxlan", {"id": 7, "vlan": 70})], "vlan/70", 315),
    ([SNIP, VXLAN], "vxlan_srcip_binding/200?args=srcip:10.0.0.50", 2612),
    ([SNIP], "route?args=network:10.0.0.0,netmask:255.255.255.0,gateway:10.0.0.50", 257),
    (
        [("netprofile", {"name": "n"}), ("lbvserver", {"name": "v", "servicetype": "TCP", "netprofile": "n"})],
        "netprofile/n",
        315,
    ),
    (
        [("lbvserver", {"name": "v", "servicetype": "TCP", "ipv46": "203.0.113.1", "port": 80})],
        "nsip/203.0.113.1",
        2407,
    ),
]


@pytest.mark.parametrize(("made", "path", "code"), USED)
async def test_what_is_in_use_stays(nitro: Nitro, made: list[Made], path: str, code: int) -> None:
    """A removal that would leave a reference behind is refused, and the object is still there."""
    for kind, fields in made:
        await nitro.made(kind, **fields)
    before = await nitro.get(path.partition("?")[0] if "binding" not in path else "vxlan_binding/200")
    assert (await nitro.call("DELETE", path)).code == code
    assert await nitro.get(path.partition("?")[0] if "binding" not in path else "vxlan_binding/200") == before


ABSENT: list[tuple[list[Made], Made, int]] = [
    ([], ("vxlan_srcip_binding", {"id": 200, "srcip": "10.0.0.50"}), 2614),
    ([VXLAN], ("vxlan_srcip_binding", {"id": 200, "srcip": "10.0.0.50"}), 258),
    ([VXLAN], ("vxlan_nsip_binding", {"id": 200, "ipaddress": "10.0.0.50"}), 258),
    ([VXLAN, SNIP], ("vxlan_nsip_binding", {"id": 200, "ipaddress": "10.0.0.50", "netmask": "255.255.0.0"}), 1111),
    ([], ("bridgetable", {"mac": "00:00:00:00:00:00", "vxlan": 5, "vtep": "10.0.0.9"}), 2614),
    ([VXLAN], ("bridgetable", {"mac": "00:00", "vxlan": 200, "vtep": "10.0.0.9"}), 1097),
    ([], ("arp", {"ipaddress": "10.9.0.1", "mac": "0a:00:00:00:00:01", "vxlan": 5, "vtep": "10.0.0.9"}), 2614),
    ([VXLAN], ("arp", {"ipaddress": "10.9.0.1", "mac": "0a:00:00:00:00:01", "vxlan": 200}), 1093),
    ([], ("arp", {"ipaddress": "10.9.0.1", "mac": "0a:00:00:00:00:01", "vtep": "10.0.0.9"}), 1093),
    ([], ("netprofile", {"name": "n", "srcip": "10.0.0.50"}), 258),
    ([("ipset", {"name": "s"})], ("ipset_nsip_binding", {"name": "s", "ipaddress": "10.0.0.50"}), 258),
    ([], ("ipset_nsip_binding", {"name": "s", "ipaddress": "192.0.2.10"}), 258),
    ([("vxlan", {"id": 1, "vlan": 70})], ("vxlan", {"id": 2, "vlan": 70}), 2615),
    ([], ("nspbr", {"name": "p", "action": "ALLOW"}), 1093),
    ([], ("nsip", {"ipaddress": "10.0.0.50"}), 1095),
    ([], ("nsip", {"ipaddress": "10.0.0.50", "netmask": "255.255.255.0", "type": "NSIP"}), 257),
    ([], ("route6", {"network": "2001:db8::1/64", "gateway": "2001:db8:1::1"}), 985),
]


@pytest.mark.parametrize(("made", "wanted", "code"), ABSENT)
async def test_what_needs_something_else(nitro: Nitro, made: list[Made], wanted: Made, code: int) -> None:
    """What refers to something that is not there is refused."""
    for kind, fields in made:
        await nitro.made(kind, **fields)
    assert (await nitro.add(wanted[0], **wanted[1])).code == code


async def test_an_object_with_all_its_bindings(nitro: Nitro) -> None:
    """``vxlan_binding`` shows what is bound, without a key where there is nothing."""
    await nitro.made(*VXLAN[:1], **VXLAN[1])
    assert await nitro.get("vxlan_binding/200") == [{"id": "200"}]
    await nitro.made(SNIP[0], **SNIP[1])
    await nitro.made("vxlan_srcip_binding", id=200, srcip="10.0.0.50")
    assert await nitro.get("vxlan_binding/200") == [
        {"id": "200", "vxlan_srcip_binding": [{"id": "200", "srcip": "10.0.0.50"}]}
    ]
    assert (await nitro.call("GET", "vxlan_srcip_binding")).code == 1095
    assert (await nitro.call("GET", "vxlan_srcip_binding/5")).code == 258


async def test_a_subnet_address_brings_a_route(nitro: Nitro) -> None:
    """The connected route comes and goes with the address, and says so."""
    await nitro.made(SNIP[0], **SNIP[1])
    connected = {(r["network"], r["gateway"]) for r in await nitro.get("route") if r["routetype"] == "CONNECTED"}
    assert connected == {("192.0.2.0", "192.0.2.10"), ("10.0.0.0", "10.0.0.50")}
    assert (await nitro.call("DELETE", "nsip/10.0.0.50")).line == "200 OK"
    assert [row["network"] for row in await nitro.get("route?args=routetype:CONNECTED")] == ["192.0.2.0"]


async def test_policy_routes_wait_for_apply(nitro: Nitro) -> None:
    """New and changed ones read NOTAPPLIED until ``nspbrs?action=apply``; they are numbered by tens."""
    await nitro.made("nspbr", **PBR)
    await nitro.made("nspbr", **{**PBR, "name": "q"})

    async def states() -> list[tuple[str, str]]:
        return [(row["priority"], row["kernelstate"]) for row in await nitro.get("nspbr")]

    assert await states() == [("10", "NOTAPPLIED"), ("20", "NOTAPPLIED")]
    assert (await nitro.call("POST", "nspbrs?action=apply", {"nspbrs": {}})).line == "200 OK"
    assert await states() == [("10", "APPLIED"), ("20", "APPLIED")]
    change = {"nspbr": {"name": "q", "nexthop": True, "nexthopval": "10.0.0.12", "priority": 15}}
    assert (await nitro.call("PUT", "nspbr", change)).line == "200 OK"
    assert await states() == [("10", "APPLIED"), ("15", "NOTAPPLIED")]
    assert (await nitro.call("POST", "nspbrs?action=renumber", {"nspbrs": {}})).line == "200 OK"
    assert [row["priority"] for row in await nitro.get("nspbr")] == ["10", "20"]


async def test_version_six(nitro: Nitro) -> None:
    """nsip6, nd6, route6 and nspbr6 are kept and read back in short form."""
    await nitro.made("nsip6", ipv6address="2001:0DB8:0::50/64")
    await nitro.made(*VXLAN[:1], **VXLAN[1])
    await nitro.made("nd6", neighbor="2001:db8::11", mac="0A:00:00:00:00:11", vxlan=200, vtep="10.0.0.11")
    await nitro.made("route6", network="2001:db8:1::/64", gateway="2001:db8::11")
    assert [row["ipv6address"] for row in await nitro.get("nsip6")] == ["2001:db8::50/64"]
    assert [row["mac"] for row in await nitro.get("nd6?args=neighbor:2001%3Adb8%3A%3A11")] == ["0a:00:00:00:00:11"]
    gone = "route6/2001%253Adb8%253A1%253A%253A%252F64?args=gateway:2001:db8::11"
    assert (await nitro.call("DELETE", gone)).line == "200 OK"
    assert await nitro.get("route6") == []
