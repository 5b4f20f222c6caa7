"""What is no HTTP answer, or none in time, is an error of the family that names the device and holds nothing of ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from drivers.netscaler.nitro.rig import PASSWORD, Given, options
from isthmus.drivers.netscaler.nitro import NitroError, wire
from isthmus.drivers.netscaler.nitro.client import Nitro
from isthmus.drivers.netscaler.nitro.tls import Trust
from isthmus.drivers.netscaler.nitro.wire import NotSent, Request, Wire
from isthmus.errors import DeviceError, DeviceUnreachable

TOKEN = "planted-token-77"
Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def device(answer: Answering) -> AsyncIterator[str]:
    """Let ``answer`` have each connection, its request read; yields the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def says(*pieces: bytes) -> Answering:
    """Return what writes ``pieces`` and hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return answer


async def ask(url: str, *, limit: float = 0.3) -> bytes:
    """Send one request and return the body of its answer."""
    made = Wire("adc1", Trust("adc1", time.monotonic), connections=2)
    request = Request("POST", "/nitro/v1/config/vxlan", "POST vxlan", limit, PASSWORD.encode(), TOKEN)
    try:
        answer = await made.send(url, request)
        assert TOKEN not in repr(answer) + repr(request)
        return answer.body
    finally:
        await made.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{ }"


async def test_an_answer() -> None:
    """Which is what the others are not."""
    async with device(says(OK)) as url:
        assert await ask(url) == b"{ }"


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ((b"220 smtp.example.org ESMTP\r\n",), "not HTTP"),
        ((b"\x16\x03\x01\x02\x00" * 50,), "not HTTP"),
        ((b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",), "not HTTP"),
        ((), "the connection broke"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n{ ",), "the connection broke"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{ \r\n",), "adc1"),
    ],
)
async def test_no_answer(pieces: tuple[bytes, ...], words: str) -> None:
    """Something else, nothing, or half of it: the device was asked, and nobody knows what it did."""
    async with device(says(*pieces)) as url:
        with pytest.raises(DeviceUnreachable, match=words) as lost:
            await ask(url)
        assert not isinstance(lost.value, NotSent)
        assert "POST vxlan" in str(lost.value)
        assert TOKEN not in str(lost.value)
        assert lost.value.__cause__ is None, "what the library raises holds the headers"


async def test_silence() -> None:
    """A device that says nothing is given up after the limit, one that drips after three times that."""

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    for answer, most in ((never, 0.8), (drips, 1.5)):
        async with device(answer) as url:
            began = time.monotonic()
            with pytest.raises(DeviceUnreachable, match=r"no answer within 0\.3 s"):
                await ask(url)
            assert time.monotonic() - began < most


async def test_nobody_listens() -> None:
    """Without a connection nothing was sent, and that is known."""
    async with device(says(OK)) as url:
        pass
    with pytest.raises(NotSent, match="cannot connect"):
        await ask(url)


async def test_an_answer_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is larger than any answer is not read to its end."""
    monkeypatch.setattr(wire, "LARGEST", 1 << 20)
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            sent += 65536
            await writer.drain()

    async with device(endless) as url:
        with pytest.raises(DeviceUnreachable, match="larger than 1 MiB"):
            await ask(url, limit=5)
    assert sent < 64 << 20


async def test_a_redirect_is_not_followed() -> None:
    """Who answers with another place does not get our session, or our password, sent there."""
    heard = []

    async def thief(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(True)

    async with device(thief) as elsewhere:
        moved = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {elsewhere}/\r\nContent-Length: 0\r\n\r\n"
        async with device(says(moved.encode())) as url:
            nitro = Nitro("adc1", options(url), Given())
            with pytest.raises(NitroError, match="307") as refused:
                await nitro.open()
            assert isinstance(refused.value, DeviceError)
            await nitro.close()
    assert not heard
