"""Which node to talk to: the primary of the pair, found by asking ``hanode``, and found again when it has moved.

Only the primary takes changes. With two URLs both are asked, the last known primary first; with one, it is the node's own or
that of a SNIP, which follows the primary by itself. The node that is not the primary keeps no session of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from isthmus.drivers.netscaler.nitro.bodies import rows_of
from isthmus.drivers.netscaler.nitro.errors import Meaning, NitroError
from isthmus.drivers.netscaler.nitro.facts import Release, features_in, release_in
from isthmus.drivers.netscaler.nitro.node import Node
from isthmus.drivers.netscaler.nitro.queries import path
from isthmus.drivers.netscaler.nitro.results import Row
from isthmus.drivers.netscaler.nitro.wire import NotSent, Request
from isthmus.errors import DeviceError, DeviceUnreachable

__all__ = ["Pair"]


class Pair:
    """The nodes of one device, one or two; ``limit`` is the seconds a question may take."""

    def __init__(self, place: str, nodes: Sequence[Node], *, limit: float) -> None:
        self.nodes = tuple(nodes)
        self.release: Release = (0, 0, 0)
        self.features: frozenset[str] = frozenset()
        self._place = place
        self._limit = limit
        self._last = self.nodes[0]
        self._known: Node | None = None
        self._met: tuple[Node, int] | None = None
        self._lock = asyncio.Lock()
        self._searches = 0
        self._failure: DeviceError | None = None

    async def primary(self) -> Node:
        """Return the node that takes changes, logged in to; raise ``DeviceError`` where there is none to be found."""
        if (known := self._still()) is not None:
            return known
        searches = self._searches
        async with self._lock:
            if (known := self._still()) is not None:
                return known
            if self._failure is not None and self._searches != searches:
                raise self._failure  # who waited for a search that failed does not begin another
            self._known = self._failure = None
            try:
                self._known = self._last = await self._find()
            except DeviceError as error:
                self._failure = error
                raise
            finally:
                self._searches += 1
            return self._known

    def _still(self) -> Node | None:
        """Return the primary as far as it is known, in the session in which it was."""
        known = self._known
        return known if known is not None and self._met == (known, known.session.logins) else None

    def lost(self, node: Node) -> None:
        """Take the news that ``node`` is not the primary, or gone: the next request looks anew."""
        if self._known is node:
            self._known = None

    def met(self) -> tuple[Node, int] | None:
        """Return which session all that is known was read in, as far as there is one."""
        return self._met

    def found(self) -> bool:
        """Return whether the primary is known, and answered when it was last asked."""
        return self._known is not None

    def shut(self) -> bool:
        """Return whether the last we heard is that nobody serves there now, or nothing since the start."""
        return self._met is None or self._last.gate.shut

    async def leave(self) -> None:
        """End our sessions, as far as the nodes can be reached."""
        self._known = None
        for node in self.nodes:
            if node.session.open and not node.gate.shut:
                with contextlib.suppress(DeviceError):
                    await node.session.end()

    async def _find(self) -> Node:
        failures: list[DeviceError] = []
        for node in sorted(self.nodes, key=lambda one: one is not self._last):
            try:
                if await self._leads(node):
                    return node
                failures.append(self._secondary(node))
            except DeviceError as error:
                if isinstance(error, NitroError) and error.meaning is Meaning.CREDENTIALS:
                    raise  # a pair has one list of users: the other node would only count a second wrong password
                failures.append(error)
                continue
            if len(self.nodes) > 1:
                with contextlib.suppress(DeviceError):
                    await node.session.end()
        if len(failures) == 1:
            raise NotSent(str(failures[0])) if type(failures[0]) is DeviceUnreachable else failures[0]
        after = [error.retry_after for error in failures if error.retry_after is not None]
        lost = NotSent(f"{self._place}: neither node is primary: {'; '.join(map(str, failures))}")
        lost.retry_after = min(after, default=None)
        raise lost

    async def _leads(self, node: Node) -> bool:
        """Return whether ``node`` is the primary; if so, all that is to be known of it is read."""
        try:
            own = await self._read(node, "hanode")
        except NitroError as error:
            if error.meaning is not Meaning.NOT_PERMITTED:
                raise
            own = []  # a user without the right to look; changes will tell
        states = {str(row.get("id")): str(row.get("state", "")).lower() for row in own}
        if states.get("0", "primary") != "primary":
            return False
        version = await self._read(node, "nsversion")
        features = await self._read(node, "nsfeature")
        self.release = release_in(version[0] if version else {}, node.place, node.session.secrets)
        self.features = features_in(features[0] if features else {})
        self._met = (node, node.session.logins)
        return True

    async def _read(self, node: Node, kind: str) -> list[Row]:
        request = Request("GET", path(kind), f"GET {kind}", self._limit)
        answer, body, token = await node.ask(request)
        if body.error is not None and body.error.meaning is Meaning.SESSION:
            await node.session.renew(token)
            answer, body, _ = await node.ask(request)
        if body.error is not None:
            raise body.error
        return rows_of(body, kind, answer.status, f"{node.place}: {request.what}")

    def _secondary(self, node: Node) -> NitroError:
        way_out = "write the URLs of both nodes, or that of a SNIP with management access"
        return NitroError(
            "is the secondary of a pair, which takes no changes" + (f"; {way_out}" if len(self.nodes) == 1 else ""),
            meaning=Meaning.SECONDARY,
            place=node.place,
        )
