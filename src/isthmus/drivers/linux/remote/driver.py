"""The Linux gateway as a device, when its agent is elsewhere: the same questions, asked over HTTPS.

What the host holds and how it is written is the agent's business; here a lost connection becomes what it means for a device.
The one confusing thing: a connection that ends in the middle of ``apply`` says nothing about the changes without an answer.
They may stand, they are *unknown*, and are read again; what was answered stays answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from isthmus.drivers.base import Adapted, Observation, Outcome, ProbeResult, ProbeTarget
from isthmus.drivers.linux import spelling
from isthmus.drivers.linux.remote.credentials import Credentials, Requested, common_name, due
from isthmus.drivers.linux.remote.exchange import LONG, Exchange, problem_error
from isthmus.drivers.linux.remote.messages import (
    API,
    MOST_ANSWERED_ELSE,
    AskApply,
    AskEpoch,
    AskObserve,
    AskProbe,
    AskRenew,
    Enrolled,
    Hello,
    Line,
    Probed,
    Seen,
    observation_of,
    spell_changes,
)
from isthmus.drivers.linux.remote.pulse import Pulse
from isthmus.drivers.linux.remote.typed import BadMessage, Reader
from isthmus.errors import DeviceError, DeviceUnreachable, DeviceUnsupported, StateError
from isthmus.model.plan import Change
from isthmus.model.resources import AnyResource
from isthmus.telemetry import get_logger

__all__ = ["RemoteGateway"]

_hello, _seen, _probed, _line, _enrolled = Reader(Hello), Reader(Seen), Reader(Probed), Reader(Line), Reader(Enrolled)
_done = Reader(dict[str, str])

HELLO = 5.0
"""Seconds for an agent to say who it is."""
PROBE = 10.0
RENEWAL_LOOK = 3600.0
"""Seconds between two looks at how long our certificate still holds."""


class _Open:
    """What an open driver holds."""

    def __init__(self, exchange: Exchange, hello: Hello) -> None:
        self.exchange = exchange
        self.hello = hello
        self.pulse = Pulse(exchange, hello)
        self.renewal: asyncio.Task[None] | None = None
        self._before: list[Exchange] = []

    async def go_on_with(self, fresh: Exchange) -> None:
        """Ask by ``fresh`` from now on, without anybody who waits noticing: what it finds out, they hear as well."""
        before, self.exchange = self.exchange, fresh
        self._before.append(before)
        fresh.lost.add_done_callback(lambda lost: before.lose(lost.result()))
        await self.pulse.follow(fresh)

    async def close(self) -> None:
        if self.renewal is not None:
            self.renewal.cancel()
            await asyncio.gather(self.renewal, return_exceptions=True)
        await self.pulse.stop()
        for exchange in (self.exchange, *self._before):
            await exchange.close()


class RemoteGateway:
    """Drive a Linux gateway through its agent at ``url``.

    ``directory`` is where the credentials of devices lie, each device's in a folder of its name; ``epoch`` says which writer
    we are. The owner marks and the interfaces for VIPs are the agent's own settings.
    """

    def __init__(
        self,
        device: str,
        url: str,
        directory: Path,
        epoch: Callable[[], int],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.credentials = Credentials(directory, device)
        self._url = url
        self._place = f"the gateway agent at {url}"
        self._epoch = epoch
        self._clock = clock
        self._open: _Open | None = None
        self._ipv6 = True
        self._announce: tuple[str, ...] = ()
        self._foreign: frozenset[str] = frozenset()
        self._contested: set[str] = set()
        self._contesting = asyncio.Event()
        self._log = get_logger("linux").bind(device=device)

    @property
    def agent_version(self) -> str:
        """Return which release the agent said it is; empty while not connected."""
        return self._open.hello.version if self._open is not None else ""

    async def open(self) -> None:
        """Connect, and learn what the gateway can do; raise a ``DeviceError`` with what is missing."""
        if self._open is not None:
            return
        context = await asyncio.to_thread(self.credentials.context, now=self._clock())
        exchange = Exchange(self._url, self._place, context)
        try:
            hello = await exchange.ask("GET", "/v1/hello", None, _hello, limit=HELLO)
            if hello.api != API:
                raise DeviceUnsupported(
                    f"{self._place} is isthmus {hello.version} and speaks version {hello.api} of the gateway API, this is "
                    f"{API}; install the same release on both"
                )
        except BaseException:
            await exchange.close()
            raise
        self._ipv6, self._announce = hello.ipv6, hello.announce
        self._open = _Open(exchange, hello)
        self._open.pulse.start()
        self._open.renewal = asyncio.create_task(self._keep_renewed(self._open), name=f"renewal for {self._place}")

    async def prepare(self) -> None:
        """Make the gateway ready to be written to, and those with an older epoch unable to."""
        await self._opened().exchange.ask("POST", "/v1/prepare", AskEpoch(self._epoch()), _done)

    async def vacate(self) -> None:
        """Remove what only holds our things if nothing is in it any more."""
        await self._opened().exchange.ask("POST", "/v1/vacate", AskEpoch(self._epoch()), _done)

    async def close(self) -> None:
        """Let go of connections; the gateway keeps what it holds."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened.close()

    async def observe(self, identities: Collection[str] | None = None) -> Observation:
        """Return what the gateway holds: everything, or what stands at ``identities`` alone."""
        asked = AskObserve(None if identities is None else tuple(sorted(identities)))
        seen = await self._opened().exchange.ask("POST", "/v1/observe", asked, _seen)
        observation = observation_of(seen)
        expected = None if identities is None else frozenset(identities)
        if observation.identities != expected:
            raise DeviceError(f"{self._place}: it was asked about some things and answered about others")
        if identities is None:
            self._foreign = frozenset(observation.foreign)
            self._contested &= self._foreign
        return observation

    def adapt(self, desired: Mapping[str, AnyResource]) -> Adapted:
        """Return ``desired`` as the gateway would read it back, and what it refuses by value."""
        news = (self._foreign & desired.keys()) - self._contested if self._foreign else frozenset()
        if news:
            self._contested |= news
            self._contesting.set()
        return spelling.adapt(desired, ipv6=self._ipv6, announce=self._announce)

    def replaces(self, before: AnyResource, after: AnyResource) -> str:
        """Return what of ``before`` the gateway's kernel cannot change into ``after`` while it stands."""
        return spelling.replaces(before, after)

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Have ``changes`` carried out in order; without an answer, what was not answered is unknown."""
        exchange = self._opened().exchange
        if not changes:
            return
        answered = 0
        asked = AskApply(self._epoch(), spell_changes(changes))
        try:
            async with AsyncExitStack() as stack:
                begun = stack.enter_async_context(exchange.answer("POST", "/v1/apply", asked))
                reply = await exchange.unless_lost(begun)
                rest, ended = b"", False
                while not ended:
                    chunk = await self._next(exchange, reply)
                    if not chunk:
                        raise DeviceUnreachable(f"{self._place}: the connection ended in the middle of the answer")
                    *lines, rest = (rest + chunk).split(b"\n")
                    if len(rest) > MOST_ANSWERED_ELSE:
                        raise exchange.nonsense("/v1/apply", BadMessage("is a line without an end"))
                    for raw in lines:
                        line = _line.read(raw)
                        if line.end:
                            self._end(line)
                            ended = True
                            break
                        if line.at != answered or line.result is None or answered >= len(changes):
                            raise BadMessage(f"tells of change {line.at} where {answered} is due")
                        outcome = Outcome(changes[answered], line.result, line.reason, line.disturbed)
                        answered += 1
                        yield outcome
        except BadMessage as error:
            raise exchange.nonsense("/v1/apply", error) from error
        except DeviceUnreachable as error:
            if not answered:
                raise  # nothing is known to have been begun: the device as a whole did not answer
            for change in changes[answered:]:
                yield Outcome(change, "unknown", str(error))
            return
        for change in changes[answered:]:
            yield Outcome(change, "unknown", f"{self._place} said nothing about it")

    async def _next(self, exchange: Exchange, reply: aiohttp.ClientResponse) -> bytes:
        try:
            async with asyncio.timeout(LONG):
                return await exchange.unless_lost(reply.content.readany())
        except TimeoutError as error:
            raise DeviceUnreachable(f"{self._place}: it lives, but has finished nothing in {LONG:g} s") from error

    def _end(self, line: Line) -> None:
        if line.problem is not None:
            raise problem_error(self._place, line.problem, line.reason, line.epoch)

    async def drift(self) -> None:
        """Return when the gateway has moved by somebody else's hand; raise ``DeviceUnreachable`` when its agent is gone."""
        opened = self._opened()
        moved = asyncio.ensure_future(opened.pulse.moved())
        try:
            while not moved.done():
                contesting = asyncio.ensure_future(self._contesting.wait())
                try:
                    await asyncio.wait({moved, contesting}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    contesting.cancel()
                if self._contesting.is_set() and not moved.done():
                    # The agent knows no wishes: by asking about what others hold, it learns to tell when that goes.
                    self._contesting.clear()
                    await self.observe(self._contested)
            await moved
        finally:
            moved.cancel()
            await asyncio.gather(moved, return_exceptions=True)

    async def probe(self, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        """Send echo requests from the gateway and return an answer for each target, in order."""
        if not targets:
            return []
        asked = AskProbe(tuple(targets))
        answer = await self._opened().exchange.ask("POST", "/v1/probe", asked, _probed, limit=PROBE)
        if [result.target for result in answer.results] != list(targets):
            raise DeviceError(f"{self._place}: it was asked to probe some addresses and answered about others")
        return answer.results

    def _opened(self) -> _Open:
        if self._open is None:
            raise DeviceUnreachable(f"{self._place} is not open")
        return self._open

    # --- our certificate ----------------------------------------------------------------------------------------

    async def _keep_renewed(self, opened: _Open) -> None:
        said = ""
        while True:
            try:
                await self._renew_if_due(opened)
            except (DeviceError, StateError, ValueError) as error:
                if str(error) != said:
                    said = str(error)
                    self._log.warning("certificate not renewed", error=said)
            await asyncio.sleep(RENEWAL_LOOK)

    async def _renew_if_due(self, opened: _Open) -> None:
        """Replace our certificate once two thirds of its life are over, and connect anew with it."""
        certificate = await asyncio.to_thread(self.credentials.certificate)
        if not due(certificate, self._clock()):
            return
        self.credentials.check_writable(certificate)
        requested = await asyncio.to_thread(Requested.new, common_name(certificate))
        answer = await opened.exchange.ask("POST", "/v1/renew", AskRenew(requested.csr), _enrolled, limit=HELLO)
        await asyncio.to_thread(self.credentials.renew, requested, answer.certificate)
        # Connections that are open know the old one only, and would end with it.
        context = await asyncio.to_thread(self.credentials.context)
        await opened.go_on_with(Exchange(self._url, self._place, context))
        self._log.info("certificate renewed")
