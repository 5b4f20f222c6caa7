"""One watch on the wire: events as they come, bookmarks now and then, and the end.

The confusing thing: a frozen watch does nothing at all, not even end in time. It stands for a connection whose packets
are dropped on the way, so the client must not be helped to notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from aiohttp import web

from isthmus.lab.kube.kinds import Resource
from isthmus.lab.kube.listing import Query, Start
from isthmus.lab.kube.status import ApiError
from isthmus.lab.kube.watching import Watcher, frame

DEFAULT_TIMEOUT = 1800.0  # seconds; kube-apiserver draws from 1800 to 3600


def _headers(table: bool = False) -> dict[str, str]:
    media = "application/json;as=Table;g=meta.k8s.io;v=v1" if table else "application/json"
    return {"Content-Type": media, "Cache-Control": "no-cache, private"}


def bookmark(resource: Resource, rv: int, *, initial_end: bool = False) -> bytes:
    """Return a BOOKMARK event: nothing older than ``rv`` is missing; ``initial_end``: the streamed list is complete."""
    meta: dict[str, object] = {"resourceVersion": str(rv), "creationTimestamp": None}
    if initial_end:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    body = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
    return frame("BOOKMARK", msgspec.json.encode(body))


async def stream_error(request: web.Request, error: ApiError) -> web.StreamResponse:
    """Answer a watch with 200 and one ERROR event, as the watch cache does for a version that is too old."""
    response = web.StreamResponse(headers=_headers())
    await response.prepare(request)
    await response.write(frame("ERROR", msgspec.json.encode(error.body())))
    await response.write_eof()
    return response


class Stream:
    """The loop of one watch."""

    def __init__(
        self, resource: Resource, query: Query, start: Start, current: Callable[[], int], every: float
    ) -> None:
        self.resource = resource
        self.query = query
        self.start = start
        self.current = current
        self.every = every  # seconds between bookmarks

    def _bookmark(self) -> bytes:
        rv = self.current()
        # After a restore the store may be behind the version that the client asked for: then there is nothing to promise.
        return b"" if rv < self.start.watcher.after else bookmark(self.resource, rv)

    async def run(self, request: web.Request, *, table: bool = False) -> web.StreamResponse:
        """Write events until the time is over, the client goes, or the watch is closed."""
        watcher = self.start.watcher
        response = web.StreamResponse(headers=_headers(table))
        transport = request.transport
        if transport is not None:
            watcher.abort = transport.abort
        try:
            await response.prepare(request)
            await self._opening(response)
            await self._events(response, watcher)
            await response.write_eof()
        except ConnectionError:
            return response  # the client has gone, or a test reset the connection
        return response

    async def _opening(self, response: web.StreamResponse) -> None:
        for piece in self.start.opening:
            await response.write(piece)
        if self.start.initial_end:
            # What has changed meanwhile waits in the watcher, so this mark is at the version of the opening, not today's.
            await response.write(bookmark(self.resource, self.start.initial_end, initial_end=True))

    async def _events(self, response: web.StreamResponse, watcher: Watcher) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + (self.query.timeout or DEFAULT_TIMEOUT)
        next_bookmark = clock() + self.every
        while True:
            if watcher.frozen and not watcher.closed:
                watcher.wake.clear()
                await watcher.wake.wait()
                continue
            if watcher.waiting:
                await response.write(watcher.take())
                continue
            if watcher.closed:
                return
            now = clock()
            over = now >= deadline
            if self.query.bookmarks and (over or now >= next_bookmark) and (line := self._bookmark()):
                await response.write(line)
            if over:
                return
            if now >= next_bookmark:
                next_bookmark = now + self.every
            watcher.wake.clear()
            if watcher.waiting or watcher.closed:
                continue
            try:
                async with asyncio.timeout_at(min(deadline, next_bookmark)):
                    await watcher.wake.wait()
            except TimeoutError:
                continue
