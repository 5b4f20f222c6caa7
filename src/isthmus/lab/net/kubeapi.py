"""The lab's own small Kubernetes client: read, write, and follow one list.

What stands on the cluster's side of the lab (kubelets, the endpointslice controller, flanneld) talks to the API through
this and not through Isthmus's client, so that a fault there cannot hide on both sides. It knows paths and JSON, no kinds.
The confusing thing is `follow`: it never ends by itself; it lists, watches, and lists again when the server has forgotten
where we were (410) or could not be reached.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import aiohttp

from isthmus.errors import (
    KubeConflict,
    KubeError,
    KubeExpired,
    KubeForbidden,
    KubeInvalid,
    KubeNotFound,
    KubeThrottled,
    KubeUnauthorized,
    KubeUnreachable,
)

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
_CLASSES: Mapping[int, type[KubeError]] = {
    400: KubeInvalid,
    401: KubeUnauthorized,
    403: KubeForbidden,
    404: KubeNotFound,
    409: KubeConflict,
    410: KubeExpired,
    422: KubeInvalid,
}
_REQUEST_SECONDS = 10.0
_WATCH_SECONDS = 240
_SLOWEST_RETRY = 2.0
# One watch event is one line; a big object may be longer than aiohttp's default line limit.
_LINE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Listed:
    """A complete list: everything that exists now."""

    items: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """One change after the list."""

    kind: Literal["ADDED", "MODIFIED", "DELETED"]
    item: Json


class KubeClient:
    """A client of one API server, open between ``async with`` and its end."""

    def __init__(self, url: str, *, token: str = "", ca_path: Path | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._ca_path = ca_path
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        context: ssl.SSLContext | bool = True
        if self.url.startswith("https:"):
            context = await asyncio.to_thread(ssl.create_default_context, cafile=self._ca_path)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            headers={**self._headers, "User-Agent": "isthmus-lab"},
            read_bufsize=_LINE_BYTES,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str) -> Json:
        """Return the object at ``path``."""
        return await self._ask("GET", path)

    async def create(self, collection: str, item: Json) -> Json:
        """Create ``item`` in ``collection``; KubeConflict if it exists."""
        return await self._ask("POST", collection, item)

    async def patch(self, path: str, change: Json) -> Json:
        """Merge ``change`` into the object at ``path`` (RFC 7386)."""
        return await self._ask("PATCH", path, change, MERGE)

    async def delete(self, path: str) -> None:
        """Delete the object at ``path``; it does not matter if it is gone already."""
        try:
            await self._ask("DELETE", path)
        except KubeNotFound:
            return

    async def ensure(self, collection: str, item: Json) -> Json:
        """Create ``item``, or merge it into the object of that name."""
        try:
            return await self.create(collection, item)
        except KubeConflict:
            return await self.patch(f"{collection}/{item['metadata']['name']}", item)

    async def follow(self, collection: str) -> AsyncIterator[Listed | Changed]:
        """Yield the list, then each change to it, for ever; a new list whenever continuity was lost."""
        delay = 0.05
        version = ""
        while True:
            try:
                if not version:
                    answer = await self._ask("GET", collection)
                    version = str(answer["metadata"]["resourceVersion"])
                    yield Listed(tuple(answer.get("items") or ()))
                async for kind, item in self._watch(collection, version):
                    version = str(item["metadata"]["resourceVersion"])
                    delay = 0.05
                    if kind in {"ADDED", "MODIFIED", "DELETED"}:
                        yield Changed(kind, item)  # type: ignore[arg-type]
                # A clean end is normal; a server that ends every watch at once must not make us spin.
                await asyncio.sleep(delay)
            except KubeExpired:
                version = ""
            except KubeError:
                await asyncio.sleep(delay)
                delay = min(delay * 2, _SLOWEST_RETRY)

    async def _watch(self, collection: str, version: str) -> AsyncIterator[tuple[str, Json]]:
        query = f"watch=1&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={_WATCH_SECONDS}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_REQUEST_SECONDS, sock_read=_WATCH_SECONDS + 20)
        try:
            async with self._opened().get(f"{self.url}{collection}?{query}", timeout=timeout) as answer:
                if answer.status != 200:
                    raise _refusal(answer.status, await answer.read(), answer.headers.get("Retry-After"))
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise _refusal(int(status.get("code", 500)), json.dumps(status).encode(), None)
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise KubeUnreachable(f"watch of {collection}: {type(error).__name__}: {error}") from error

    async def _ask(self, method: str, path: str, body: Json | None = None, kind: str = "application/json") -> Json:
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind} if data is not None else {}
        try:
            async with self._opened().request(
                method, self.url + path, data=data, headers=headers, timeout=timeout
            ) as answer:
                raw = await answer.read()
                if answer.status >= 400:
                    raise _refusal(answer.status, raw, answer.headers.get("Retry-After"))
                found: Json = json.loads(raw)
                return found
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise KubeUnreachable(f"{method} {path}: {type(error).__name__}: {error}") from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise KubeUnreachable(f"the client of {self.url} is not open")
        return self._session


def _refusal(status: int, body: bytes, retry_after: str | None) -> KubeError:
    try:
        answer = json.loads(body)
        message, reason = str(answer.get("message", "")), str(answer.get("reason", ""))
    except (ValueError, AttributeError):
        message, reason = body[:200].decode(errors="replace"), ""
    if status == 429 or (status == 503 and retry_after):
        seconds = float(retry_after) if retry_after and retry_after.isdecimal() else 1.0
        return KubeThrottled(message, status=status, reason=reason, retry_after=seconds)
    return _CLASSES.get(status, KubeError)(message or f"status {status}", status=status, reason=reason)
