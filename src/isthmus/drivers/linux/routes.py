"""Carrying out route changes in batches, without ever replacing a route that is not ours.

A create is exclusive: the kernel says EEXIST where anything stands. (Adopting, by a person's order, is in
``adopting``.) A new next hop is added beside the old one, and the old one then deleted by its own next hop and our
protocol number (make before break); NLM_F_REPLACE is not used at all, because it takes whatever has the same prefix
and metric, ours or not. The one confusing thing: IPv6 shows both next hops of that moment as one multipath route,
IPv4 as two routes.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from isthmus.drivers.base import Outcome
from isthmus.drivers.linux import netlink, rtnetlink
from isthmus.drivers.linux.adopting import takes_place, why_not_adopted
from isthmus.drivers.linux.answers import done, outcome, refused
from isthmus.drivers.linux.kernel import Kernel, Links
from isthmus.drivers.linux.netlink import Message
from isthmus.drivers.linux.sentences import foreign_route, route_of
from isthmus.drivers.linux.tables import RouteRow
from isthmus.model.plan import Change
from isthmus.model.resources import Route

__all__ = ["apply_routes"]

_Key = tuple[int, int, bytes]
_EXCLUSIVE = netlink.CREATE | netlink.EXCL
_FAMILY = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}


def key_of(route: Route) -> _Key:
    """Return the key under which rows for this route's prefix are found."""
    prefix = route.prefix
    return (_FAMILY[prefix.version], prefix.prefixlen, prefix.network_address.packed)


async def apply_routes(kernel: Kernel, links: Links, changes: Sequence[Change]) -> list[Outcome]:
    """Carry out route changes and return an outcome for each, in order."""
    batch = _Batch(kernel, links, changes)
    await batch.run()
    return [batch.outcomes[number] for number in range(len(changes))]


class _Batch:
    def __init__(self, kernel: Kernel, links: Links, changes: Sequence[Change]) -> None:
        self.kernel = kernel
        self.links = links
        self.changes = changes
        self.outcomes: dict[int, Outcome] = {}
        self._ours: dict[_Key, list[RouteRow]] | None = None

    async def run(self) -> None:
        await self._adopt([number for number, change in enumerate(self.changes) if change.adopts])
        creates: list[int] = []
        moves: list[int] = []
        deletes: list[int] = []
        for number, change in enumerate(self.changes):
            route = change.resource
            assert isinstance(route, Route), "only routes come here"
            if change.after is None:
                deletes.append(number)
            elif not self.links.index(route.link):
                self.outcomes[number] = refused(change, f"no link is named {route.link!r}")
            elif number in self.outcomes:
                continue
            elif change.before is None:
                creates.append(number)
            else:
                moves.append(number)
        moves += await self._create(creates)
        await self._move(moves)
        await self._delete(deletes)

    def _route(self, number: int) -> Route:
        route = self.changes[number].resource
        assert isinstance(route, Route), "only routes come here"
        return route

    def _new(self, number: int, flags: int) -> Message:
        route = self._route(number)
        return rtnetlink.new_route(route, self.links.index(route.link), self.kernel.owner.protocol, flags)

    def _gone(self, row: RouteRow) -> list[Message]:
        """Return what deletes ``row``: IPv4 knows several next hops as one route, IPv6 as siblings, each its own."""
        if row.family == socket.AF_INET:
            hops: tuple[tuple[bytes, int], ...] = ((b"", 0),) if row.hops else ((row.gateway, row.link),)
        else:
            hops = row.hops or ((row.gateway, row.link),)
        return [
            rtnetlink.delete_route(
                row.family,
                row.length,
                row.destination,
                row.protocol,
                gateway=gateway,
                link=link,
                metric=row.metric,
            )
            for gateway, link in hops
        ]

    async def _rows(self, *, fresh: bool = False) -> dict[_Key, list[RouteRow]]:
        """Return our rows by prefix; read once, or anew."""
        if self._ours is None or fresh:
            self._ours = {}
            for row in await self.kernel.routes(protocol=self.kernel.owner.protocol):
                self._ours.setdefault(row.key, []).append(row)
        return self._ours

    async def _create(self, numbers: Sequence[int]) -> list[int]:
        """Create exclusively; return those that turn out to be moves of what is ours already."""
        replies = await self.kernel.send([self._new(number, _EXCLUSIVE) for number in numbers])
        standing = []
        for number, reply in zip(numbers, replies, strict=True):
            if reply.errno == errno.EEXIST:
                standing.append(number)
            else:
                self.outcomes[number] = outcome(self.changes[number], reply)
        if not standing:
            return []
        ours = await self._rows(fresh=True)
        foreign = [number for number in standing if key_of(self._route(number)) not in ours]
        await self._refuse(foreign)
        return [number for number in standing if number not in set(foreign)]

    async def _adopt(self, numbers: Sequence[int]) -> None:
        """Take over what stands at these prefixes, or say why not; what is gone meanwhile is left to be created."""
        if not numbers:
            return
        keys = {key_of(self._route(number)) for number in numbers}
        rows: dict[_Key, list[RouteRow]] = {}
        for row in await self.kernel.routes():
            if row.key in keys and row.protocol != self.kernel.owner.protocol:
                rows.setdefault(row.key, []).append(row)
        for number in numbers:
            change, foreign = self.changes[number], rows.get(key_of(self._route(number)), [])
            if not foreign or not self.links.index(self._route(number).link):
                continue
            why = why_not_adopted(foreign, change, self.links)
            if why is not None:
                self.outcomes[number] = refused(change, why)
                continue
            flags = takes_place(foreign, self._route(number).prefix.version)
            [reply] = await self.kernel.send([self._new(number, flags)])
            self.outcomes[number] = outcome(change, reply)
            if reply.errno == 0:
                left = [
                    row
                    for row in await self.kernel.routes()
                    if row.key == foreign[0].key and row.protocol != self.kernel.owner.protocol
                ]
                await self._remove([(number, row) for row in left])

    async def _refuse(self, numbers: Sequence[int]) -> None:
        """Say of each what stands in its place."""
        if not numbers:
            return
        wanted = {key_of(self._route(number)) for number in numbers}
        holders = {row.key: row for row in await self.kernel.routes() if row.key in wanted}
        for number in numbers:
            row = holders.get(key_of(self._route(number)))
            told = foreign_route(row, self.links) if row else "gone again meanwhile"
            self.outcomes[number] = refused(self.changes[number], f"exists, not ours: {told}")

    async def _move(self, numbers: Sequence[int]) -> None:
        """Bring what is ours at each prefix to the one wanted next hop: add first, delete after."""
        if not numbers:
            return
        ours = await self._rows()
        vanished = [number for number in numbers if key_of(self._route(number)) not in ours]
        if vanished:
            again = await self._create(vanished)
            for number in again:
                self.outcomes[number] = outcome(self.changes[number], netlink.NO_ANSWER)
        adds: list[tuple[int, list[RouteRow]]] = []
        swaps: list[tuple[int, list[RouteRow]]] = []
        removals: list[tuple[int, RouteRow]] = []
        for number in numbers:
            if number in self.outcomes:
                continue
            route, rows = self._route(number), ours[key_of(self._route(number))]
            others = [row for row in rows if route_of(row, self.links) != route]
            if len(others) < len(rows):
                self.outcomes[number] = done(self.changes[number])
                removals += [(number, row) for row in others]
            elif route.prefix.version == 6 and any(row.hops or _same_hop(row, route, self.links) for row in rows):
                swaps.append((number, rows))
            else:
                adds.append((number, rows))
        for number, rows in swaps:
            # IPv6 tells two routes apart by next hop alone: the old one must go before its like can come.
            replies = await self.kernel.send(
                [*(message for row in rows for message in self._gone(row)), self._new(number, _EXCLUSIVE)]
            )
            self.outcomes[number] = outcome(self.changes[number], replies[-1])
        flags = netlink.CREATE | netlink.APPEND
        replies = await self.kernel.send([self._new(number, flags) for number, _ in adds])
        for (number, rows), reply in zip(adds, replies, strict=True):
            self.outcomes[number] = outcome(self.changes[number], reply)
            if reply.errno == 0:
                removals += [(number, row) for row in rows]
        await self._remove(removals)

    async def _delete(self, numbers: Sequence[int]) -> None:
        """Delete all that is ours at each prefix; what is not there is done."""
        if not numbers:
            return
        ours = await self._rows(fresh=True)
        removals: list[tuple[int, RouteRow]] = []
        for number in numbers:
            self.outcomes[number] = done(self.changes[number])
            removals += [(number, row) for row in ours.get(key_of(self._route(number)), ())]
        await self._remove(removals)

    async def _remove(self, removals: Sequence[tuple[int, RouteRow]]) -> None:
        messages = [(number, message) for number, row in removals for message in self._gone(row)]
        replies = await self.kernel.send([message for _, message in messages])
        for (number, _), reply in zip(messages, replies, strict=True):
            if reply.errno not in (0, errno.ESRCH, errno.ENODEV):
                self.outcomes[number] = outcome(self.changes[number], reply)


def _same_hop(row: RouteRow, route: Route, links: Links) -> bool:
    return row.gateway == route.via.packed and row.link == links.index(route.link)
