"""What a URL can ask for."""

from __future__ import annotations

from typing import Any

import pytest

from lab.nitro.talking import DONE, Nitro

MEMBER = "servicegroup_servicegroupmember_binding"
LIST = "servicegroup_servicegroupmemberlist_binding"


@pytest.fixture
async def vxlans(nitro: Nitro) -> Nitro:
    for number in (100, 101, 200):
        await nitro.made("vxlan", id=number, port=4789 + number)
    return nitro


CASES: list[tuple[str, Any]] = [
    ("vxlan?attrs=id", [{"id": "100"}, {"id": "101"}, {"id": "200"}]),
    ("vxlan/200?attrs=id,port", [{"id": "200", "port": 4989}]),
    ("vxlan?args=ID:101&attrs=id", [{"id": "101"}]),
    ("vxlan?args=id%3A101&attrs=id", [{"id": "101"}]),
    ("vxlan?filter=port:4889&attrs=id", [{"id": "100"}]),
    ("vxlan?filter=id:10.&attrs=id", [{"id": "100"}, {"id": "101"}]),
    ("vxlan?filter=id:/0$/,type:/vxlan/i&attrs=id", [{"id": "100"}, {"id": "200"}]),
    ("vxlan?filter=id:[&attrs=id", []),
    ("vxlan?count=yes", [{"__count": 3}]),
    ("vxlan?count=yes&filter=id:10.", [{"__count": 2}]),
    ("vxlan?pagesize=2&pageno=2&attrs=id", [{"id": "200"}]),
    ("vxlan?pagesize=2&pageno=3", []),
    (
        "vxlan?view=summary",
        [{"id": "100", "type": "VXLAN"}, {"id": "101", "type": "VXLAN"}, {"id": "200", "type": "VXLAN"}],
    ),
]


@pytest.mark.parametrize(("path", "shown"), CASES, ids=[path for path, _ in CASES])
async def test_reading(vxlans: Nitro, path: str, shown: Any) -> None:
    """args, filter, attrs, count, pages and view each show what they choose."""
    assert await vxlans.get(path) == shown


@pytest.mark.parametrize("query", ["args=id:", "args=id", "filter=:5", "pagesize=x", "pageno=0"])
async def test_a_query_that_cannot_be_read(nitro: Nitro, query: str) -> None:
    """It is the PHP layer that refuses it: 599, code -1, compact."""
    reply = await nitro.call("GET", f"vxlan?{query}")
    assert (reply.line, reply.code) == ("599 Netscaler specific error", -1)
    assert ", " not in reply.text


async def test_ids_that_are_encoded_twice(nitro: Nitro) -> None:
    """An id with a slash in it is found when it is encoded once or twice."""
    name = "set a/1:x,y"
    await nitro.made("policypatset", name=name)
    for path in ("policypatset/set%20a%2F1%3Ax%2Cy", "policypatset/set%2520a%252F1%253Ax%252Cy"):
        assert [row["name"] for row in await nitro.get(path)] == [name]
    await nitro.made("policypatset_pattern_binding", name=name, string="k=v")
    path = "policypatset_pattern_binding/set%2520a%252F1%253Ax%252Cy?args=string:k%3Dv"
    assert [row["index"] for row in await nitro.get(path)] == ["1"]
    assert (await nitro.call("DELETE", path)).text == DONE
    assert await nitro.get("policypatset_pattern_binding/set%2520a%252F1%253Ax%252Cy") == []


@pytest.mark.parametrize(
    ("method", "path", "body", "line", "code"),
    [
        ("GET", "nothing", None, "400 Bad Request", 1232),
        ("POST", "vxlan", "{", "400 Bad Request", 1233),
        ("POST", "vxlan", "[]", "400 Bad Request", 1233),
        ("POST", "vxlan", {"nsip": {}}, "400 Bad Request", 1232),
        ("POST", "vxlan", {"vxlan": 5}, "400 Bad Request", 1233),
        ("POST", "vxlan", {"vxlan": {}}, "400 Bad Request", 1095),
        ("POST", "vxlan", {"vxlan": {"id": 16777216}}, "400 Bad Request", 1108),
        ("POST", "vxlan", {"vxlan": {"id": 0}}, "400 Bad Request", 1109),
        ("POST", "vxlan", {"vxlan": {"id": "x"}}, "400 Bad Request", 1097),
        ("POST", "vxlan", {"vxlan": {"id": 1, "type": "GRE"}}, "400 Bad Request", 1097),
        ("POST", "vxlan?action=explode", {"vxlan": {"id": 1}}, "400 Bad Request", 1240),
        ("PUT", "vxlan", {"vxlan": {"id": 1, "port": 5}}, "404 Not Found", 258),
        ("DELETE", "vxlan/1", None, "404 Not Found", 258),
        ("DELETE", "vxlan", None, "400 Bad Request", 1095),
        ("POST", "nsversion", {"nsversion": {}}, "405 Method Not Allowed", 1240),
        ("PUT", "arp", {"arp": {"ipaddress": "10.1.1.1"}}, "405 Method Not Allowed", 1240),
        ("DELETE", f"{MEMBER}?args=servername:a", None, "400 Bad Request", 1095),
        ("PUT", LIST, {LIST: None}, "400 Bad Request", 1233),
        ("PUT", LIST, {LIST: []}, "201 Created", 0),
        ("PATCH", "vxlan", {"vxlan": {}}, "405 Method Not Allowed", 1240),
    ],
)
async def test_what_cannot_be_done(nitro: Nitro, method: str, path: str, body: Any, line: str, code: int) -> None:
    """Each has its status line and code, and leaves nothing behind; an empty list asks for nothing."""
    reply = await nitro.call(method, path, body)
    assert (reply.line, reply.code) == (line, code), reply.text
    assert await nitro.get("vxlan") == []


async def test_idempotent_adds(nitro: Nitro) -> None:
    """``idempotent=yes`` adds or updates, leaves what is not given alone, and refuses what no update can change."""
    path = "vxlan?idempotent=yes"
    assert (await nitro.call("POST", path, {"vxlan": {"id": 7, "port": 8472, "vlan": 70}})).line == "200 OK"
    assert (await nitro.call("POST", path, {"vxlan": {"id": 7, "port": 4789}})).line == "200 OK"
    [row] = await nitro.get("vxlan/7")
    assert (row["port"], row["vlan"]) == (4789, "70")
    reply = await nitro.call("POST", path, {"vxlan": {"id": 7, "type": "VXLANGPE"}})
    assert (reply.code, reply.json["message"]) == (278, "Invalid argument [type]")


async def test_updates(nitro: Nitro) -> None:
    """An update changes what it names; what is immutable has no place in it; unset goes back to the default."""
    await nitro.made("vxlan", id=7, port=8472, vlan=70)
    assert (await nitro.call("PUT", "vxlan", {"vxlan": {"id": "7", "port": 9000}})).line == "200 OK"
    assert (await nitro.get("vxlan/7"))[0]["port"] == 9000
    assert (await nitro.call("PUT", "vxlan", {"vxlan": {"id": 7, "type": "VXLAN"}})).code == 278
    assert (await nitro.call("PUT", "vxlan", {"vxlan": {"id": 7}})).code == 431
    unset = {"vxlan": {"id": 7, "port": True, "vlan": True}}
    assert (await nitro.call("POST", "vxlan?action=unset", unset)).line == "200 OK"
    [row] = await nitro.get("vxlan/7")
    assert row["port"] == 4789
    assert "vlan" not in row
