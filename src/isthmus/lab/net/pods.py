"""What runs in the pods: a small HTTP server, a UDP echo and an SCTP answer that say who they are and whom they see.

One event loop serves all pods through sockets that belong to the pods' namespaces, so a hundred pods cost no process. The
answer is one line, ``pod=pod1-1 node=node1 src=203.0.113.20``: the source address is the one the pod sees, which is what
a test of address translation wants to know. ``GET /bytes/32768`` adds that many bytes, for MTU tests. The confusing
thing: a stopped pod keeps its address; its port refuses connections, as with a crashed container.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from isthmus.errors import LabError
from isthmus.lab.net import sctp
from isthmus.lab.net.netns import await_in
from isthmus.lab.net.topology import PodPlan

HTTP_PORT = 8080
UDP_PORT = 8053
MOST_BYTES = 16 * 1024 * 1024
_REQUEST_SECONDS = 10.0
_REQUEST_BYTES = 8192


@dataclass(slots=True)
class _Served:
    servers: list[asyncio.Server] = field(default_factory=list)
    echoes: list[asyncio.DatagramTransport] = field(default_factory=list)
    raw: list[socket.socket] = field(default_factory=list)


class PodServers:
    """The servers of a lab's pods."""

    def __init__(self) -> None:
        self._served: dict[str, _Served] = {}
        self._open: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> tuple[str, ...]:
        """Return the names of the pods that serve now."""
        return tuple(self._served)

    async def start(self, pods: Iterable[PodPlan]) -> None:
        """Serve in ``pods`` (those that serve already are left alone)."""
        for pod in pods:
            if pod.name not in self._served:
                await self._start(pod)

    async def stop(self, names: Iterable[str]) -> None:
        """Stop serving in the pods called ``names``; open connections are served to their end."""
        for name in names:
            served = self._served.pop(name, None)
            if served is None:
                continue
            for server in served.servers:
                server.close()
            for echo in served.echoes:
                echo.close()
            for raw in served.raw:
                asyncio.get_running_loop().remove_reader(raw)
                raw.close()

    async def stop_all(self) -> None:
        """Stop serving everywhere and drop open connections."""
        await self.stop(list(self._served))
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _start(self, pod: PodPlan) -> None:
        served = self._served[pod.name] = _Served()
        who = f"pod={pod.name} node={pod.node}"
        loop = asyncio.get_running_loop()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._open.add(task)
            try:
                await _answer(who, reader, writer)
            finally:
                self._open.discard(task)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        for listening, echo, raw in await await_in(pod.name, lambda: _sockets(pod)):
            served.servers.append(await asyncio.start_server(answer, sock=listening))
            transport, _ = await loop.create_datagram_endpoint(lambda: _Echo(who), sock=echo)
            served.echoes.append(transport)
            served.raw.append(raw)
            loop.add_reader(raw, _answer_sctp, who, raw)


def _sockets(pod: PodPlan) -> list[tuple[socket.socket, socket.socket, socket.socket]]:
    """Bind a TCP, a UDP and a raw SCTP socket to each address of ``pod``; runs inside the pod's namespace."""
    made: list[tuple[socket.socket, socket.socket, socket.socket]] = []
    for address in pod.addresses:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        stream = socket.socket(family, socket.SOCK_STREAM)
        packet = socket.socket(family, socket.SOCK_DGRAM)
        raw = socket.socket(family, socket.SOCK_RAW, sctp.PROTOCOL)
        try:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            for sock, port in ((stream, HTTP_PORT), (packet, UDP_PORT), (raw, 0)):
                sock.setblocking(False)
                sock.bind((str(address.ip), port))
        except OSError as error:
            for sock in (stream, packet, raw):
                sock.close()
            raise LabError(f"{pod.name} cannot serve at {address.ip}: {error.strerror}") from error
        made.append((stream, packet, raw))
    return made


def _answer_sctp(who: str, raw: socket.socket) -> None:
    """Answer the INITs that wait on a pod's raw socket; packets to other ports are left alone."""
    for _ in range(16):
        try:
            data, sender = raw.recvfrom(65536)
        except OSError:
            return
        request = sctp.without_ip(data, raw.family)
        reply = sctp.init_ack(request, f"{who} src={sender[0]}\n".encode())
        if reply is not None and int.from_bytes(request[2:4], "big") == sctp.SCTP_PORT:
            # A full send buffer loses the answer, as a network may; the client says "no answer".
            with contextlib.suppress(OSError):
                raw.sendto(reply, (sender[0], 0))


async def _answer(who: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request and close; a client that sends nonsense or nothing is dropped."""
    source = str(writer.get_extra_info("peername")[0])
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        return
    words = head[:_REQUEST_BYTES].split(b"\r\n", 1)[0].decode("latin-1").split()
    if len(words) != 3 or words[0] not in {"GET", "HEAD"}:
        status, body = "400 Bad Request", b"only GET\n"
    else:
        status, body = "200 OK", f"{who} src={source}\n".encode()
        size = words[1].removeprefix("/bytes/")
        if size != words[1] and size.isdecimal() and int(size) <= MOST_BYTES:
            body += b"." * int(size)
    writer.write(
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + (b"" if words[:1] == ["HEAD"] else body)
    )
    with contextlib.suppress(OSError):
        await writer.drain()


class _Echo(asyncio.DatagramProtocol):
    def __init__(self, who: str) -> None:
        self._who = who
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: the event loop's own transport is no subclass of it before Python 3.12.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(f"{self._who} src={addr[0]}\n".encode() + data, addr)
