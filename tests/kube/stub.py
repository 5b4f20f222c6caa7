"""A small API server for the client's tests: paging, watches, bookmarks, streamed lists, and every way to fail.

It stores plain dicts and checks nothing about them. Not imitated: validation, admission, discovery documents, selectors,
managed fields (server-side apply is recorded and merged), several versions of a kind. The lab's API server is the one to
show to a real kubectl; this one is to be broken by hand.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Object = dict[str, Any]
Key = tuple[str, str]
KUBE_SYSTEM_UID = "11111111-0000-4000-8000-000000000001"


def status(code: int, reason: str, message: str = "", headers: dict[str, str] | None = None) -> web.Response:
    """Return a Status answer."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    }
    return web.json_response(body, status=code, headers=headers)


@dataclass
class Seen:
    """One request that arrived."""

    verb: str
    plural: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    peer: str = ""


@dataclass(eq=False)
class Watcher:
    """One open watch."""

    plural: str
    response: web.StreamResponse
    request: web.Request
    queue: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)


class StubApi:
    """The server. Attributes are its knobs; set them at any time."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[Key, Object]] = {}
        self.version = 100
        self.compacted = 0
        self.history: list[tuple[int, str, str, Object]] = []
        self.watchers: list[Watcher] = []
        self.seen: list[Seen] = []
        self.faults: list[Callable[[Seen], web.StreamResponse | None]] = []
        self.tokens: set[str] | None = None
        self.streaming = "refuse"  # or "serve", or "ignore" as a server that does not know the parameter
        self.expired_as = "status"  # or "event"
        self.close_at_once = False
        self.frozen = False
        self.page = 0  # the most that goes on one page, whatever is asked for
        self.curtailed = False  # a page after the first is empty, and the last
        self.uid = KUBE_SYSTEM_UID
        self.url = ""

    # -- the cluster

    def put(self, plural: str, name: str, namespace: str = "", **fields: Any) -> Object:
        """Create or replace an object, and tell the watchers."""
        key = (namespace, name)
        kept = self.objects.setdefault(plural, {})
        before = kept.get(key)
        self.version += 1
        meta = {"name": name, "uid": before["metadata"]["uid"] if before else f"uid-{self.version}"}
        meta |= {"namespace": namespace} if namespace else {}
        meta |= fields.pop("metadata", {}) | {"resourceVersion": str(self.version)}
        kept[key] = {"metadata": meta, **fields}
        self._happened("MODIFIED" if before else "ADDED", plural, kept[key])
        return kept[key]

    def delete(self, plural: str, name: str, namespace: str = "") -> None:
        """Delete an object, and tell the watchers."""
        self.version += 1
        gone = self.objects[plural].pop((namespace, name))
        self._happened(
            "DELETED", plural, gone | {"metadata": gone["metadata"] | {"resourceVersion": str(self.version)}}
        )

    def compact(self) -> None:
        """Forget the history: older positions are expired."""
        self.compacted = self.version
        self.history.clear()

    def restore(self, version: int, **objects: dict[Key, Object]) -> None:
        """Become an older state, as an etcd restored from a backup does: watches end, the history is gone."""
        self.objects |= objects
        self.version = version
        self.history.clear()
        self.compacted = 0

    def bookmark(self, plural: str) -> None:
        """Send a bookmark at the current version to the watchers."""
        for watcher in self.watchers:
            if watcher.plural == plural:
                watcher.queue.put_nowait(self._bookmark({}))

    def send(self, line: bytes) -> None:
        """Send bytes as they are to all watchers."""
        for watcher in self.watchers:
            watcher.queue.put_nowait(line)

    def close_watches(self) -> None:
        """End all watches cleanly."""
        for watcher in list(self.watchers):
            watcher.queue.put_nowait(None)

    def reset_watches(self) -> None:
        """Cut all watches in the middle of a line."""
        for watcher in list(self.watchers):
            if watcher.request.transport is not None:
                watcher.request.transport.abort()

    def requests(self, verb: str, plural: str = "nodes") -> list[Seen]:
        """Return the requests of one kind that have arrived."""
        return [seen for seen in self.seen if seen.verb == verb and seen.plural == plural]

    def counts(self) -> Counter[str]:
        """Return how many requests of each verb have arrived."""
        return Counter(seen.verb for seen in self.seen)

    def _happened(self, type_: str, plural: str, obj: Object) -> None:
        self.history.append((self.version, type_, plural, obj))
        if not self.frozen:
            for watcher in self.watchers:
                if watcher.plural == plural:
                    watcher.queue.put_nowait(_line(type_, obj))

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        return _line("BOOKMARK", {"metadata": {"resourceVersion": str(self.version), "annotations": annotations}})

    # -- HTTP

    @asynccontextmanager
    async def serving(self, ssl_context: Any = None) -> AsyncIterator[StubApi]:
        """Serve on a free loopback port."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"{'https' if ssl_context else 'http'}://127.0.0.1:{port}"
        try:
            yield self
        finally:
            self.close_watches()
            await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        parts = request.rel_url.raw_path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:] if parts[0] == "apis" else parts
        parts = parts or [""]
        namespace = parts[1] if parts[0] == "namespaces" and len(parts) > 2 else ""
        parts = parts[2:] if namespace else parts
        plural, name = parts[0], parts[1] if len(parts) > 1 else ""
        query = dict(request.query)
        verb = {"GET": "get" if name else "watch" if "watch" in query else "list"}.get(request.method, request.method)
        seen = Seen(
            verb, plural, request.rel_url.raw_path, query, dict(request.headers), await request.read(), _peer(request)
        )
        self.seen.append(seen)
        for fault in list(self.faults):
            answer = fault(seen)
            if answer is not None:
                return answer
        if self.tokens is not None and request.headers.get("Authorization", "")[7:] not in self.tokens:
            return status(401, "Unauthorized", "Unauthorized")
        if plural == "version":
            return web.json_response({"gitVersion": "v1.31.0-stub"})
        if verb == "watch":
            return await self._watch(request, plural, query)
        if verb == "list":
            return self._list(plural, namespace, query)
        if verb == "get":
            return self._get(plural, name, namespace)
        return self._write(seen, plural, name, namespace)

    def _get(self, plural: str, name: str, namespace: str) -> web.Response:
        if (plural, name) == ("namespaces", "kube-system"):
            return web.json_response({"metadata": {"name": name, "uid": self.uid}})
        found = self.objects.get(plural, {}).get((namespace, name))
        return web.json_response(found) if found else status(404, "NotFound", f'{plural} "{name}" not found')

    def _list(self, plural: str, namespace: str, query: dict[str, str]) -> web.Response:
        version, start = self.version, 0
        if "continue" in query:
            version, start = json.loads(query["continue"])
            if version < self.compacted:
                return status(410, "Expired", "The provided continue parameter is too old")
        kept = self.objects.get(plural, {})
        items = [kept[key] for key in sorted(kept) if not namespace or key[0] == namespace]
        if self.curtailed and "continue" in query:
            items = []
        limit = int(query.get("limit", 0)) or len(items) or 1
        limit = min(limit, self.page or limit) if "limit" in query else limit
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        if start + limit < len(items):
            meta["continue"] = json.dumps([version, start + limit])
        return web.json_response({"kind": "List", "metadata": meta, "items": items[start : start + limit] or None})

    def _write(self, seen: Seen, plural: str, name: str, namespace: str) -> web.Response:
        kept = self.objects.setdefault(plural, {})
        body = json.loads(seen.body or b"{}")
        if seen.verb == "DELETE":
            if (namespace, name) not in kept:
                return status(404, "NotFound", f'{plural} "{name}" not found')
            wanted = body.get("preconditions", {}).get("uid")
            if wanted and wanted != kept[namespace, name]["metadata"]["uid"]:
                return status(409, "Conflict", "the UID in the precondition does not match")
            self.delete(plural, name, namespace)
            return web.json_response({"kind": "Status", "status": "Success"})
        name = name or body["metadata"]["name"]
        if seen.verb == "POST" and (namespace, name) in kept:
            return status(409, "AlreadyExists", f'{plural} "{name}" already exists')
        before = kept.get((namespace, name), {})
        fields = (
            {key: value for key, value in (before | body).items() if key != "metadata"}
            if isinstance(body, dict)
            else {}
        )
        said = (body.get("metadata") or {}).get("annotations") if isinstance(body, dict) else None
        noted: Object = {"metadata": {"annotations": said}} if said else {}
        return web.json_response(self.put(plural, name, namespace, **fields, **noted))

    async def _watch(self, request: web.Request, plural: str, query: dict[str, str]) -> web.StreamResponse:
        streamed = query.get("sendInitialEvents") == "true"
        if streamed and self.streaming == "refuse":
            return status(422, "Invalid", "sendInitialEvents is forbidden: sendInitialEvents is not supported")
        position = int(query.get("resourceVersion") or 0)
        expired = not streamed and 0 < position < self.compacted
        if expired and self.expired_as == "status":
            return status(410, "Expired", "too old resource version")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        watcher = Watcher(plural, response, request)
        if expired:
            lost = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            await response.write(_line("ERROR", lost))
            return response
        if streamed:
            for obj in self.objects.get(plural, {}).values():
                watcher.queue.put_nowait(_line("ADDED", obj))
            if self.streaming == "serve":
                watcher.queue.put_nowait(self._bookmark({"k8s.io/initial-events-end": "true"}))
        else:
            for version, type_, kind, obj in self.history:
                if version > position and kind == plural:
                    watcher.queue.put_nowait(_line(type_, obj))
        if self.close_at_once:
            watcher.queue.put_nowait(None)
        self.watchers.append(watcher)
        try:
            while (line := await watcher.queue.get()) is not None:
                await response.write(line)
        except ConnectionError:
            return response
        finally:
            self.watchers.remove(watcher)
        return response


def _peer(request: web.Request) -> str:
    """Return the common name of the client certificate, if one was shown."""
    certificate = request.get_extra_info("peercert") or {}
    return next(
        (value for field in certificate.get("subject", ()) for name, value in field if name == "commonName"), ""
    )


def _line(type_: str, obj: Object) -> bytes:
    return json.dumps({"type": type_, "object": obj}, separators=(",", ":")).encode() + b"\n"


class StallingProxy:
    """A TCP proxy that can go silent while it keeps every connection open, as a middle box with a dead backend does.

    With ``tunnels`` set to a list it is an HTTP proxy instead, which speaks CONNECT and notes what it was asked for.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.stalled = False
        self.tunnels: list[str] | None = None
        self._target = target_port
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[StallingProxy]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            if self.stalled:
                await asyncio.Event().wait()
            if self.tunnels is not None:
                head = await reader.readuntil(b"\r\n\r\n")
                self.tunnels.append(head.decode())
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            from_api, upstream = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(self._copy(reader, upstream), self._copy(from_api, writer))
        except (asyncio.CancelledError, OSError):
            return
        finally:
            self._tasks.discard(task)
            for end in (writer, upstream):
                if end is not None:
                    end.close()
                    with suppress(OSError):
                        await end.wait_closed()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        stalled_born = self.stalled
        while data := await source.read(1 << 16):
            if self.stalled or stalled_born:
                await asyncio.Event().wait()  # swallowed; the connection stays
            sink.write(data)
            await sink.drain()
        sink.close()


async def eventually(check: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until ``check()`` is true; fail, saying so, when it has not become true in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not check():
        assert asyncio.get_running_loop().time() < deadline, "it never became true"
        await asyncio.sleep(0.005)
