"""The requests of the vendor's node controller, in its order, are understood as that program needs it."""

from __future__ import annotations

import pytest

from lab.nitro.talking import DONE, Nitro

HEADERS = {"X-Nitro-User": "nsroot", "X-Nitro-Pass": "nsroot"}  # in the case in which Go sends them


async def test_overlay_from_first_to_last(nitro: Nitro) -> None:
    """VXLAN, source, SNIP, a route and a neighbor for each node; then all of it away again."""
    await nitro.made("nsip", ipaddress="10.0.0.50", netmask="255.255.255.0")
    for kind, fields in (
        ("vxlan", {"id": 200, "port": 8466}),
        ("vxlan_srcip_binding", {"id": 200, "srcip": "10.0.0.50"}),
        ("nsip", {"ipaddress": "192.168.253.1", "netmask": "255.255.255.0"}),
        ("route", {"network": "10.244.1.0", "gateway": "192.168.253.2", "netmask": "255.255.255.0"}),
        ("arp", {"ipaddress": "192.168.253.2", "mac": "0E:3C:00:00:00:01", "vxlan": "200", "vtep": "10.0.0.11"}),
    ):
        reply = await nitro.call("POST", kind, {kind: fields}, HEADERS)
        assert (reply.line, reply.text) == ("201 Created", DONE), kind
    [neighbor] = await nitro.get("arp?args=Ipaddress:192.168.253.2")
    assert (neighbor["mac"], neighbor["vxlan"], neighbor["vtep"]) == ("0e:3c:00:00:00:01", "200", "10.0.0.11")
    route = "route?args=gateway:192.168.253.2,network:10.244.1.0,netmask:255.255.255.0"
    assert len(await nitro.get(route)) == 1
    for path in (route, "arp?args=Ipaddress:192.168.253.2", "vxlan?args=id:200", "nsip?args=ipaddress:192.168.253.1"):
        reply = await nitro.call("DELETE", path, None, HEADERS)
        assert (reply.line, reply.text) == ("200 OK", DONE), path
        assert await nitro.get(path) == []
    assert (await nitro.call("GET", "vxlan_srcip_binding?bulkbindings=yes")).text == DONE


async def test_bridge_table_of_later_versions(nitro: Nitro) -> None:
    """An address in the VXLAN and an all-zero entry for each node; read back as strings."""
    await nitro.made("vxlan", id=200, port=8466)
    await nitro.made("nsip", ipaddress="192.168.253.1", netmask="255.255.255.0")
    await nitro.made("vxlan_nsip_binding", id=200, ipaddress="192.168.253.1", netmask="255.255.255.0")
    for host in ("10.0.0.11", "10.0.0.12"):
        await nitro.made("bridgetable", mac="00:00:00:00:00:00", vxlan=200, vtep=host)
    rows = await nitro.get("bridgetable")
    assert [(row["mac"], row["vxlan"], row["vtep"]) for row in rows] == [
        ("00:00:00:00:00:00", "200", "10.0.0.11"),
        ("00:00:00:00:00:00", "200", "10.0.0.12"),
    ]
    gone = "bridgetable?args=mac:00%3A00%3A00%3A00%3A00%3A00,vxlan:200,vtep:10.0.0.11"
    assert (await nitro.call("DELETE", gone)).line == "200 OK"
    assert [row["vtep"] for row in await nitro.get("bridgetable")] == ["10.0.0.12"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"network": "10.244.1.5", "netmask": "255.255.255.0", "gateway": "10.0.0.11"}, 985),
        ({"network": "10.244.1.0", "netmask": "255.255.255.0", "gateway": "172.16.0.1"}, 986),
        ({"network": "10.244.1.0", "netmask": "255.0.255.0", "gateway": "10.0.0.11"}, 1111),
        ({"network": "10.244.1.0", "netmask": "", "gateway": "10.0.0.11"}, 1111),
        ({"network": "10.244.1", "netmask": "255.255.255.0", "gateway": "10.0.0.11"}, 1110),
        ({"network": "10.244.1.0", "gateway": "10.0.0.11"}, 1095),
        ({"network": "10.0.0.0", "netmask": "255.255.255.0", "gateway": "10.0.0.11"}, 273),
    ],
)
async def test_bad_routes_are_refused(nitro: Nitro, fields: dict[str, str], code: int) -> None:
    """Host bits, an empty or holed mask, a gateway out of reach, and the network of one's own: nothing is added."""
    await nitro.made("nsip", ipaddress="10.0.0.50", netmask="255.255.255.0")
    before = await nitro.get("route")
    assert (await nitro.add("route", **fields)).code == code
    assert await nitro.get("route") == before
