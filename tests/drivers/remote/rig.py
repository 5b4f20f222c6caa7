"""A gateway agent in this process, over real TLS on the loopback, and controllers that are enrolled with it.

The host behind it is a device in memory, unless a test gives another driver. The agent is wired as the command line wires it.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import aiohttp

from isthmus.app.gateway_agent import Wanted, new_token, run_gateway_agent
from isthmus.app.gateway_enrolment import enrol
from isthmus.drivers.base import Driver
from isthmus.drivers.linux.remote import RemoteGateway
from isthmus.drivers.memory import MemoryDriver
from isthmus.model.facts import DeviceFacts, Interface

FACTS = DeviceFacts(
    (
        Interface("lo", mtu=65536, addresses=(ip_interface("127.0.0.1/8"),)),
        Interface("eth0", "02:00:00:00:00:01", 1500, (ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64"))),
    )
)


class Rig:
    """One agent, its state directory, and the credentials of those who were enrolled."""

    def __init__(self, folder: Path, driver: Driver | None = None, **wanted: Any) -> None:
        self.folder = folder
        self.state = folder / "agent"
        self.memory = MemoryDriver(facts=FACTS)
        self.driver = driver
        self.wanted = Wanted(self.state, "127.0.0.1", 0, **wanted)
        self.port = 0
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the agent, at the port it had before."""
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(
            run_gateway_agent(
                replace(self.wanted, port=self.port),
                self._stop,
                driver=self.driver or self.memory,
                ready=ready.set_result,
            )
        )
        await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()
        self.port = ready.result()

    async def stop(self) -> None:
        """Stop it in good order."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            self._stop.set()
            await task

    def token(self, ttl: float = 60) -> str:
        return new_token(self.state, timedelta(seconds=ttl))[0]

    async def enrol(self, name: str = "controller", *, device: str = "gw1", token: str | None = None) -> Path:
        """Enrol a controller and return its directory of credentials."""
        directory = self.folder / name
        given = token or await asyncio.to_thread(self.token)
        await enrol(given, device, self.url, name, directory, place="test")
        return directory

    async def client(self, name: str = "controller", *, epoch: Callable[[], int] = lambda: 1) -> RemoteGateway:
        """Return a driver of a controller that is enrolled under ``name``, as it is opened by nobody yet."""
        directory = self.folder / name
        if not (directory / "gw1").is_dir():
            await self.enrol(name)
        return RemoteGateway("gw1", self.url, directory, epoch)

    def context(self, name: str | None = "controller") -> ssl.SSLContext:
        """Return how a hand-made request connects: trusting the agent's CA, with the certificate of ``name``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.state / "tls" / "ca.crt")
        if name is not None:
            context.load_cert_chain(self.folder / name / "gw1" / "client.pem")
        return context

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        context: ssl.SSLContext | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Send what nobody of ours would send; return status and answer (JSON or text)."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method,
                self.url + path,
                data=io.BytesIO(body) if isinstance(body, bytes) else body,
                ssl=context or self.context(),
                headers={**sent, **(headers or {})},
            ) as answer,
        ):
            if "json" in answer.content_type and "jsonl" not in answer.content_type:
                return answer.status, await answer.json(content_type=None)
            return answer.status, await answer.text()


@asynccontextmanager
async def running(folder: Path, driver: Driver | None = None, **wanted: Any) -> AsyncIterator[Rig]:
    """Give a rig whose agent runs."""
    rig = Rig(folder, driver, **wanted)
    await rig.start()
    try:
        yield rig
    finally:
        await rig.stop()


@asynccontextmanager
async def opened(driver: RemoteGateway) -> AsyncIterator[RemoteGateway]:
    """Give an open driver and close it afterwards."""
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()
