"""One request to an agent and its answer: time limits, size limits, and what every failure means for a device.

The one confusing thing: two kinds of "no answer" are told apart. A request may take long (a gateway with ten thousand
Services is read in seconds), so its own limit is generous; that the agent is *gone* is noticed by its heartbeat, and then
every request under way ends at once (see ``pulse``).
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp

from isthmus.drivers.linux.remote.messages import MOST_ANSWERED, MOST_ANSWERED_ELSE, Problem, encode
from isthmus.drivers.linux.remote.typed import BadMessage, Reader
from isthmus.errors import DeviceError, DeviceFenced, DeviceRefused, DeviceUnreachable, DeviceUnsupported

__all__ = ["Exchange", "problem_error"]

T = TypeVar("T")

CONNECT = 3.0
"""Seconds to connect, TLS included."""
LONG = 120.0
"""Seconds that the longest request may take: to read or to write a gateway whole."""
IDLE = 10.0
"""Seconds after which an idle connection is given up: before the agent does, so that none is used that just ends."""
_problem = Reader(Problem)


class Exchange:
    """Requests to the agent at ``url``; ``place`` names it in errors."""

    def __init__(self, url: str, place: str, context: ssl.SSLContext) -> None:
        self.url = url.rstrip("/")
        self.place = place
        self.lost: asyncio.Future[DeviceError] = asyncio.get_running_loop().create_future()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=8, keepalive_timeout=IDLE, ttl_dns_cache=10),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, connect=2 * CONNECT),
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """End all requests and connections."""
        if not self.lost.done():
            self.lost.set_result(DeviceUnreachable(f"{self.place} is not open"))
        await self._session.close()

    def lose(self, error: DeviceError) -> None:
        """End every request under way and to come with ``error``: the agent is gone."""
        if not self.lost.done():
            self.lost.set_result(error)

    async def ask(self, method: str, path: str, message: Any, reader: Reader[T], *, limit: float = LONG) -> T:
        """Return the answer to ``message``; raise a ``DeviceError`` that names the agent."""
        most = MOST_ANSWERED if path == "/v1/observe" else MOST_ANSWERED_ELSE

        async def once() -> T:
            async with self.answer(method, path, message) as response:
                raw = await read_limited(response.content, most)
            return await asyncio.to_thread(reader.read, raw) if len(raw) > 1 << 18 else reader.read(raw)

        try:
            async with asyncio.timeout(limit):
                return await self.unless_lost(once())
        except TimeoutError as error:
            raise DeviceUnreachable(f"{self.place}: no answer to {path} within {limit:g} s") from error
        except BadMessage as error:
            raise self.nonsense(path, error) from error

    @asynccontextmanager
    async def answer(
        self, method: str, path: str, message: Any = None, params: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the response to ``message`` once it is known to be none of failure."""
        data = None if message is None else encode(message)
        try:
            async with self._session.request(
                method,
                self.url + path,
                data=io.BytesIO(data) if data is not None else None,  # sent piece by piece: the loop stays free
                params=params,
                headers={"Content-Type": "application/json"} if data is not None else None,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    raise await self._refusal(path, response)
                yield response
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise _mapped(self.place, error) from error

    async def unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work`` returns, unless the agent is found gone before."""
        task = asyncio.ensure_future(work)
        ends: set[asyncio.Future[Any]] = {task, self.lost}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise self.lost.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def nonsense(self, path: str, error: BadMessage) -> DeviceError:
        """Return the error for an answer that cannot be one of an agent's."""
        return DeviceError(
            f"{self.place}: the answer to {path} makes no sense at {error.place}: {error.reason[:200]} "
            "(is there another program, or another version, at this address?)"
        )

    async def _refusal(self, path: str, response: aiohttp.ClientResponse) -> DeviceError:
        try:
            raw = await read_limited(response.content, MOST_ANSWERED_ELSE)
            problem = _problem.read(raw)
        except BadMessage as error:
            if response.status in (502, 503, 504):
                return DeviceUnreachable(f"{self.place}: status {response.status} from {path}")
            return self.nonsense(path, BadMessage(f"status {response.status}, {error.reason}"))
        return problem_error(self.place, problem.kind, _said(problem), problem.epoch)


def problem_error(place: str, kind: str, text: str, epoch: int = 0) -> DeviceError:
    """Return what a problem of ``kind`` means for the device."""
    said = f"{place}: {text[:1000]}"
    match kind:
        case "stale-epoch":
            return DeviceFenced(said, epoch=epoch)
        case "device-unreachable" | "too-many-requests" | "failed":
            return DeviceUnreachable(said)
        case "device-unsupported":
            return DeviceUnsupported(said)
    return DeviceRefused(said)


async def read_limited(stream: aiohttp.StreamReader, most: int) -> bytes:
    """Return all of ``stream``; raise ``BadMessage`` once it is longer than ``most``."""
    chunks: list[bytes] = []
    size = 0
    while chunk := await stream.readany():
        size += len(chunk)
        if size > most:
            raise BadMessage(f"is longer than {most} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _said(problem: Problem) -> str:
    where = f"{problem.place}: " if problem.place else ""
    return f"{where}{problem.detail or problem.title}" + (f" ({problem.remedy})" if problem.remedy else "")


def _mapped(place: str, error: BaseException) -> DeviceError:
    """Return what a failure of the connection means."""
    # aiohttp's own class is an SSLCertVerificationError without what makes one; the real one is inside.
    cause: BaseException | None = (
        error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
    )
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return DeviceRefused(
                f"{place}: its certificate is not one of the agent we are enrolled with: {cause.verify_message}; "
                "if the agent was set up anew, or has another address, enrol again"
            )
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            alert = (cause.reason or "").rpartition("ALERT_")[2].replace("_", " ").lower()
            return DeviceRefused(f"{place}: the agent does not accept our certificate ({alert}); enrol again")
        cause = cause.__cause__ or cause.__context__
    text = "time is up" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return DeviceUnreachable(f"{place}: {text}")
