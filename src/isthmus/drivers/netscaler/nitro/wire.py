"""One HTTP request to one node of the device, and what came back; every failure on the way is ``DeviceUnreachable``.

Time-outs hold for the connection, for silence, and for the whole; the answer's size is bounded; redirects, proxies of the
environment and cookies of the library are out of the question. Whether to ask again is decided by whoever asked.

The one confusing thing: an HTTP client may send a PUT or DELETE a second time when an idle connection was just closed by the
other side. That is switched off: of a lost write nobody knows whether it was carried out, so it is looked at, not repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp
from yarl import URL

import isthmus
from isthmus.drivers.netscaler.nitro.bodies import LARGEST, Answer
from isthmus.drivers.netscaler.nitro.tls import Trust
from isthmus.errors import DeviceError, DeviceRefused, DeviceUnreachable

__all__ = ["NotSent", "Request", "Wire"]

IDLE = 4.0
"""Seconds after which an idle connection is given up: before Apache does (5 s), so that none is used that just ends."""
_CONNECT = 5.0


class NotSent(DeviceUnreachable):
    """There was not even a connection, so the device has not heard of the request."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: ``target`` is path and query as they go out, ``limit`` the seconds of silence that are borne.

    The whole may take three times as long: a list of thousands comes piece by piece.
    """

    method: str
    target: str
    what: str
    limit: float
    body: bytes | None = None
    token: str = ""
    continues: bool = False

    def __repr__(self) -> str:
        """Return what it asks for; neither token nor body."""
        return f"<{self.what}>"


class Wire:
    """HTTP to the nodes of one device; ``place`` names it in errors."""

    def __init__(self, place: str, trust: Trust, *, connections: int) -> None:
        self._place = place
        self._trust = trust
        connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=IDLE, ttl_dns_cache=10)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            headers={
                "User-Agent": f"isthmus/{isthmus.__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
        )
        self._session._retry_connection = False  # the library has no public word for it; a test holds it

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()

    async def send(self, root: str, request: Request) -> Answer:
        """Return the answer of the node at ``root``; raise ``DeviceUnreachable``, or ``DeviceRefused`` by its certificate."""
        url = URL(root + request.target, encoded=True)
        headers = {}
        if request.token:
            headers["Cookie"] = f"NITRO_AUTH_TOKEN={request.token}"
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if request.continues:
            headers["X-NITRO-ONERROR"] = "continue"
        context = None if url.scheme == "http" else await self._trust.context()
        timeout = aiohttp.ClientTimeout(
            total=3 * request.limit, sock_connect=min(_CONNECT, request.limit), sock_read=request.limit
        )
        try:
            async with self._session.request(
                request.method,
                url,
                data=request.body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                ssl=True if context is None else context,
            ) as response:
                body = await _read(response)
                return Answer(
                    response.status,
                    body,
                    response.headers.get("X-NITRO-WARNING", ""),
                    response.headers.get("Retry-After", ""),
                    tuple(response.headers.getall("Set-Cookie", ())),
                )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not self._session.closed:
                raise
            # Nothing is chained: what these hold in their arguments includes the headers, and so the session.
            raise self._mapped(root, request, error) from None

    def _mapped(self, root: str, request: Request, error: Exception) -> DeviceError:
        place = f"{self._place} ({root}): {request.what}"
        match error:
            case aiohttp.ServerFingerprintMismatch():
                return DeviceRefused(
                    f"{self._place} ({root}): shows another certificate than the pinned one: its SHA-256 is "
                    f"{error.got.hex()}; if the device has got a new one, write that as certificateSha256"
                )
            case aiohttp.ClientConnectorCertificateError():
                reason = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
                return DeviceRefused(
                    f"{self._place} ({root}): its certificate is not trusted: {reason}; "
                    "give the CA that signed it (caFile), or pin it (certificateSha256)"
                )
            case aiohttp.ClientConnectorError():
                return NotSent(f"{place}: cannot connect: {_words(error.os_error)}")
            case aiohttp.ConnectionTimeoutError():
                return NotSent(f"{place}: no connection within {min(_CONNECT, request.limit):g} s")
            case TimeoutError():
                return DeviceUnreachable(f"{place}: no answer within {request.limit:g} s")
            case aiohttp.ClientResponseError():
                return DeviceUnreachable(f"{place}: what came is not HTTP")
            case _TooLarge():
                return DeviceUnreachable(f"{place}: the answer is larger than {LARGEST >> 20} MiB")
            case _:
                return DeviceUnreachable(f"{place}: the connection broke: {_words(error)}")


class _TooLarge(ValueError):
    pass


async def _read(response: aiohttp.ClientResponse) -> bytes:
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST:
            response.close()
            raise _TooLarge
    return b"".join(pieces)


def _words(error: BaseException) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
