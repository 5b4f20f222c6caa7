"""The agent's HTTPS API: typed bodies in, typed answers out, and nothing between that could be taken for a command.

The paths and messages are in ``drivers/linux/remote/messages.py``, for both sides. The one confusing thing: ``apply`` answers
200 before it has done anything and then tells of each change; whoever loses the connection knows what was answered, and
that the rest is not known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from aiohttp import web

import isthmus
from isthmus.agents.gateway.authority import Authority, BadRequest
from isthmus.agents.gateway.callers import Callers
from isthmus.agents.gateway.enrolled import NameTaken, Tokens
from isthmus.agents.gateway.host import Host
from isthmus.agents.gateway.limits import Rate
from isthmus.agents.gateway.problems import Denied, denial, response
from isthmus.agents.gateway.sessions import Sessions
from isthmus.drivers.linux.remote import messages as api
from isthmus.drivers.linux.remote.typed import BadMessage, Reader
from isthmus.model.plan import Change
from isthmus.telemetry import get_logger

__all__ = ["Api", "Settings"]

T = TypeVar("T")
_BODY = 30.0
"""Seconds for a body to come."""
_LONG_BODY = 120.0
"""Seconds for one that may be large."""
_STALL = 10.0
"""Seconds after which a client that does not read its answer is given up."""
_FLUSH = 1 << 14


class Settings:
    """What the agent's own command line says, and the driver found."""

    def __init__(
        self,
        *,
        installation: str,
        protocol: int,
        announce: tuple[str, ...],
        ipv6: bool,
        lifetime: timedelta = timedelta(days=90),
    ) -> None:
        self.installation = installation
        self.protocol = protocol
        self.announce = announce
        self.ipv6 = ipv6
        self.lifetime = lifetime


class Api:
    """The requests that there are; :meth:`application` to serve them."""

    def __init__(
        self, host: Host, settings: Settings, authority: Authority, callers: Callers, tokens: Tokens
    ) -> None:
        self._host = host
        self._settings = settings
        self._authority = authority
        self._callers = callers
        self._tokens = tokens
        self._log = get_logger("agent")
        self.sessions = Sessions()
        self._stopping = False
        self._said = Rate(per_second=1 / 60, burst=3)  # whoever knocks all day does not fill the log
        self._observe, self._apply = Reader(api.AskObserve), Reader(api.AskApply)
        self._epoch, self._probe = Reader(api.AskEpoch), Reader(api.AskProbe)
        self._enrol, self._renew = Reader(api.AskEnrol), Reader(api.AskRenew)

    def stop(self) -> None:
        """Let those who listen go."""
        self._stopping = True
        self._host.wake()

    def application(self) -> web.Application:
        """Return the application, without a listener."""
        application = web.Application(middlewares=[self._door], client_max_size=0)
        application.add_routes(
            [
                web.get("/healthz", self.healthz, allow_head=False),
                web.get("/v1/enrol", self.authority, allow_head=False),
                web.post("/v1/enrol", self.enrol),
                web.get("/v1/hello", self.hello, allow_head=False),
                web.post("/v1/observe", self.observe),
                web.post("/v1/apply", self.apply),
                web.post("/v1/prepare", self.prepare),
                web.post("/v1/vacate", self.vacate),
                web.post("/v1/probe", self.probe),
                web.get("/v1/drift", self.drift, allow_head=False),
                web.post("/v1/renew", self.renew),
            ]
        )
        return application

    @web.middleware
    async def _door(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            name = self._callers.identify(request)
            with self._callers.one_more(request, name):
                return await handler(request)
        except web.HTTPException as error:
            return response(Denied("not-found", error.status, f"{request.method} is not served at this path"))
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            denied = denial(error)
            if denied is None:
                self._log.error("a request failed", path=request.path, error=repr(error), exc_info=error)
                denied = Denied("failed", 500, "the agent failed; its log says why")
            elif denied.kind == "stale-epoch":
                self.sessions.fenced(self._callers.name_of(request) or "", denied.epoch)
            elif denied.kind in ("wrong-token", "not-enrolled") and not self._said.wait(request.remote or ""):
                self._log.warning("refused", path=request.path, address=request.remote, reason=denied.detail)
            return response(denied)

    # --- asking -------------------------------------------------------------------------------------------------

    async def healthz(self, request: web.Request) -> web.Response:
        """Say that the agent lives; to anybody, so nothing else."""
        return web.Response(text="ok\n")

    async def hello(self, request: web.Request) -> web.Response:
        """Say who this is."""
        own = self._settings
        return _json(
            api.Hello(
                api.API,
                isthmus.__version__,
                self._host.start,
                own.installation,
                own.protocol,
                own.announce,
                own.ipv6,
                self._host.fence.highest,
                self._host.moves,
            )
        )

    async def observe(self, request: web.Request) -> web.Response:
        """Read the host."""
        asked = await self._read(request, self._observe)
        seen = api.seen_of(await self._host.observe(asked.identities))
        raw = await asyncio.to_thread(api.encode, seen) if len(seen.resources) > 2000 else api.encode(seen)
        return web.Response(body=raw, content_type="application/json")

    async def probe(self, request: web.Request) -> web.Response:
        """Send echo requests."""
        asked = await self._read(request, self._probe)
        return _json(api.Probed(tuple(await self._host.probe(asked.targets))))

    async def drift(self, request: web.Request) -> web.StreamResponse:
        """Show signs of life, and how often the host has moved, until the client goes or is not on the list any more."""
        answer = await _begin(request)
        with self.sessions.one(self._callers.name_of(request) or "", request.remote or ""):
            while not self._stopping and self._callers.name_of(request) is not None:
                # Before the count is read, not after: a move in between must not be missed.
                moved = self._host.moved
                await _write(answer, api.encode(api.Beat(self._host.start, self._host.moves)) + b"\n")
                try:
                    async with asyncio.timeout(api.BEAT):
                        await moved.wait()
                except TimeoutError:
                    continue
        return answer

    # --- writing ------------------------------------------------------------------------------------------------

    async def prepare(self, request: web.Request) -> web.Response:
        """Make the host ready to be written to."""
        await self._host.prepare((await self._read(request, self._epoch)).epoch)
        return _json({})

    async def vacate(self, request: web.Request) -> web.Response:
        """Remove what is empty."""
        await self._host.vacate((await self._read(request, self._epoch)).epoch)
        return _json({})

    async def apply(self, request: web.Request) -> web.StreamResponse:
        """Carry changes out and tell of each how it ended."""
        asked = await self._read(request, self._apply)
        changes = [_change(step, at) for at, step in enumerate(asked.changes)]
        await self._host.fence.admit(asked.epoch)  # here, so that a stale writer gets a status of its own
        answer = await _begin(request)
        told, lines = 0, bytearray()
        end = api.Line(end=True)
        outcomes = self._host.apply(asked.epoch, changes, may=lambda: self._callers.name_of(request) is not None)
        try:
            async for outcome in outcomes:
                lines += api.encode(api.line_of(told, outcome)) + b"\n"
                told += 1
                if len(lines) > _FLUSH:
                    await _write(answer, bytes(lines))
                    lines.clear()
        except Exception as error:
            denied = denial(error)
            if denied is None:
                raise
            if denied.kind == "stale-epoch":
                self.sessions.fenced(self._callers.name_of(request) or "", denied.epoch)
            end = api.Line(end=True, problem=denied.kind, reason=api.shortened(denied.detail), epoch=denied.epoch)
        finally:
            await outcomes.aclose()
        await _write(answer, bytes(lines) + api.encode(end) + b"\n")
        await answer.write_eof()
        return answer

    # --- enrolling ----------------------------------------------------------------------------------------------

    async def authority(self, request: web.Request) -> web.Response:
        """Show the CA, for a client to compare with its token."""
        return _json(api.Authority(self._authority.pem))

    async def enrol(self, request: web.Request) -> web.Response:
        """Sign a new client's request, once for each token."""
        asked = await self._read(request, self._enrol)
        name = _client_name(asked.name)
        clients = self._callers.clients
        if not await asyncio.to_thread(self._tokens.redeem, asked.token, asked.secret):
            raise Denied(
                "wrong-token",
                403,
                "the token is wrong, used or expired",
                remedy="get a new one with `isthmus agent gateway token` on the gateway",
            )
        try:
            certificate = await asyncio.to_thread(self._authority.issue, asked.csr, name, self._settings.lifetime)
            await asyncio.to_thread(clients.add, name, certificate)
        except BadRequest as error:
            raise Denied("bad-request", 400, f"the request to sign: {error}", place="$.csr") from error
        except NameTaken as error:
            raise Denied(
                "name-taken",
                409,
                f"a client is called {name} already",
                place="$.name",
                remedy=f"use --name, or end that one with `isthmus agent gateway revoke {name}`; the token is used up",
            ) from error
        self._log.info("client enrolled", client=name, address=request.remote)
        return _json(api.Enrolled(_pem(certificate), self._authority.pem))

    async def renew(self, request: web.Request) -> web.Response:
        """Sign a new key of a client that is on the list."""
        asked = await self._read(request, self._renew)
        name = self._callers.name_of(request) or ""
        shown = self._callers.serial_of(request) or ""
        try:
            certificate = await asyncio.to_thread(self._authority.issue, asked.csr, name, self._settings.lifetime)
            await asyncio.to_thread(self._callers.clients.add, name, certificate, renews=shown)
        except BadRequest as error:
            raise Denied("bad-request", 400, f"the request to sign: {error}", place="$.csr") from error
        except NameTaken as error:
            raise Denied("not-enrolled", 403, "this client was taken off the list") from error
        self._log.info("certificate renewed", client=name)
        return _json(api.Enrolled(_pem(certificate), self._authority.pem))

    # --- reading ------------------------------------------------------------------------------------------------

    async def _read(self, request: web.Request, reader: Reader[T]) -> T:
        """Return the body as what it must be; raise ``Denied`` or ``BadMessage``."""
        most = api.MOST_ASKED.get(request.path, api.MOST_ASKED_ELSE)
        if request.headers.get("Content-Encoding") or request.content_type != "application/json":
            raise Denied("bad-request", 415, "the body must be application/json, not encoded further")
        if (request.content_length or 0) > most:
            raise _too_large(most)
        raw, limit = bytearray(), _BODY if most <= api.MIB else _LONG_BODY
        try:
            async with asyncio.timeout(limit):
                while chunk := await request.content.readany():
                    raw += chunk
                    if len(raw) > most:
                        raise _too_large(most)
        except TimeoutError as error:
            raise Denied("bad-request", 408, f"the body did not come within {limit:g} s") from error
        data = bytes(raw)
        return await asyncio.to_thread(reader.read, data) if len(data) > 1 << 18 else reader.read(data)


def _too_large(most: int) -> Denied:
    return Denied("too-large", 413, f"the body is longer than {most} bytes", remedy="send less at a time")


def _change(step: api.Step, at: int) -> Change:
    """Return a step as a change, once action and values fit each other."""
    resource = step.after if step.after is not None else step.before
    if resource is None:
        raise BadMessage("has neither a before nor an after", f".changes[{at}]")
    if (step.action == "delete") != (step.after is None):
        raise BadMessage(f"a {step.action} does not come so: only a delete has no after", f".changes[{at}]")
    if step.adopts and step.action == "delete":
        raise BadMessage("nothing is taken over by a delete", f".changes[{at}].adopts")
    if step.before is not None and step.before.identity != resource.identity:
        raise BadMessage("before and after are of different things", f".changes[{at}]")
    return Change(step.action, resource.identity, step.before, step.after, adopts=step.adopts)


def _client_name(name: str) -> str:
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789-._"
    if not 1 <= len(name) <= 64 or set(name.lower()) - set(allowed) or name[0] in "-.":
        raise Denied("bad-request", 400, "a client's name has 1 to 64 of a-z, 0-9, '-', '.' and '_'", place="$.name")
    return name.lower()


def _json(message: Any) -> web.Response:
    return web.Response(body=api.encode(message), content_type="application/json")


def _pem(certificate: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    text: bytes = certificate.public_bytes(Encoding.PEM)
    return text.decode()


async def _begin(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
    await answer.prepare(request)
    return answer


async def _write(answer: web.StreamResponse, data: bytes) -> None:
    """Send; a client that does not read is a client that is gone."""
    try:
        async with asyncio.timeout(_STALL):
            await answer.write(data)
    except TimeoutError as error:
        raise ConnectionResetError("the client does not read its answer") from error
