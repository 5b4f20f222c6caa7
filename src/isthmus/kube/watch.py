"""A watch as a stream of events: lines in, decoded objects out, failures as exceptions.

Knows the line format, bookmarks and the mark that ends a streamed list. Refuses to know what an event means for a store
(``informer`` does). Reading is cancel-safe: a reader that gives up on ``batch`` loses nothing and may ask again.

The one confusing thing: an ERROR event is not an event. It is raised as the same exception that the HTTP status of its
code would have been; 410 is KubeExpired in either form.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

import aiohttp
import msgspec

from isthmus.errors import KubeError
from isthmus.kube import wire
from isthmus.kube.decoding import UNDECODABLE
from isthmus.kube.refusals import read_status, refusal
from isthmus.kube.transport import mapped

__all__ = ["WatchEvent", "WatchStream"]

T = TypeVar("T")

_LONGEST_EVENT = 64 << 20
_INITIAL_END = "k8s.io/initial-events-end"
_envelope = msgspec.json.Decoder(wire.Envelope)
_head = msgspec.json.Decoder(wire.Named)


class WatchEvent(msgspec.Struct, Generic[T]):
    """One change. ``type`` is ADDED, MODIFIED, DELETED or BOOKMARK; ``object`` is none for a bookmark and for a broken one.

    ``raw`` is the object's own JSON; copy it (``bytes``) to keep it. ``initial_end`` marks the bookmark after which a
    streamed list is complete.
    """

    type: str
    namespace: str
    name: str
    resource_version: str
    object: T | None
    raw: msgspec.Raw
    broken: wire.Broken | None = None
    initial_end: bool = False


class WatchStream(Generic[T]):
    """An open watch. Take events by ``batch``, or one by one with ``async for``."""

    def __init__(self, response: aiohttp.ClientResponse, what: str, type: Any) -> None:
        self._response = response
        self._what = what
        self._decode: msgspec.json.Decoder[Any] = msgspec.json.Decoder(type)
        self._partial = bytearray()

    async def batch(self) -> list[WatchEvent[T]] | None:
        """Return the events that have arrived, at least one; none once the server has closed the watch cleanly.

        Raises KubeUnreachable when the connection breaks, or the class that an ERROR event's code stands for.
        """
        while True:
            with mapped(self._what):
                chunk = await self._response.content.readany()
            if not chunk:
                return None
            end = chunk.rfind(b"\n")
            if end < 0:
                self._partial += chunk
                if len(self._partial) > _LONGEST_EVENT:
                    raise KubeError(f"{self._what}: one event is larger than {_LONGEST_EVENT >> 20} MiB")
                continue
            lines = bytes(self._partial) + chunk[:end]
            self._partial = bytearray(chunk[end + 1 :])
            events = [self._event(line) for line in lines.split(b"\n") if line.strip()]
            if events:
                return events

    async def __aiter__(self) -> AsyncIterator[WatchEvent[T]]:
        while (events := await self.batch()) is not None:
            for event in events:
                yield event

    def _event(self, line: bytes) -> WatchEvent[T]:
        try:
            envelope = _envelope.decode(line)
            mark = _head.decode(envelope.object).metadata if envelope.type == "BOOKMARK" else None
        except UNDECODABLE as error:
            raise KubeError(f"{self._what}: sent a line that is no event") from error
        raw = envelope.object
        if envelope.type == "ERROR":
            code = read_status(raw).code or 500
            raise refusal(self._what, code, raw, retry_after=None, secret=None)
        if mark is not None:
            complete = (mark.annotations or {}).get(_INITIAL_END) == "true"
            return WatchEvent("BOOKMARK", "", "", mark.resource_version or "", None, raw, initial_end=complete)
        try:
            found = self._decode.decode(raw)
            meta = wire.meta_of(found)
        except UNDECODABLE as error:
            bad = wire.broken(raw, error)
            return WatchEvent(envelope.type, bad.namespace, bad.name, bad.resource_version, None, raw, broken=bad)
        return WatchEvent(envelope.type, meta.namespace or "", meta.name, meta.resource_version or "", found, raw)
