"""Devices that listen: their addresses, certificates, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from isthmus.errors import LabError
from isthmus.lab.kube.certificates import make_identity
from isthmus.lab.nitro.admin import Admin
from isthmus.lab.nitro.appliance import Appliance
from isthmus.lab.nitro.http import Front


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a device listens."""

    url: str
    ca_path: Path | None = None  # None without TLS
    admin_url: str = ""  # empty without administration


async def _listen(
    stack: contextlib.AsyncExitStack,
    app: web.Application,
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    sock: socket.socket | None = None,
) -> str:
    """Serve ``app`` until ``stack`` unwinds, and return its URL; raise LabError."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        if sock is not None:
            await web.SockSite(runner, sock, ssl_context=context).start()
        else:
            await web.TCPSite(runner, host, port, ssl_context=context).start()
    except OSError as error:
        raise LabError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    reach = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    shown = f"[{reach}]" if ":" in reach else reach
    return f"{'https' if context else 'http'}://{shown}:{runner.addresses[0][1]}"


@contextlib.asynccontextmanager
async def serving(
    device: Appliance,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    tls: bool = False,
    admin: int | None = None,
    directory: Path | None = None,
    sock: socket.socket | None = None,
) -> AsyncIterator[Endpoint]:
    """Let ``device`` listen while the block runs; port 0 takes a free one.

    ``sock`` is one that listens there already, in another network namespace perhaps. With ``tls`` a certificate lies in a
    new directory (below ``directory``). ``admin`` is the port on loopback through which another process can make things go
    wrong. Raises LabError when an address cannot be listened on.
    """
    async with contextlib.AsyncExitStack() as stack:
        context = ca = None
        if tls:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-nitro-", dir=directory)))
            hosts = ("127.0.0.1", "::1", "localhost", host)
            identity = await asyncio.to_thread(make_identity, place, hosts, name="netscaler")
            context, ca = identity.server_context(), identity.ca
        url = await _listen(stack, Front(device).app(), host, port, context, sock)
        admin_url = "" if admin is None else await _listen(stack, Admin(device).app(), "127.0.0.1", admin, None)
        yield Endpoint(url, ca, admin_url)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one device is to listen."""

    host: str
    port: int
    admin: int | None = None


def run_nitro(
    devices: list[tuple[Appliance, Place]], ready: Callable[[list[Endpoint]], None], *, tls: bool = False
) -> None:
    """Let devices listen until SIGTERM or SIGINT, then leave nothing behind; ``ready`` is told where they are."""

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with contextlib.AsyncExitStack() as stack:
            endpoints = [
                await stack.enter_async_context(serving(device, place.host, place.port, tls=tls, admin=place.admin))
                for device, place in devices
            ]
            ready(endpoints)
            await stop.wait()

    asyncio.run(run())
