"""What real devices were seen to print, byte for byte; the names of hosts are changed."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.lab.nitro import Appliance
from lab.nitro.talking import DONE, Nitro

NSROOT = {"login": {"username": "nsroot", "password": "nsroot"}}
GROUP = ("servicegroup", {"servicegroupname": "sg", "servicetype": "SSL"})
MEMBER = "servicegroup_servicegroupmember_binding"


async def test_login(nitro: Nitro) -> None:
    """A login is 201, its body has 328 bytes with the token in it, and two cookies come along."""
    reply = await nitro.call("POST", "login", NSROOT, {})
    token = reply.json["sessionid"]
    assert reply.line == "201 Created"
    assert reply.text == f'{{ "errorcode": 0, "message": "Done", "severity": "NONE", "sessionid": "{token}" }}'
    assert (reply.headers["Content-Length"], reply.headers["Server"]) == ("328", "Apache")
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-store, no-cache, must-revalidate, post-check=0, pre-check=0"
    assert token.startswith("##")
    assert reply.cookies == [
        "SESSID=deleted; expires=Thu, 01-Jan-1970 00:00:01 GMT; Max-Age=0; path=/",
        f"sessionid=%23%23{token[2:]}; path=/nitro/v1",
    ]


async def test_login_with_the_older_media_type(nitro: Nitro) -> None:
    """The body is empty, the token is in the cookie called NITRO_AUTH_TOKEN."""
    media = {"Content-Type": "application/vnd.com.citrix.netscaler.login+json"}
    reply = await nitro.call("POST", "login", NSROOT, media)
    assert (reply.line, reply.text) == ("201 Created", "")
    assert reply.headers["Content-Type"].startswith("text/html")
    assert reply.cookies[0].startswith("NITRO_AUTH_TOKEN=%23%23")


async def test_version(device: Appliance, nitro: Nitro) -> None:
    """The version is an object, not a list, and its mode is a string."""
    device.release = "NetScaler NS13.1: Build 53.24.nc, Date: Sep 11 2024, 10:00:00   (64-bit)"
    reply = await nitro.call("GET", "nsversion")
    assert reply.line == "200 OK"
    assert reply.text == (
        '{ "errorcode": 0, "message": "Done", "severity": "NONE", "nsversion": { "installedversion": false, '
        f'"version": "{device.release}", "mode": "1" }} }}'
    )


Step = tuple[str, str, Any]

REFUSED: list[tuple[str, list[tuple[str, dict[str, Any]]], Step, str, str]] = [
    (
        "an argument without a value",
        [],
        ("GET", "route?args=network:10.244.1.0,netmask:255.255.255.0,gateway:", None),
        "599 Netscaler specific error",
        '{"errorcode":-1,"message":"Invalid args in query parameters","severity":"ERROR"}',
    ),
    (
        "a second object of the same name",
        [("server", {"name": "10.32.158.11", "ipaddress": "10.32.158.12"})],
        ("POST", "server", {"server": {"name": "10.32.158.11", "ipaddress": "10.32.158.11"}}),
        "409 Conflict",
        '{ "errorcode": 273, "message": "Resource already exists [name, 10.32.158.11]", "severity": "ERROR" }',
    ),
    (
        "a second member: without a suffix",
        [GROUP, (MEMBER, {"servicegroupname": "sg", "ip": "10.1.1.1", "port": 80})],
        ("PUT", MEMBER, {MEMBER: {"servicegroupname": "sg", "ip": "10.1.1.1", "port": 80}}),
        "409 Conflict",
        '{ "errorcode": 273, "message": "Resource already exists", "severity": "ERROR" }',
    ),
    (
        "an object that is not there",
        [],
        ("GET", "lbvserver/x", None),
        "404 Not Found",
        '{ "errorcode": 258, "message": "No such resource [name, x]", "severity": "ERROR" }',
    ),
    (
        "a weight for a service group",
        [GROUP, ("lbvserver", {"name": "v", "servicetype": "SSL", "ipv46": "203.0.113.1", "port": 443})],
        (
            "PUT",
            "lbvserver_servicegroup_binding",
            {"lbvserver_servicegroup_binding": {"name": "v", "servicegroupname": "sg", "weight": "1"}},
        ),
        "400 Bad Request",
        '{ "errorcode": 1093, "message": "Argument pre-requisite missing [weight, serviceName]", "severity": "ERROR" }',
    ),
    (
        "an argument that an operation does not have",
        [],
        ("POST", "lbvserver", {"lbvserver": {"name": "v", "servicetype": "HTTP", "maxbandwidth": 0}}),
        "599 Netscaler specific error",
        '{ "errorcode": 278, "message": "Invalid argument [maxbandwidth]", "severity": "ERROR" }',
    ),
    (
        "a member by name and by address",
        [GROUP],
        ("PUT", MEMBER, {MEMBER: {"servicegroupname": "sg", "ip": "10.1.1.1", "servername": "a", "port": 80}}),
        "400 Bad Request",
        '{ "errorcode": 1092, "message": "Arguments cannot both be specified [serverName, IP]", "severity": "ERROR" }',
    ),
]


@pytest.mark.parametrize(
    ("made", "step", "line", "text"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
async def test_refusals(
    nitro: Nitro, made: list[tuple[str, dict[str, Any]]], step: Step, line: str, text: str
) -> None:
    """Status line, code, message and spacing are the device's."""
    for kind, fields in made:
        await nitro.made(kind, **fields)
    reply = await nitro.call(*step)
    assert (reply.line, reply.text) == (line, text)


async def test_nothing_bound_is_no_key(nitro: Nitro) -> None:
    """An object without bindings, and a filter without a match, are the envelope alone."""
    await nitro.made(*GROUP[:1], **GROUP[1])
    for path in (f"{MEMBER}/sg", "servicegroup?filter=servicegroupname:other", "arp"):
        reply = await nitro.call("GET", path)
        assert (reply.line, reply.text) == ("200 OK", DONE), path


async def test_which_numbers_are_strings(nitro: Nitro) -> None:
    """A group shows td, weight and flags as strings, ports and its time-outs as numbers, flags as booleans."""
    await nitro.made(*GROUP[:1], **GROUP[1])
    [group] = await nitro.get("servicegroup/sg")
    seen = {
        "numofconnections": 0,
        "td": "0",
        "serviceconftype": True,
        "cacheable": "NO",
        "usip": "NO",
        "clttimeout": 180,
        "svrtimeout": 360,
        "ip": "0.0.0.0",
        "monstatcode": 0,
        "groupcount": "0",
        "healthmonitor": "YES",
        "autoscale": "DISABLED",
        "servicegroupeffectivestate": "DOWN",
    }
    assert {key: group.get(key) for key in seen} == seen
    await nitro.made("lbvserver", name="v", servicetype="HTTP")
    [server] = await nitro.get("lbvserver/v")
    seen = {
        "insertvserveripport": "OFF",
        "ipv46": "0.0.0.0",
        "port": 0,
        "range": "1",
        "clttimeout": "180",
        "lbmethod": "LEASTCONNECTION",
        "m": "IP",
        "thresholdvalue": 0,
        "totalservices": "0",
        "isgslb": False,
        "td": "0",
    }
    assert {key: server.get(key) for key in seen} == seen
