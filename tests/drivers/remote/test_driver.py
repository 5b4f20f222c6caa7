"""The controller's side: what a silent, slow, dead or nonsensical agent means, how soon it is noticed, and for whom."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from isthmus.agents.gateway.authority import Authority
from isthmus.drivers.linux.remote import RemoteGateway
from isthmus.drivers.linux.remote import driver as remote_driver
from isthmus.drivers.linux.remote.credentials import Credentials, Requested
from isthmus.drivers.linux.remote.messages import Beat, Hello, encode
from isthmus.drivers.memory import lose_reply, raise_error, refuse
from isthmus.errors import DeviceError, DeviceRefused, DeviceUnreachable, DeviceUnsupported
from isthmus.model.plan import Change
from isthmus.model.resources import Route

from ..bench import by_identity, converge, outcomes
from .rig import Rig, opened, running

ROUTES = [Route(ip_network(f"10.244.{n}.0/24"), ip_address("192.0.2.11"), "eth0") for n in range(1, 5)]
CREATES = [Change("create", route.identity, None, route) for route in ROUTES]


class Relay:
    """A TCP relay in front of an agent that can fall silent, as a dead machine does, or cut."""

    def __init__(self, port: int) -> None:
        self.to = port
        self.port = 0
        self.silent = asyncio.Event()
        self.passed = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.sleep(0)

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", self.to)
        self._writers |= {writer, here}
        with contextlib.suppress(ConnectionError, OSError):
            await asyncio.gather(self._pump(reader, here), self._pump(there, writer))
        for one in (writer, here):
            one.transport.abort()
            self._writers.discard(one)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            while self.silent.is_set():
                await asyncio.sleep(0.05)
            self.passed += len(data)
            writer.write(data)
            await writer.drain()
        writer.transport.abort()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        yield rig


@asynccontextmanager
async def relayed(rig: Rig) -> AsyncIterator[tuple[Relay, RemoteGateway]]:
    """Give a relay and an open driver behind it."""
    relay = Relay(rig.port)
    await relay.start()
    directory = await rig.enrol()
    driver = RemoteGateway("gw1", f"https://127.0.0.1:{relay.port}", directory, lambda: 1)
    try:
        async with opened(driver):
            yield relay, driver
    finally:
        relay.silent.clear()
        await relay.stop()


async def test_an_agent_that_falls_silent_is_noticed_within_three_seconds(rig: Rig) -> None:
    """No packet comes any more, no connection ends: whoever waits for drift hears of it, and so does every request."""
    async with relayed(rig) as (relay, driver):
        drifting = asyncio.create_task(driver.drift())
        await asyncio.sleep(0.6)
        relay.silent.set()
        began = time.monotonic()
        observing = asyncio.create_task(driver.observe())
        for waiting in (drifting, observing):
            with pytest.raises(DeviceUnreachable, match="no sign of life"):
                await asyncio.wait_for(waiting, 10)
        assert time.monotonic() - began < 3.5


async def test_an_agent_that_ends_is_noticed_at_once(rig: Rig) -> None:
    """A connection that ends says so itself; after the agent's new start the driver opens again."""
    async with opened(await rig.client()) as driver:
        drifting = asyncio.create_task(driver.drift())
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await rig.stop()
        with pytest.raises(DeviceUnreachable):
            await asyncio.wait_for(drifting, 5)
        assert time.monotonic() - began < 2
        await driver.close()
        with pytest.raises(DeviceUnreachable):
            await driver.open()
        await rig.start()
        await driver.open()
        assert (await driver.observe()).resources == {}


async def test_a_controller_that_thinks_does_not_take_its_own_silence_for_the_agents(rig: Rig) -> None:
    """Three seconds in which this loop heard nobody are nobody's end."""
    async with opened(await rig.client()) as driver:
        drifting = asyncio.create_task(driver.drift())
        await asyncio.sleep(0.3)
        time.sleep(3)
        await asyncio.sleep(0.3)
        assert not drifting.done()
        drifting.cancel()
        await asyncio.gather(drifting, return_exceptions=True)


async def test_a_connection_lost_in_the_middle_leaves_the_rest_unknown(rig: Rig) -> None:
    """What was answered stands; what was not is read again, and then all of it stands."""
    desired = by_identity(*ROUTES)
    async with relayed(rig) as (relay, driver):
        rig.memory.fail_next(raise_error(identity=ROUTES[2].identity))
        results = []
        with contextlib.suppress(DeviceError):
            results = await outcomes(driver, CREATES)
        assert [one.result for one in results if one.result == "done"] in ([], ["done", "done"])
        assert len(rig.memory.resources) == 2
        relay.cut()
        await driver.close()
        await driver.open()
        assert [one.result for one in await converge(driver, desired)] == ["done", "done"]
        assert dict((await driver.observe()).resources) == desired


async def test_an_unknown_outcome_stays_unknown(rig: Rig) -> None:
    """A reply that the host lost travels as what it is."""
    async with opened(await rig.client()) as driver:
        rig.memory.fail_next(lose_reply(identity=ROUTES[1].identity))
        assert [one.result for one in await outcomes(driver, CREATES)] == ["done", "unknown", "done", "done"]


async def test_a_tool_that_talks_at_length_is_shortened(rig: Rig) -> None:
    """A reason, or somebody else's thing, of any length does not make the answer unreadable."""
    async with opened(await rig.client()) as driver:
        rig.memory.fail_next(refuse("no " * 50_000))
        rig.memory.plant("route 10.9.0.0/16", "route " * 50_000)
        results = await outcomes(driver, CREATES)
        assert [one.result for one in results] == ["refused", "done", "done", "done"]
        assert results[0].reason.endswith(" ...")
        assert len((await driver.observe()).foreign["route 10.9.0.0/16"]) == 2000


async def test_what_others_hold_is_told_when_it_goes(rig: Rig) -> None:
    """A wanted place that somebody else gives up is drift, though the agent knows no wishes."""
    async with opened(await rig.client()) as driver:
        rig.memory.plant(ROUTES[0].identity, "static route by somebody")
        await asyncio.wait_for(driver.drift(), 3)
        await driver.observe()
        drifting = asyncio.create_task(driver.drift())
        await asyncio.sleep(0.1)
        looks = rig.memory.observes
        driver.adapt(by_identity(*ROUTES))
        await asyncio.sleep(0.3)
        assert rig.memory.observes == looks + 1
        rig.memory.unplant(ROUTES[0].identity)
        await asyncio.wait_for(drifting, 3)


# --- an agent that is none -------------------------------------------------------------------------------------------


@asynccontextmanager
async def pretender(
    folder: Path, answer: Callable[[web.Request], Any], *, name: str = "127.0.0.1"
) -> AsyncIterator[RemoteGateway]:
    """Give a driver of an agent with the right certificates that answers whatever ``answer`` does."""
    authority = Authority(folder / "tls")
    context = authority.server_context([name])
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    requested = Requested.new("c")
    issued = authority.issue(requested.csr, "c", timedelta(days=1))
    Credentials(folder / "c", "gw1").store(requested, issued.public_bytes(Encoding.PEM).decode(), authority.pem)
    driver = RemoteGateway("gw1", f"https://127.0.0.1:{port}", folder / "c", lambda: 1)
    try:
        yield driver
    finally:
        await driver.close()
        await runner.cleanup()


NONSENSE: dict[str, Callable[[], web.Response]] = {
    "a web page": lambda: web.Response(text="<html>It works!</html>"),
    "an error page": lambda: web.Response(status=404, text="nginx"),
    "another's JSON": lambda: web.json_response({"kind": "Status", "code": 200}),
    "half a message": lambda: web.Response(body=b'{"api":1,"version":"'),
    "a long message": lambda: web.Response(body=b" " * (2 << 20)),
    "a redirect": lambda: web.Response(status=302, headers={"Location": "https://127.0.0.1:1/v1/hello"}),
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_an_answer_without_sense_names_the_place(tmp_path: Path, name: str) -> None:
    """Whatever else is at that address, the error says which address and what for."""

    async def answer(request: web.Request) -> web.Response:
        return NONSENSE[name]()

    async with pretender(tmp_path, answer) as driver:
        with pytest.raises(DeviceError, match=r"https://127\.0\.0\.1:\d+: the answer to /v1/hello makes no sense"):
            await driver.open()


async def test_another_version_is_named(tmp_path: Path) -> None:
    """An agent of another release says what it is, and that is told."""

    async def answer(request: web.Request) -> web.Response:
        hello = {"api": 99, "version": "9.9", "start": "x", "installation": "main", "protocol": 200}
        return web.json_response({**hello, "announce": [], "ipv6": True, "epoch": 0, "moves": 0})

    async with pretender(tmp_path, answer) as driver:
        with pytest.raises(DeviceUnsupported, match=r"isthmus 9\.9 and speaks version 99"):
            await driver.open()


async def test_an_agent_that_never_answers_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It connects, and says nothing."""
    monkeypatch.setattr(remote_driver, "HELLO", 0.4)

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    async with pretender(tmp_path, answer) as driver:
        with pytest.raises(DeviceUnreachable, match=r"no answer to /v1/hello within 0\.4 s"):
            await driver.open()


async def test_another_name_than_the_certificates_is_refused(tmp_path: Path) -> None:
    """The certificate is for another host than the URL names."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    async with pretender(tmp_path, answer, name="gw9.example.org") as driver:
        with pytest.raises(DeviceRefused, match="enrol again"):
            await driver.open()


async def test_an_agent_set_up_anew_is_refused(rig: Rig, tmp_path: Path) -> None:
    """Another CA at the same address is another agent."""
    directory = await rig.enrol()
    async with running(tmp_path / "other") as other:
        driver = RemoteGateway("gw1", other.url, directory, lambda: 1)
        with pytest.raises(DeviceRefused, match="enrol again"):
            await driver.open()


async def test_without_credentials_the_way_to_them_is_named(tmp_path: Path) -> None:
    """The first thing a new user sees."""
    driver = RemoteGateway("gw1", "https://127.0.0.1:1", tmp_path, lambda: 1)
    with pytest.raises(DeviceUnsupported, match="isthmus gateway enrol gw1"):
        await driver.open()


LINES: dict[str, tuple[bytes, bool, list[str]]] = {
    "a connection that ends": (
        b'{"at":0,"result":"done"}\n{"at":1,"result":"refused"}\n',
        False,
        ["done", "refused"],
    ),
    "half a line": (b'{"at":0,"result":"done"}\n{"at":1,"res', False, ["done"]),
    "an end before its time": (b'{"at":0,"result":"done"}\n{"end":true}\n', True, ["done"]),
}


def agent_that_applies(lines: bytes, *, whole: bool) -> Callable[[web.Request], Any]:
    """Return the answers of an agent that is well until somebody applies; then it says ``lines``, and may hang up."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/hello":
            return web.Response(body=encode(Hello(1, "1", "x", "main", 200, (), True, 0, 0)))
        response = web.StreamResponse()
        await response.prepare(request)
        if request.path == "/v1/drift":
            while True:
                await response.write(encode(Beat("x", 0)) + b"\n")
                await asyncio.sleep(0.3)
        await response.write(lines)
        if not whole:
            await asyncio.sleep(0.1)
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


@pytest.mark.parametrize("name", LINES)
async def test_what_was_not_answered_is_unknown(tmp_path: Path, name: str) -> None:
    """Each change has an outcome: what was said of it, or that nobody knows."""
    lines, whole, said = LINES[name]
    async with pretender(tmp_path, agent_that_applies(lines, whole=whole)) as driver:
        await driver.open()
        results = await outcomes(driver, CREATES)
        assert [one.change for one in results] == CREATES
        assert [one.result for one in results] == [*said, *["unknown"] * (len(CREATES) - len(said))]


@pytest.mark.parametrize(
    "lines",
    [b'{"at":1,"result":"done"}\n', b'{"at":0}\n', b'{"at":0,"result":"maybe"}\n', b"fine\n", b"x" * (2 << 20)],
)
async def test_outcomes_without_sense_end_the_apply(tmp_path: Path, lines: bytes) -> None:
    """An outcome for another change, or of another kind, is not taken for one of ours."""
    async with pretender(tmp_path, agent_that_applies(lines, whole=True)) as driver:
        await driver.open()
        with pytest.raises(DeviceError, match="the answer to /v1/apply makes no sense"):
            await outcomes(driver, CREATES)


# --- several gateways --------------------------------------------------------------------------------------------------


async def test_one_that_hangs_and_one_that_talks_nonsense_delay_no_other(tmp_path: Path) -> None:
    """Three gateways at once: the good one is served in its own time, the others fail by themselves."""

    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(8)
        return web.Response()

    async def garbage(request: web.Request) -> web.Response:
        return web.Response(body=b"\x00" * 100)

    async with AsyncExitStack() as stack:
        rig = await stack.enter_async_context(running(tmp_path / "good"))
        good = await rig.client()
        hanging = await stack.enter_async_context(pretender(tmp_path / "hang", hang))
        nonsense = await stack.enter_async_context(pretender(tmp_path / "nonsense", garbage))

        async def bad(driver: RemoteGateway) -> str:
            try:
                await driver.open()
            except DeviceError as error:
                return str(error)
            return "fine"

        async def serve() -> float:
            began = time.monotonic()
            async with opened(good):
                await outcomes(good, CREATES)
            return time.monotonic() - began

        took, silent, wrong = await asyncio.gather(serve(), bad(hanging), bad(nonsense))
        assert took < 2
        assert "no answer" in silent
        assert "makes no sense" in wrong
        assert len(rig.memory.resources) == len(ROUTES)
