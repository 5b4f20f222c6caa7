"""Who may speak, for how long, and how many."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from isthmus.lab.nitro import Appliance
from lab.nitro.conftest import Clock
from lab.nitro.talking import LOGIN, Nitro


async def login(nitro: Nitro, **more: object) -> str:
    reply = await nitro.call("POST", "login", {"login": {"username": "nsroot", "password": "nsroot", **more}}, {})
    assert reply.status == 201, reply.text
    return str(reply.json["sessionid"])


def cookie(token: str, name: str = "NITRO_AUTH_TOKEN") -> dict[str, str]:
    return {"Cookie": f"{name}={quote(token)}"}


async def test_ways_to_say_who_one_is(nitro: Nitro) -> None:
    """A token in either cookie or in a request's Set-Cookie, encoded or not, headers in any case, and HTTP Basic."""
    token = await login(nitro)
    basic = base64.b64encode(b"nsroot:nsroot").decode()
    for headers in (
        cookie(token),
        cookie(token, "sessionid"),
        {"Cookie": f"NITRO_AUTH_TOKEN={token}"},
        {"Set-Cookie": f"NITRO_AUTH_TOKEN={token}"},
        {"x-nitro-user": "nsroot", "x-nitro-pass": "nsroot"},
        {"Authorization": f"Basic {basic}"},
    ):
        assert (await nitro.call("GET", "nsversion", None, headers)).line == "200 OK", headers


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 1027),
        ({"X-NITRO-USER": "nsroot", "X-NITRO-PASS": "wrong"}, 354),
        ({"X-NITRO-USER": "nobody", "X-NITRO-PASS": "nsroot"}, 354),
        ({"Authorization": "Basic ="}, 354),
        (cookie("##00"), 444),
    ],
)
async def test_who_is_not_let_in(nitro: Nitro, headers: dict[str, str], code: int) -> None:
    """Nobody, a wrong password and a token that nobody has: 401, each with its code, and nothing is done."""
    reply = await nitro.call("POST", "vxlan", {"vxlan": {"id": 1}}, headers)
    assert (reply.line, reply.code) == ("401 Unauthorized", code)
    assert await nitro.get("vxlan") == []


async def test_sessions_end(nitro: Nitro, clock: Clock) -> None:
    """By logout, by the time-out that use puts off, and by force; then the token is worth nothing."""
    out, late, killed, other = [
        await login(nitro),
        await login(nitro, timeout=60),
        await login(nitro),
        await login(nitro),
    ]
    assert (await nitro.call("POST", "logout", {"logout": {}}, cookie(out))).line == "200 OK"
    clock.now += 40
    assert (await nitro.call("GET", "nsversion", None, cookie(late))).status == 200
    clock.now += 40
    assert (await nitro.call("GET", "nsversion", None, cookie(late))).status == 200
    clock.now += 61
    rows = await nitro.get("systemsession")
    sid = rows[0]["sid"]
    assert [row["username"] for row in rows] == ["nsroot", "nsroot"]
    assert isinstance(sid, str)
    reply = await nitro.call("POST", "systemsession?action=kill", {"systemsession": {"sid": sid}}, cookie(other))
    assert reply.line == "200 OK"
    for token in (out, late, killed):
        reply = await nitro.call("GET", "nsversion", None, cookie(token))
        assert (reply.line, reply.code) == ("401 Unauthorized", 444)
    [left] = (await nitro.call("GET", "systemsession", None, cookie(other))).json["systemsession"]
    assert left["currentconn"] is True
    everyone = {"systemsession": {"all": True}}
    assert (await nitro.call("POST", "systemsession?action=kill", everyone, LOGIN)).line == "200 OK"
    assert await nitro.get("systemsession") == []


async def test_twenty_connections(nitro: Nitro, device: Appliance, clock: Clock) -> None:
    """The twenty-first login is refused, and so is a request with name and password; a time-out makes room."""
    tokens = [await login(nitro) for _ in range(20)]
    body = {"login": {"username": "nsroot", "password": "nsroot"}}
    assert (await nitro.call("POST", "login", body, {})).code == 446
    assert (await nitro.call("GET", "nsversion")).code == 446
    assert (await nitro.call("GET", "nsversion", None, cookie(tokens[0]))).status == 200
    clock.now += 1801
    assert (await nitro.call("GET", "nsversion")).status == 200
    assert device.sessions.live() == []
