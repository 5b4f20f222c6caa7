"""The door itself: one TLS socket, so many connections and no more, none of which may dawdle.

A connection that shows no whole request head, or asks nothing, is closed after :data:`IDLE` seconds; a handshake has five.
Those who show no certificate have a few of the connections, and each address fewer: whoever holds on to all it can get
keeps other strangers out, and no controller.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Self

from aiohttp import web

from isthmus.agents.gateway.limits import network_of
from isthmus.errors import InputError

__all__ = ["Listener", "address_of"]

IDLE = 30.0
HANDSHAKE = 5.0
MOST_CONNECTIONS = 256
MOST_STRANGERS = 64
"""Connections of all together that show no certificate."""
MOST_OF_A_STRANGER = 16
_GRACE = 3.0


class Listener:
    """Serves ``application`` at ``host`` (all addresses, if empty) and ``port``; use it as ``async with``."""

    def __init__(self, application: web.Application, context: ssl.SSLContext, host: str, port: int) -> None:
        self._context = context
        self._host = host
        self._asked = port
        self._server: asyncio.Server | None = None
        self._strangers: dict[int, str] = {}
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=IDLE,
            shutdown_timeout=_GRACE,
            auto_decompress=False,
            handler_cancellation=False,
        )

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._connection,
                self._host or None,
                self._asked,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE,
                ssl_shutdown_timeout=1.0,
            )
        except OSError as error:
            await self._runner.cleanup()
            raise InputError(
                f"--listen {self._host}:{self._asked}", f"cannot be listened on: {error.strerror or error}"
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        assert self._server is not None, "it listens"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def _connection(self) -> asyncio.BaseProtocol:
        return _Arriving(self._received)

    def _received(self, transport: asyncio.Transport) -> asyncio.Protocol | None:
        """Return who serves a connection whose handshake is done; none: there is no room for it."""
        server = self._runner.server
        if server is None or len(server.connections) >= MOST_CONNECTIONS:
            return None
        there = {id(one) for one in server.connections}
        self._strangers = {key: network for key, network in self._strangers.items() if key in there}
        connection = transport.get_extra_info("ssl_object")
        known = isinstance(connection, ssl.SSLObject) and bool(connection.getpeercert())
        network = network_of(str((transport.get_extra_info("peername") or ("",))[0]))
        if not known:
            same = sum(one == network for one in self._strangers.values())
            if len(self._strangers) >= MOST_STRANGERS or same >= MOST_OF_A_STRANGER:
                return None
        serving = server()
        if not known:
            self._strangers[id(serving)] = network
        return serving


class _Arriving(asyncio.Protocol):
    """Stands at the door until the handshake is done, and it is seen whether a certificate was shown."""

    def __init__(self, receive: Callable[[asyncio.Transport], asyncio.Protocol | None]) -> None:
        self._receive = receive

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream has one"
        serving = self._receive(transport)
        if serving is None:
            transport.abort()
            return
        transport.set_protocol(serving)
        serving.connection_made(transport)


def address_of(text: str) -> tuple[str, int]:
    """Return host and port of ``ADDR:PORT``, ``[ADDR]:PORT`` or ``:PORT``; raise ``InputError``."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InputError(f"--listen {text}", "an IPv6 address stands in brackets", f"write [{host}]:{port}")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(
            f"--listen {text}", "has no port", "write it like 192.0.2.1:7441, or :7441 for all addresses"
        )
    return host, int(port)
