"""From the product's client to the simulated API: the class that takes the place of HTTP, and all that can go wrong there.

It has the two methods of :class:`isthmus.kube.transport.Transport`, so that client, watch, informer and all above them run
as they are. A request may be expired, throttled, failed, answered from a replica that lags, or with nothing; a delivery of
events may be cut, held back and merged, end in 410, or stop for ever without a word.

The one confusing thing: a *frozen* watch stays frozen. A server never leaves one event out and goes on; what clients meet is
a connection that has silently died, and everything after that is missed until they notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from faults.api import Api, Json, Refusal
from faults.seam import ANYWHERE, PAUSE, PROCESS, Seam
from isthmus.errors import KubeError, KubeExpired, KubeUnreachable
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.kinds import CONFIGMAPS
from isthmus.kube.publishing import SOURCES
from isthmus.kube.refusals import refusal
from isthmus.kube.transport import Ask, Patience

_ENDS = {"k8s.io/initial-events-end": "true"}
_DELIVERIES = (*ANYWHERE, "cut", "frozen", "merged", "expired", "closed", "garbage")
_BOOKMARKS = 60.0
_NOT_THERE = {name for source in SOURCES if source.kind == CONFIGMAPS for name in source.names}
"""ConfigMaps of CNIs, of which there are none here."""


class SimClient(KubeClient):
    """The product's client on top of the simulated API."""

    def __init__(self, api: Api, seam: Seam, may_write: Callable[[Any, str], bool] = lambda kind, name: True) -> None:
        super().__init__(Connection(server="http://127.0.0.1:1", name="sim"), may_write=may_write)
        self._transport = SimTransport(api, seam)  # type: ignore[assignment]


class SimTransport:
    """Requests and watches without sockets."""

    def __init__(self, api: Api, seam: Seam) -> None:
        self.api = api
        self.seam = seam
        self.patience = Patience()

    async def __aenter__(self) -> SimTransport:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def send(self, ask: Ask, *, timeout: float | None = None) -> bytes:
        """Return the body of the answer; a KubeError for every answer but success."""
        place = _Place(ask)
        if self._unknown(place):
            # No CNI shows itself here. That is said at once and is no point of a plan: what a plan strikes stays as it was.
            raise refusal(ask.what, 404, _status(404, "NotFound"), retry_after=None, secret=None)

        def effect() -> bytes:
            return msgspec.json.encode(self._answered(ask, lambda: self._do(ask, place)))

        def lost() -> bytes:
            effect()
            raise _late(KubeUnreachable(f"{ask.what}: no answer in time"), 1.0)

        def refused(code: int, reason: str, retry: str | None = None) -> Callable[[], bytes]:
            def refuse() -> bytes:
                raise refusal(ask.what, code, _status(code, reason), retry_after=retry, secret=None)

            return refuse

        def unsent() -> bytes:
            raise KubeUnreachable(f"{ask.what}: the connection broke")

        def hung() -> bytes:
            raise _late(KubeUnreachable(f"{ask.what}: no answer in time"), timeout or self.patience.request)

        trouble = {
            "lost": lost,
            "unsent": unsent,
            "hung": hung,
            "throttled": refused(429, "TooManyRequests", "3"),
            "failed": refused(500, "InternalError"),
        }
        name = f"kube.{ask.method.lower()} {ask.what}"
        if ask.method == "GET" and place.kind and not place.name:
            name = f"kube.list {place.kind}"
            trouble |= {
                "expired": refused(410, "Expired"),
                "stale": lambda: self._stale(ask, place),
                "empty": lambda: msgspec.json.encode(self.api.list(place.kind, ask.query, empty=True)),
                "forbidden": refused(403, "Forbidden"),
            }
        if ask.method in ("PATCH", "POST", "PUT"):
            trouble |= {"conflict": refused(409, "Conflict")}
        try:
            found: bytes = await self.seam.call(name, effect, trouble)
        except KubeError as error:
            await self.seam.late(getattr(error, "late", 0.0))
            raise
        return found

    def _unknown(self, place: _Place) -> bool:
        """Say whether it is about something that no cluster of this kind ever has."""
        if (place.kind, place.namespace) == ("configmaps", "kube-system") and place.name in _NOT_THERE:
            return True
        served = place.kind in self.api.kinds if place.kind else place.group in self.api.groups
        return place.word != "version" and not served

    def _answered(self, ask: Ask, act: Callable[[], object]) -> object:
        try:
            return act()
        except Refusal as no:
            raise refusal(ask.what, no.code, _status(no.code, no.reason), retry_after=None, secret=None) from no

    def _stale(self, ask: Ask, place: _Place) -> bytes:
        """Answer from a replica that lags, as far back as the API still knows its past."""
        version = max(self.api.floor, self.api.version - 4, min(self.api.past))
        if "continue" in ask.query:
            return msgspec.json.encode(self.api.list(place.kind, ask.query))
        return msgspec.json.encode(self.api.list(place.kind, ask.query, version=version))

    def _do(self, ask: Ask, place: _Place) -> object:
        api, body = self.api, msgspec.json.decode(ask.body) if ask.body else {}
        if place.word == "version":
            return {"gitVersion": "v1.32.3"}
        if not place.kind:
            return api.discover(place.group)
        match ask.method:
            case "GET" if place.name:
                found = api.get(place.kind, place.name, place.namespace)
                if found is None:
                    raise Refusal(404, "NotFound")
                return found
            case "GET":
                return api.list(place.kind, ask.query)
            case "POST":
                return api.create(place.kind, body, place.namespace)
            case "PUT":
                return api.replace(place.kind, place.name, place.namespace, body)
            case "DELETE":
                api.remove(place.kind, place.name, place.namespace, body.get("preconditions") or {})
                return {}
        if ask.content_type.startswith("application/apply-patch"):
            return api.apply(place.kind, place.name, place.namespace, body, ask.query.get("fieldManager", ""))
        return api.merge(place.kind, place.name, place.namespace, body)

    @asynccontextmanager
    async def stream(self, ask: Ask, *, read_timeout: float) -> AsyncIterator[Stream]:
        """Open a watch."""
        place = _Place(ask)
        initial = ask.query.get("sendInitialEvents") == "true"

        def effect() -> Stream:
            if initial and not self.api.streams:
                raise refusal(ask.what, 422, _status(422, "Invalid"), retry_after=None, secret=None)
            version = int(ask.query.get("resourceVersion", "0"))
            if not initial and version < self.api.floor:
                raise KubeExpired(f"{ask.what}: 410 Expired")
            return Stream(self.api, self.seam, place.kind, version, initial, float(ask.query["timeoutSeconds"]))

        def empty() -> Stream:
            return Stream(self.api, self.seam, place.kind, 0, initial, float(ask.query["timeoutSeconds"]), empty=True)

        def raising(error: KubeError) -> Callable[[], Stream]:
            def act() -> Stream:
                raise error

            return act

        def frozen() -> Stream:
            made = effect()
            made.frozen = True
            return made

        trouble = {
            "unsent": raising(KubeUnreachable(f"{ask.what}: the connection broke")),
            "expired": raising(KubeExpired(f"{ask.what}: 410 Expired")),
            "failed": raising(KubeError(f"{ask.what}: 500", status=500)),
            "frozen": frozen,
        }
        if initial and self.api.streams:
            trouble["empty"] = empty
        name = f"kube.{'stream' if initial else 'watch'} {place.kind}"
        stream: Stream = await self.seam.call(name, effect, trouble)
        self.api.changed.append(stream.some)
        try:
            yield stream
        finally:
            self.api.changed.remove(stream.some)


class Stream:
    """An open watch's answer: the little of aiohttp's response that a watch reads."""

    def __init__(
        self, api: Api, seam: Seam, kind: str, version: int, initial: bool, life: float, *, empty: bool = False
    ) -> None:
        self.content = self
        self.some = asyncio.Event()
        self.frozen = False
        self._api = api
        self._seam = seam
        self._kind = kind
        self._version = version
        self._ended = False
        self._end = asyncio.get_running_loop().time() + life
        self._first = self._snapshot(empty=empty) if initial else b""
        self._opened = asyncio.get_running_loop().time()
        self.some.set()

    def _snapshot(self, *, empty: bool) -> bytes:
        self._version = self._api.version
        lines = [] if empty else [_line("ADDED", one.raw) for _, one in sorted(self._api.objects[self._kind].items())]
        lines.append(_line("BOOKMARK", self._mark(_ENDS)))
        return b"".join(lines)

    def _mark(self, annotations: Json) -> bytes:
        return msgspec.json.encode({"metadata": {"resourceVersion": str(self._version), "annotations": annotations}})

    async def readany(self) -> bytes:
        """Return what has arrived; nothing at the end. Cancelling loses nothing."""
        while True:
            data, version = self._pending()
            if data or self._ended:
                process = PROCESS.get()
                if process.dead:
                    raise asyncio.CancelledError
                if not process.awake.is_set():
                    await process.awake.wait()
                    continue
                return await self._delivered(data, version)
            left = self._end - asyncio.get_running_loop().time()
            if left <= 0 and not self.frozen:
                return b""
            self.some.clear()
            try:
                async with asyncio.timeout(min(_BOOKMARKS, max(left, 0.001)) if not self.frozen else 90.0):
                    await self.some.wait()
            except TimeoutError:
                if self.frozen:
                    raise aiohttp.SocketTimeoutError from None
                self._version = max(self._version, self._api.version)
                return _line("BOOKMARK", self._mark({}))

    def _pending(self) -> tuple[bytes, int]:
        if self._ended or self.frozen:
            return b"", self._version
        if self._first:
            return self._first, self._version
        try:
            found = self._api.events(self._kind, self._version)
        except Refusal:
            self._ended = True  # compacted under a slow watch: the server ends it with 410
            return _line("ERROR", _status(410, "Expired")), self._version
        if not found:
            return b"", self._version
        return b"".join(_line(type, raw) for _, _, type, raw in found), found[-1][0]

    async def _delivered(self, data: bytes, version: int) -> bytes:
        if not data:
            return b""
        process = PROCESS.get()
        kind = self._seam.strike(f"kube.event {self._kind}", _DELIVERIES)
        match kind:
            case "crash-before" | "crash-sent":
                await self._seam.die(process)
            case "pause-before" | "pause-sent":
                process.stop(PAUSE)
                await process.awake.wait()
            case "cut":
                raise aiohttp.ClientPayloadError("cut")
            case "closed":
                self._ended = True
                return b""
            case "expired":
                self._ended = True
                return _line("ERROR", _status(410, "Expired"))
            case "garbage":
                return b"{not an event\n"
            case "frozen":
                self.frozen = True
                return await self.readany()
            case "merged" if not self._first:
                await asyncio.sleep(3.0)
                return self._merged()
            case "crash-after":
                asyncio.get_running_loop().call_soon(process.die)
        self._first, self._version = b"", version
        return data

    def _merged(self) -> bytes:
        """Deliver per object only how it is now, as after a queue that collapsed what happened meanwhile."""
        try:
            found = self._api.events(self._kind, self._version)
        except Refusal:
            return _line("ERROR", _status(410, "Expired"))
        last: dict[tuple[str, str], tuple[str, bytes]] = {}
        for version, _, type, raw in found:
            meta = msgspec.json.decode(raw)["metadata"]
            key = (meta.get("namespace", ""), meta["name"])
            last.pop(key, None)
            last[key] = ("MODIFIED" if type == "ADDED" else type, raw)
            self._version = version
        return b"".join(_line(type, raw) for type, raw in last.values())


class _Place:
    """What a URL is about."""

    def __init__(self, ask: Ask) -> None:
        parts = ask.url.path.strip("/").split("/")
        self.word, self.kind, self.name, self.namespace = parts[0], "", "", ""
        rest = parts[2:] if parts[0] == "api" else parts[3:]
        self.group = parts[1] if parts[0] == "apis" else ""
        if len(rest) >= 3 and rest[0] == "namespaces":
            self.namespace, rest = rest[1], rest[2:]
        if rest:
            self.kind = rest[0]
            self.name = rest[1] if len(rest) > 1 else ""


def _line(type: str, raw: bytes) -> bytes:
    return b'{"type":"' + type.encode() + b'","object":' + raw + b"}\n"


def _status(code: int, reason: str) -> bytes:
    return msgspec.json.encode({"kind": "Status", "code": code, "reason": reason, "message": reason.lower()})


def _late(error: Any, seconds: float) -> Any:
    error.late = seconds
    return error
