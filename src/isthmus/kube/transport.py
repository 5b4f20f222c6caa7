"""One HTTP session with one API: TLS, credential, time-outs, and every foreign exception turned into one of ours.

Knows how to get a request there and an answer back, or why not. Refuses to know what is asked: URLs come from ``client``.
A 401 renews the credential and tries once more; nothing else is retried here, that is the caller's decision.

The one confusing thing: connections carry TCP keepalive and TCP_USER_TIMEOUT, so a silent cut is noticed by the kernel
in about 15 s. That proves the next hop alive, not the API behind a proxy; the informer proves that.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import perf_counter, time
from typing import Any

import aiohttp
from yarl import URL

from isthmus.errors import KubeError, KubeUnreachable
from isthmus.kube.connection import Connection
from isthmus.kube.credentials import Credentials
from isthmus.kube.refusals import refusal
from isthmus.kube.tls import TlsContexts
from isthmus.metrics import API_REQUESTS

_LARGEST_ANSWER = 256 << 20
_LARGEST_REFUSAL = 1 << 20


@dataclass(frozen=True, slots=True)
class Patience:
    """How long we wait, in seconds: for a connection, for a whole answer, and for the first line of a watch."""

    connect: float = 5.0
    request: float = 30.0
    headers: float = 5.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. ``what`` is the sentence for people: ``list nodes``."""

    what: str
    method: str
    url: URL
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"


class Transport:
    """An open session; use it as ``async with``."""

    def __init__(self, connection: Connection, *, user_agent: str, patience: Patience) -> None:
        self.connection = connection
        self.patience = patience
        self._credentials = Credentials(connection)
        self._tls = TlsContexts(connection)
        # Compression is declined: it costs more CPU on both sides than it saves wire, and an answer's size stays bounded.
        self._headers = {"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "identity"}
        self._session: aiohttp.ClientSession | None = None
        self._dated: tuple[str, float] | None = None

    async def __aenter__(self) -> Transport:
        connector = aiohttp.TCPConnector(limit=256, socket_factory=_socket)
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=1 << 18, trust_env=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def skew(self) -> float | None:
        """Return by how many seconds the server's clock is ahead of ours, to a second or so; none where it never said."""
        if self._dated is None:
            return None
        said, heard = self._dated
        try:
            return parsedate_to_datetime(said).timestamp() - heard
        except ValueError:
            return None

    async def send(self, ask: Ask, *, timeout: float | None = None) -> bytes:
        """Return the body of the answer to ``ask``. Raises a KubeError for every answer but 2xx, and for none."""
        limit = aiohttp.ClientTimeout(total=timeout or self.patience.request, sock_connect=self.patience.connect)
        with self._measured(ask):
            response = await self._open(ask, limit, None)
            try:
                with mapped(ask.what):
                    return await _read(response, _LARGEST_ANSWER, ask.what)
            finally:
                # A body that was read to its end has freed its connection already; anything else must not be reused.
                response.close()

    @asynccontextmanager
    async def stream(self, ask: Ask, *, read_timeout: float) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open ``ask`` as a stream that must say something every ``read_timeout`` seconds."""
        limit = aiohttp.ClientTimeout(total=None, sock_connect=self.patience.connect, sock_read=read_timeout)
        # An API answers a watch at once, with headers alone; one that does not will not send events either.
        with self._measured(ask):
            response = await self._open(ask, limit, self.patience.connect + self.patience.headers)
        try:
            yield response
        finally:
            response.close()

    @contextmanager
    def _measured(self, ask: Ask) -> Iterator[None]:
        began, result = perf_counter(), "ok"
        try:
            yield
        except KubeError as error:
            result = str(error.status) if error.status else "unreachable"
            raise
        finally:
            verb = ask.what.partition(" ")[0]  # our own words, a handful
            API_REQUESTS.labels(self.connection.name, verb, result).observe(perf_counter() - began)

    async def _open(
        self, ask: Ask, limit: aiohttp.ClientTimeout, headers_within: float | None
    ) -> aiohttp.ClientResponse:
        assert self._session is not None, "the client is used outside its 'async with'"
        for attempt in (1, 2):
            credential = await self._credentials.current()
            context = await self._tls.context(credential)
            headers = dict(self._headers)
            if credential.token:
                headers["Authorization"] = f"Bearer {credential.token}"
            if ask.body is not None:
                headers["Content-Type"] = ask.content_type
            extra: dict[str, Any] = {"ssl": context} if context is not None else {}
            if self.connection.tls_server_name and context is not None:
                extra["server_hostname"] = self.connection.tls_server_name
            with mapped(ask.what):
                request = self._session.request(
                    ask.method,
                    ask.url.extend_query(ask.query),
                    data=ask.body,
                    headers=headers,
                    timeout=limit,
                    allow_redirects=False,  # a redirect could carry the token to another host
                    proxy=self.connection.proxy_url,
                    **extra,
                )
                async with asyncio.timeout(headers_within):
                    response = await request
            if "Date" in response.headers:
                self._dated = response.headers["Date"], time()
            if 200 <= response.status < 300:
                return response
            try:
                with mapped(ask.what):
                    body = await _read(response, _LARGEST_REFUSAL, ask.what)
            finally:
                response.close()
            if response.status == 401 and attempt == 1 and await self._credentials.renew(credential):
                continue
            raise refusal(
                ask.what,
                response.status,
                body,
                retry_after=response.headers.get("Retry-After"),
                secret=credential.token,
            )
        raise AssertionError("the second attempt returns or raises")


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Turn whatever a connection raises into KubeUnreachable, saying ``what`` was asked.

    Causes are chained only where their text and arguments cannot hold a header, and so a credential.
    """
    try:
        yield
    except aiohttp.ClientResponseError as error:
        raise KubeUnreachable(f"{what}: the proxy or server answered {error.status}") from None
    except aiohttp.ClientConnectorCertificateError as error:
        cause = error.certificate_error
        text = getattr(cause, "verify_message", "") or str(cause)
        raise KubeUnreachable(f"{what}: the server's certificate is not trusted: {text}") from cause
    except aiohttp.ClientConnectorError as error:
        # Its arguments hold the connection's key, and with it a proxy's password: the inner error tells enough.
        inner = error.os_error
        raise KubeUnreachable(f"{what}: cannot connect to {error.host}:{error.port}: {_words(inner)}") from inner
    except TimeoutError as error:
        raise KubeUnreachable(f"{what}: no answer in time") from error
    except aiohttp.InvalidURL as error:
        raise KubeUnreachable(f"{what}: the URL cannot be used") from error
    except (aiohttp.ClientError, OSError) as error:
        raise KubeUnreachable(f"{what}: the connection broke: {_words(error)}") from error


def _words(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


async def _read(response: aiohttp.ClientResponse, limit: int, what: str) -> bytes:
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise KubeError(f"{what}: the answer is larger than {limit >> 20} MiB")
    return b"".join(pieces)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """Make a socket that notices a silent cut: probes after 6 s, every 3 s; unacknowledged data for 15 s ends it."""
    family, kind, protocol = address[0], address[1], address[2]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 6)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000)
    return made
