"""The small HTTP server for kubelets and Prometheus: ``/healthz``, ``/readyz``, ``/metrics``.

*Healthy* means that this process can do its work: its event loop turns and none of its tasks has ended. *Ready* means that it
sees the world: configuration and clusters have been read and their watches are alive. It asks its owner both, as sentences
that say what is wrong, and knows no more itself.

The one confusing thing: neither says anything about devices. A device that is down is the device's trouble; if it made us
unhealthy, a kubelet would restart the one process that waits for it to come back, and the devices that are well with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from aiohttp import web

from isthmus import metrics
from isthmus.errors import InputError
from isthmus.telemetry import get_logger
from isthmus.web.address import Address

__all__ = ["Observed", "serving"]

_TICK = 1.0
_LATE = 10.0
"""Seconds of a stuck event loop that are still told half a minute later: a kubelet asks seldom."""
_REMEMBERED = 30.0
_SHOWN = 50
_IDLE = 75.0
"""Seconds after which a connection that asks nothing, or no whole request, is closed: longer than scrapes are apart."""
_MOST_CONNECTIONS = 64


class Observed(Protocol):
    """What has a health: each method returns what is wrong, a sentence each; nothing if all is well."""

    def ailments(self) -> Sequence[str]:
        """Say what keeps the process from working, so that only a restart helps."""

    def unseen(self) -> Sequence[str]:
        """Say what of the world is not known, or no longer."""


class _Lag:
    """How late the event loop is, looked at once a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._worst = (0.0, float("-inf"))

    async def watch(self) -> None:
        while True:
            due = self._clock() + _TICK
            await asyncio.sleep(_TICK)
            late = max(0.0, self._clock() - due)
            metrics.LOOP_LAG.observe(late)
            if late > _LATE:
                self._worst = (late, self._clock())

    def ailment(self) -> str | None:
        late, at = self._worst
        if self._clock() - at > _REMEMBERED:
            return None
        return f"the event loop was stuck for {late:.0f} s"


@asynccontextmanager
async def serving(address: Address | None, observed: Observed) -> AsyncIterator[Address | None]:
    """Serve at ``address`` (nowhere, if none) while the ``with`` lasts; yields where. InputError if that cannot be had."""
    if address is None:
        yield None
        return
    lag = _Lag(asyncio.get_running_loop().time)
    watching = asyncio.create_task(lag.watch(), name="event loop lag")
    runner = web.AppRunner(
        _application(observed, lag), access_log=None, handler_cancellation=True, keepalive_timeout=_IDLE
    )
    await runner.setup()
    site: asyncio.Server | None = None
    try:
        try:
            site = await asyncio.get_running_loop().create_server(
                lambda: _connection(runner), address.host, address.port
            )
        except OSError as error:
            raise InputError(
                f"--listen {address}", f"cannot be had: {error.strerror or error}", "choose another address or port"
            ) from error
        at = Address(address.host, site.sockets[0].getsockname()[1])
        get_logger("web").info("serving health and metrics", address=str(at))
        yield at
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        if site is not None:
            site.close()
        await runner.cleanup()


def _connection(runner: web.AppRunner) -> asyncio.BaseProtocol:
    server = runner.server
    return server() if server is not None and len(server.connections) < _MOST_CONNECTIONS else _Full()


class _Full(asyncio.Protocol):
    """Ends a connection that there is no room for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _application(observed: Observed, lag: _Lag) -> web.Application:
    async def healthz(_request: web.Request) -> web.Response:
        stuck = lag.ailment()
        return _answer([*observed.ailments(), *([stuck] if stuck else [])])

    async def readyz(_request: web.Request) -> web.Response:
        return _answer(observed.unseen())

    async def show(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": metrics.CONTENT_TYPE})

    application = web.Application(client_max_size=1024)
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", show)
    return application


def _answer(wrong: Sequence[str]) -> web.Response:
    if not wrong:
        return web.Response(text="ok\n")
    more = [f"... and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    return web.Response(status=503, text="".join(f"{text}\n" for text in (*wrong[:_SHOWN], *more)))
