"""A virtual server for TCP: it ends the client's connection and makes one of its own to a member.

The one confusing thing: each direction may end by itself (a client that has sent its request says so and still listens), and
only when both have ended is the connection over; whatever ends with an error ends with a reset on the other side.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import cast

from isthmus.lab.adc.plans import Member, Name
from isthmus.lab.adc.sockets import outgoing, reset_on_close
from isthmus.lab.adc.wiring import Address

_CONNECT_SECONDS = 10.0


class Proxy:
    """The connections of one virtual server; ``choose`` returns a member for a client, or none."""

    def __init__(
        self, namespace: str, choose: Callable[[Address], Member | None], ended: Callable[[Name], None]
    ) -> None:
        """Make a proxy without a listener; ``ended`` hears of each connection that has ended."""
        self._namespace = namespace
        self._choose = choose
        self._ended = ended
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[_Half, Member] = {}

    async def listen(self, sock: socket.socket) -> None:
        """Take clients at ``sock``."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Half(self._accepted, self._lost), sock=sock
        )

    def refuse(self) -> None:
        """Take no more clients; those that are connected stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def flush(self, gone: Callable[[Member], bool]) -> None:
        """Reset the connections to members that are ``gone``."""
        for half, member in list(self._open.items()):
            if gone(member):
                half.reset()

    async def close(self) -> None:
        """Take no more clients and reset all that are connected."""
        self.refuse()
        self.flush(lambda _: True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, client: _Half) -> None:
        member = self._choose(ip_address(str(client.transport.get_extra_info("peername")[0]).partition("%")[0]))
        if member is None:
            client.reset()
            return
        self._open[client] = member
        client.transport.pause_reading()
        task = asyncio.get_running_loop().create_task(self._connect(client, member))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, client: _Half, member: Member) -> None:
        loop = asyncio.get_running_loop()
        sock: socket.socket | None = None
        try:
            sock = outgoing(self._namespace, member.address, member.sources, datagram=False)
            async with asyncio.timeout(_CONNECT_SECONDS):
                await loop.sock_connect(sock, (str(member.address), member.port))
            _, half = await loop.create_connection(_Half, sock=sock)
        except (OSError, TimeoutError):
            if sock is not None:
                sock.close()
            client.reset()
            return
        except asyncio.CancelledError:
            if sock is not None:
                sock.close()
            raise
        client.join(half)

    def _lost(self, client: _Half) -> None:
        member = self._open.pop(client, None)
        if member is not None:
            self._ended(member.name)


class _Half(asyncio.Protocol):
    """One side of a proxied connection."""

    def __init__(
        self, made: Callable[[_Half], None] | None = None, lost: Callable[[_Half], None] | None = None
    ) -> None:
        self._made, self._lost = made, lost
        self._other: _Half | None = None
        self._said_all = False
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: the event loop's own transport is no subclass of it before Python 3.12.
        self.transport = cast("asyncio.Transport", transport)
        if self._made is not None:
            self._made(self)

    def join(self, other: _Half) -> None:
        """Let what comes here go there, and the other way round."""
        if self._over:
            other.reset()
            return
        self._other, other._other = other, self
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._other is not None:
            self._other.transport.write(data)

    def eof_received(self) -> bool:
        self._said_all = True
        other = self._other
        if other is None:
            return False
        if other._said_all:
            other.transport.close()
            return False
        other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        other, self._other = self._other, None
        if other is not None:
            other._other = None
            if exc is not None or not self._said_all:
                other.reset()
            else:
                other.transport.close()
        if self._lost is not None:
            self._lost(self)

    def reset(self) -> None:
        """End this side, and with it the other, with a reset."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            reset_on_close(sock)
        self.transport.abort()
