"""What nobody of ours would send: each is refused with a place and a reason, and leaves no trace on the device."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request

from isthmus.agents.gateway import listener
from isthmus.agents.gateway.callers import Callers
from isthmus.agents.gateway.enrolled import Clients
from isthmus.agents.gateway.problems import Denied

from .rig import Rig, running

ROUTE = {"kind": "Route", "prefix": "10.244.1.0/24", "via": "192.0.2.11", "link": "eth0"}
SERVER = {"kind": "VirtualServer", "address": "203.0.113.10", "protocol": "tcp", "port": 80}


def one(after: Any, **more: Any) -> bytes:
    return json.dumps({"epoch": 1, "changes": [{"action": "create", "after": after, **more}]}).encode()


BAD: dict[str, tuple[bytes, str, str]] = {
    "no JSON": (b"flush ruleset", "$", "is not JSON"),
    "nothing": (b"", "$", "is not JSON"),
    "not text": (b"\xff\xfe", "$", "is not JSON"),
    "a list": (b"[]", "$", "Expected `object`"),
    "no epoch": (b'{"changes":[]}', "$", "missing required field `epoch`"),
    "an epoch below zero": (b'{"epoch":-1,"changes":[]}', "$.epoch", ">= 0"),
    "an epoch beyond all": (b'{"epoch":1e300,"changes":[]}', "$.epoch", "Expected `int`"),
    "a field too many": (b'{"epoch":1,"changes":[],"shell":"id"}', "$", "unknown field `shell`"),
    "an unknown kind": (one({"kind": "Shell", "run": "id"}), "$.changes[0].after.kind", "Invalid value 'Shell'"),
    "an unknown field": (one({**ROUTE, "exec": "id"}), "$.changes[0].after", "unknown field `exec`"),
    "a missing field": (one({"kind": "Route"}), "$.changes[0].after", "missing required field"),
    "text for a number": (one({**SERVER, "port": "80"}), "$.changes[0].after.port", "Expected `int`"),
    "a number for text": (one({**ROUTE, "link": 1}), "$.changes[0].after.link", "Expected `str`"),
    "no address": (one({**ROUTE, "via": "example.org"}), "$.changes[0].after.via", "is not an IP address"),
    "text behind an address": (
        one({**ROUTE, "via": "fe80::1%eth0; flush ruleset"}),
        "$.changes[0].after.via",
        "is not an IP address",
    ),
    "a network with host bits": (one({**ROUTE, "prefix": "10.244.1.1/24"}), "$.changes[0].after.prefix", "host bits"),
    "a protocol of its own": (one({**SERVER, "protocol": "icmp"}), "$.changes[0].after.protocol", "Invalid enum"),
    "a bad member": (
        one({**SERVER, "members": [{"address": "10.0.0.1", "port": 1}, {"address": "x", "port": 1}]}),
        "$.changes[0].after.members[1].address",
        "is not an IP address",
    ),
    "neither before nor after": (one(None), "$.changes[0]", "neither a before nor an after"),
    "a delete with an after": (one(ROUTE, action="delete"), "$.changes[0]", "only a delete"),
    "two things in one": (one(ROUTE, before={**ROUTE, "prefix": "10.0.0.0/8"}), "$.changes[0]", "different things"),
    "text without an end": (one({**ROUTE, "link": "x" * 5000}), "$.changes[0].after.link", "length <= 4096"),
    "deeper than deep": (b'{"epoch":1,"changes":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "$.changes[0]", "object"),
    "deep in what is unknown": (b'{"epoch":1,"x":' + b'{"a":' * 100_000, "$", "unknown field"),
}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        await rig.enrol()
        yield rig


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_body_is_named(rig: Rig, name: str) -> None:
    """The answer says where and why; nothing is written, not even the epoch."""
    body, place, reason = BAD[name]
    status, said = await rig.ask("POST", "/v1/apply", body)
    assert (status, said["type"]) == (400, "urn:isthmus:problem:bad-request")
    assert said["place"] == place
    assert reason in said["detail"]
    assert rig.memory.resources == {}
    assert not (rig.state / "epoch.json").exists()


async def test_one_bad_change_keeps_the_whole_message_out(rig: Rig) -> None:
    """A message that is half nonsense is nobody's order."""
    changes = [{"action": "create", "after": ROUTE}, {"action": "create", "after": {**ROUTE, "via": 7}}]
    status, said = await rig.ask("POST", "/v1/apply", json.dumps({"epoch": 1, "changes": changes}).encode())
    assert (status, said["place"]) == (400, "$.changes[1].after.via")
    assert rig.memory.resources == {}


@pytest.mark.parametrize("path", ["/v1/prepare", "/v1/renew", "/v1/probe", "/v1/apply"])
async def test_a_body_has_a_limit(rig: Rig, path: str) -> None:
    """Announced or not, what is too long is not read to its end."""
    body = b" " * (65 << 20 if path == "/v1/apply" else (2 << 20))
    status, said = await rig.ask("POST", path, body)
    assert (status, said["type"]) == (413, "urn:isthmus:problem:too-large")


async def test_an_unannounced_length_has_the_same_limit(rig: Rig) -> None:
    """Chunked bodies are counted as they come."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 4096

    status, _ = await rig.ask("POST", "/v1/prepare", chunks())  # type: ignore[arg-type]
    assert status == 413


async def test_a_packed_body_is_not_unpacked(rig: Rig) -> None:
    """What grows when it is unpacked is refused packed."""
    status, said = await rig.ask("POST", "/v1/apply", b"x", headers={"Content-Encoding": "gzip"})
    assert (status, said["status"]) == (415, 415)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/apply"), ("POST", "/v1/hello"), ("GET", "/v2/hello"), ("GET", "/../etc/passwd")]
)
async def test_other_paths_and_methods_are_not_served(rig: Rig, method: str, path: str) -> None:
    """404 and 405 are problems with a name, too."""
    status, said = await rig.ask(method, path, b"{}" if method == "POST" else None)
    assert status in (404, 405)
    assert said["type"] == "urn:isthmus:problem:not-found"


async def raw(rig: Rig, context: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", rig.port, ssl=context)


async def test_a_head_that_does_not_come_ends_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then holds a connection for a while, not for ever, and others are served meanwhile."""
    monkeypatch.setattr(listener, "IDLE", 0.5)
    monkeypatch.setattr(listener, "HANDSHAKE", 0.5)
    async with running(tmp_path) as rig:
        await rig.enrol()
        silent = await raw(rig, None)  # not even a handshake
        slow = await raw(rig, rig.context(None))
        slow[1].write(b"GET /healthz HTTP/1.1\r\nHo")
        assert (await rig.ask("GET", "/healthz"))[0] == 200
        for reader, writer in (silent, slow):
            try:
                async with asyncio.timeout(4):
                    assert await reader.read() == b""
            except ConnectionError:
                pass
            writer.close()


async def test_connections_have_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above it the next is closed at once; when one goes there is room again."""
    monkeypatch.setattr(listener, "MOST_CONNECTIONS", 3)
    async with running(tmp_path) as rig:
        await rig.enrol()
        held = [await raw(rig, rig.context(None)) for _ in range(3)]
        await asyncio.sleep(0.1)
        with pytest.raises((aiohttp.ClientError, OSError)):
            await rig.ask("GET", "/healthz")
        for _, writer in held:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await asyncio.sleep(0.2)
        assert (await rig.ask("GET", "/healthz"))[0] == 200


async def test_strangers_leave_room_for_a_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever shows no certificate gets a few of the connections, however many it opens; a controller still comes in."""
    monkeypatch.setattr(listener, "MOST_CONNECTIONS", 6)
    monkeypatch.setattr(listener, "MOST_STRANGERS", 4)
    monkeypatch.setattr(listener, "MOST_OF_A_STRANGER", 3)
    async with running(tmp_path) as rig:
        await rig.enrol()
        await asyncio.sleep(0.1)
        held = [await raw(rig, rig.context(None)) for _ in range(8)]
        await asyncio.sleep(0.2)
        assert sum(not reader.at_eof() and reader.exception() is None for reader, _ in held) == 3
        assert (await rig.ask("GET", "/v1/hello"))[0] == 200
        for _, writer in held:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def test_slow_strangers_do_not_use_up_the_room_of_controllers(tmp_path: Path) -> None:
    """Requests under way are counted apart: a hundred strangers that send slowly, and a controller is served."""
    callers = Callers(Clients(tmp_path / "clients.json"))
    with contextlib.ExitStack() as stack:
        served = 0
        for number in range(100):
            stranger = make_mocked_request("POST", "/v1/enrol", transport=_from(f"192.0.2.{number}"))
            try:
                stack.enter_context(callers.one_more(stranger, ""))
            except Denied:
                continue
            served += 1
        assert 0 < served < 64
        with callers.one_more(make_mocked_request("POST", "/v1/apply"), "controller"):
            pass


def _from(address: str) -> Any:
    return SimpleNamespace(
        get_extra_info=lambda name, default=None: (address, 40000) if name == "peername" else default
    )
