"""Keeping new flows away from pods whose node has fallen silent, by the gateway itself and without a controller.

Every next hop of our routes is sent an echo request at an interval. What the answers mean is decided in ``hops``; here they
are sent and heard, and a verdict that moved is carried into the table: silent members' slots go to the living ones, and
their flows are forgotten, so that a client's next packet finds another pod. What is *wanted* stays as it is, and is read
back as it is: to the planner nothing has happened. The one confusing thing: a late look is no miss. Before a round is
judged, all that has arrived is read, so a process that was busy for a second sees the answers that waited.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from collections.abc import Iterable
from ipaddress import ip_address

import msgspec

from isthmus.drivers.linux.conntrack import Conntrack
from isthmus.drivers.linux.expected import Expected
from isthmus.drivers.linux.hops import NOBODY, Hop, Hops, ProbeTiming, Silence
from isthmus.drivers.linux.icmp import echo_request, heard, raw_socket, sent_from
from isthmus.drivers.linux.nft import Table
from isthmus.drivers.linux.services import member_key
from isthmus.errors import IsthmusError
from isthmus.model.resources import IPAddress, VirtualServer
from isthmus.telemetry import get_logger

__all__ = ["MemberWatch"]

_log = get_logger("linux")
_MOST_A_SECOND = 2000
"""Requests a second at most: with more nodes than that allows, each is asked less often."""
_NOT_SENT = frozenset({errno.EAGAIN, errno.EPERM, errno.ENOBUFS, errno.ENOMEM})
"""Why this host sent nothing: its queue, its memory or its table of connections is full, or a rule of its own forbids it."""
_AT_ONCE = 128
_SIZE = 64
"""Bytes of a request as an IP packet; whether longer ones pass is another question."""


class MemberWatch:
    """Watch over the members of one table; without ``timing`` nobody is asked and nobody is silent."""

    def __init__(self, timing: ProbeTiming | None, table: Table, conntrack: Conntrack, expected: Expected) -> None:
        self._timing = timing or ProbeTiming()
        self._asks = timing is not None
        self._table = table
        self._conntrack = conntrack
        self._expected = expected
        self._hops = Hops(self._timing)
        self._verdict: Silence = NOBODY
        self._told: frozenset[Hop] = frozenset()
        self._routes_at = -1
        self._recalled: set[IPAddress] = set()
        self._sockets: dict[int, socket.socket] = {}
        self._places: dict[tuple[int, int], Hop] = {}
        self._token = secrets.randbelow(0xFFFF) + 1
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Start asking, from what an earlier watch left; where nobody is to be asked, give all members their slots back."""
        if self._task is not None and not self._task.done():
            return
        if self._asks and not self._sockets:
            try:
                self._sockets = {version: raw_socket(version, self._token) for version in (4, 6)}
            except OSError as error:
                _log.warning("members are not watched", reason=f"no raw socket: {error.strerror or error}")
                self._asks = False
        self._recalled = _pods(held.silent for held in (await self._table.held()).values())
        if not self._asks:
            if self._recalled:
                await self._table.heed(NOBODY)
            return
        # Before anything else is written: who was silent when we ended is so until it answers.
        self._verdict = Silence.of(self._recalled)
        await self._table.heed(self._verdict)
        self._task = asyncio.create_task(self._run(), name="member watch")

    async def close(self) -> None:
        """Stop asking; the table stays as it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        for one in self._sockets.values():
            one.close()
        self._sockets = {}

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._round()
            except IsthmusError as error:
                _log.warning("silent members not heeded", reason=str(error))
            interval = max(self._timing.interval, len(self._hops) / _MOST_A_SECOND)
            await asyncio.sleep(max(0.0, began + interval - loop.time()))

    async def _round(self) -> None:
        moved = self._routes_at != self._expected.route_moves
        if moved:
            self._routes_at = self._expected.route_moves
            self._hops.follow(self._expected.routes())
            self._places = {(hop[0].version, number & 0xFFFF): hop for number, hop in enumerate(self._hops)}
        if not self._hops:
            return  # nothing was observed yet, or there are no nodes: no verdict
        self._hops.recall(self._recalled)
        self._recalled = set()
        for number, ((version, sequence), hop) in enumerate(self._places.items()):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            self._ask(version, sequence, hop)
        await asyncio.sleep(self._timing.timeout)
        for version, one in self._sockets.items():
            self._hear(version, one)
        verdict = self._hops.judge()
        if verdict.hops != self._verdict.hops or (moved and verdict.hops):
            await self._heed(verdict)

    def _ask(self, version: int, sequence: int, hop: Hop) -> None:
        try:
            index = socket.if_nametoindex(hop[1])
            request = echo_request(version, self._token, sequence, _SIZE)
            self._sockets[version].sendmsg([request], [sent_from(None, index, version)], 0, (str(hop[0]), 0))
        except OSError as error:
            if error.errno in _NOT_SENT:
                return  # not asked, so not missed
            # No way there is as good as no answer.
        self._hops.asked(hop)

    def _hear(self, version: int, one: socket.socket) -> None:
        """Read all that has arrived."""
        while True:
            try:
                found = heard(one, version, self._token)
            except OSError:
                return
            hop = self._places.get((version, found.sequence)) if found is not None and not found.why else None
            if found is not None and hop is not None and found.sender == str(hop[0]):
                self._hops.answered(hop)

    async def _heed(self, verdict: Silence) -> None:
        moved = await self._table.heed(verdict)
        self._verdict = verdict
        for address, link in sorted(verdict.hops - self._told, key=str):
            _log.warning("node does not answer", via=str(address), link=link, servers=len(moved))
        for address, link in sorted(self._told - verdict.hops, key=str):
            _log.info("node answers again", via=str(address), link=link, servers=len(moved))
        self._told = verdict.hops
        await self._conntrack.forget(_as_it_serves(server, silent) for server, silent in moved if silent)


def _as_it_serves(server: VirtualServer, silent: frozenset[bytes]) -> VirtualServer:
    living = tuple(member for member in server.members if member_key(member) not in silent)
    return msgspec.structs.replace(server, members=living)


def _pods(silent: Iterable[frozenset[bytes]]) -> set[IPAddress]:
    return {ip_address(key[:-4]) for keys in silent for key in keys}
