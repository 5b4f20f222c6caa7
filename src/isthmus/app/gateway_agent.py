"""Wires the gateway agent: the host's own Linux driver, its record, the epoch, and the door.

Everything it must remember lies in one directory: the CA and the list of clients, the epoch, and the last applied state.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from isthmus import metrics
from isthmus.agents.gateway.authority import Authority
from isthmus.agents.gateway.callers import Callers
from isthmus.agents.gateway.enrolled import Clients, Issued, Tokens
from isthmus.agents.gateway.fence import Fence
from isthmus.agents.gateway.host import Host
from isthmus.agents.gateway.listener import Listener
from isthmus.agents.gateway.server import Api, Settings
from isthmus.app import systemd
from isthmus.app.node_agent import Kept
from isthmus.drivers.base import Driver
from isthmus.drivers.linux.driver import LinuxDriver
from isthmus.drivers.linux.hops import ProbeTiming
from isthmus.drivers.linux.host import look
from isthmus.drivers.linux.remote.private_files import make_private_directory
from isthmus.errors import InputError, IsthmusError
from isthmus.loop.timed import timed
from isthmus.registry.lock import Lock
from isthmus.registry.state import StateDirectory
from isthmus.telemetry import get_logger
from isthmus.web.address import Address
from isthmus.web.health import serving

__all__ = ["Places", "Wanted", "clients", "new_token", "reset_epoch", "revoke", "run_gateway_agent"]

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:.]{2,45}")
_ROTATION = 60.0
"""Seconds between two looks at whether the server's certificate still fits the host."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are in the agent's state directory."""

    directory: Path

    @property
    def tls(self) -> Path:
        """Return the folder of the CA and the lists of who may come in."""
        return self.directory / "tls"

    @property
    def clients(self) -> Path:
        """Return the list of clients."""
        return self.tls / "clients.json"

    @property
    def tokens(self) -> Path:
        """Return the list of tokens."""
        return self.tls / "tokens.json"

    @property
    def epoch(self) -> Path:
        """Return the highest epoch that was seen."""
        return self.directory / "epoch.json"

    @property
    def applied(self) -> Path:
        """Return the record of what was applied."""
        return self.directory / "applied"


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the agent is to run."""

    state: Path
    host: str = ""
    port: int = 7441
    names: tuple[str, ...] = ()
    installation: str = "main"
    protocol: int = 200
    announce: tuple[str, ...] = ()
    lifetime: timedelta = timedelta(days=90)
    member_probe: float | None = None
    """Seconds between two echo requests to a node; none: nodes are not asked."""
    metrics: Address | None = None
    """Where health and figures are shown, to whoever asks."""


async def run_gateway_agent(
    wanted: Wanted,
    stop: asyncio.Event,
    *,
    driver: Driver | None = None,
    ready: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve this host until ``stop`` is set; raise an ``IsthmusError`` where that cannot be. ``ready`` hears the port."""
    _check_names(wanted.names)
    log = get_logger("agent")
    places = Places(wanted.state)
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(make_private_directory, places.directory)
        lock = await asyncio.to_thread(Lock, places.directory)
        stack.callback(lock.release)
        opened = await stack.enter_async_context(StateDirectory(places.applied))
        timing = None if wanted.member_probe is None else ProbeTiming(wanted.member_probe, wanted.member_probe)
        used = driver or timed(LinuxDriver(wanted.installation, wanted.protocol, wanted.announce, timing), "gateway")
        stack.push_async_callback(used.close)
        host = Host(used, await asyncio.to_thread(Fence, places.epoch), Kept(opened, "gateway"))
        await host.begin()
        authority = await asyncio.to_thread(Authority, places.tls)
        names = await _names(host, wanted.names)
        context = await asyncio.to_thread(authority.server_context, names)
        ipv6 = (await asyncio.to_thread(look)).ipv6
        settings = Settings(
            installation=wanted.installation,
            protocol=wanted.protocol,
            announce=wanted.announce,
            ipv6=ipv6,
            lifetime=wanted.lifetime,
        )
        api = Api(host, settings, authority, Callers(Clients(places.clients)), Tokens(places.tokens))
        listener = await stack.enter_async_context(Listener(api.application(), context, wanted.host, wanted.port))

        def readings() -> Iterator[metrics.Reading]:
            yield from host.readings()
            yield metrics.GATEWAY_CONTROLLERS, (), len(api.sessions)

        stack.enter_context(metrics.shown(readings))
        await stack.enter_async_context(serving(wanted.metrics, host))
        log.info("gateway agent started", port=listener.port, epoch=host.fence.highest, ca=authority.fingerprint)
        stack.callback(log.info, "gateway agent stopped")

        async def rotate() -> None:
            while True:
                await asyncio.sleep(_ROTATION)
                try:
                    now = await _names(host, wanted.names)
                    if await asyncio.to_thread(authority.renew_server, now, context):
                        log.info("server certificate renewed", names=sorted(now))
                except IsthmusError as error:
                    log.warning("server certificate not looked after", error=str(error))

        works = [
            asyncio.create_task(work) for work in (stop.wait(), host.run(), rotate(), systemd.tell_that_we_live())
        ]
        systemd.tell("READY=1")
        ready(listener.port)
        try:
            done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            systemd.tell("STOPPING=1")
            api.stop()
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise InputError(f"--name {name}", "is neither a host name nor an address", "write it as in the URL")


async def _names(host: Host, more: Iterable[str]) -> set[str]:
    """Return what this host may be called in a URL."""
    observation = await host.observe([])
    own = host.addresses(observation)
    called = (*own, *more, socket.gethostname(), "localhost")
    return {name for name in called if _NAME.fullmatch(name)}


# --- the commands beside it -------------------------------------------------------------------------------------


def new_token(state: Path, lifetime: timedelta) -> tuple[str, bool]:
    """Return a new one-time token as text, and whether the CA was made for it, since no agent has started there yet."""
    places = Places(state)
    make_private_directory(places.directory)
    first = not places.tls.is_dir()
    authority = Authority(places.tls)
    return Tokens(places.tokens).create(authority.fingerprint, lifetime).text(), first


def clients(state: Path) -> dict[str, tuple[Issued, ...]]:
    """Return who is enrolled, with their certificates."""
    return dict(Clients(Places(state).clients).all())


def revoke(state: Path, name: str) -> None:
    """End a client; raise ``InputError`` if there is none of that name."""
    known = clients(state)
    if not known or not Clients(Places(state).clients).revoke(name):
        there = f"there is {', '.join(known)}" if known else "nobody is enrolled here; is --state right?"
        raise InputError(f"client {name}", "is not enrolled", there)


def reset_epoch(state: Path) -> None:
    """Forget the epoch, while the agent does not run; raise ``StateLocked`` if it does."""
    if not state.is_dir():
        raise InputError(f"--state {state}", "is no directory", "name the agent's own state directory")
    if not Places(state).epoch.exists() and not Places(state).tls.is_dir():
        raise InputError(
            f"--state {state}", "no agent has kept its state there", "name the agent's own state directory"
        )
    lock = Lock(state)
    try:
        Fence.reset(Places(state).epoch)
    finally:
        lock.release()
