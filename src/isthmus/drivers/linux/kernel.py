"""What the kernel holds now, read whenever asked: links, addresses, routes, neighbors, FDB entries.

Reading and decoding run in a thread. Nothing is kept here between two reads: somebody else may have changed it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Mapping, Sequence

from isthmus.drivers.linux import links as linkmessages
from isthmus.drivers.linux import rtnetlink, tables
from isthmus.drivers.linux.links import AddressRow, LinkRow
from isthmus.drivers.linux.netlink import Message, Netlink, Reply
from isthmus.drivers.linux.owner import Owner
from isthmus.drivers.linux.tables import NeighborRow, RouteRow
from isthmus.model.resources import IPAddress

__all__ = ["Kernel", "Links"]

_FEW = 8
"""For so many addresses a dump is searched; for more it is spelled, which is then the faster way."""
_NETLINK_ROUTE = 0


class Links:
    """The links of the host at one moment, by name and by index; ``ours`` are those with our alias."""

    def __init__(self, rows: Sequence[LinkRow], owner: Owner) -> None:
        self.rows = rows
        self.by_name: Mapping[str, LinkRow] = {row.name: row for row in rows}
        self.names: Mapping[int, str] = {row.ifindex: row.name for row in rows}
        self.ours: frozenset[str] = frozenset(row.name for row in rows if row.alias == owner.alias)

    def index(self, name: str) -> int:
        """Return the index of the link, 0 where there is none."""
        row = self.by_name.get(name)
        return row.ifindex if row else 0

    def name(self, index: int) -> str:
        """Return the name of the link, ``if7`` where it is gone."""
        return self.names.get(index) or f"if{index}"


class Kernel:
    """Read and write through one rtnetlink socket."""

    def __init__(self, owner: Owner, *, ipv6: bool = True) -> None:
        self.owner = owner
        self.ipv6 = ipv6
        self._netlink = Netlink(_NETLINK_ROUTE, strict=True)
        self.portid = self._netlink.portid

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    async def send(self, messages: Sequence[Message]) -> list[Reply]:
        """Send ``messages`` and return an answer for each."""
        if not messages:
            return []
        return await self._netlink.batch(messages)

    async def collect(self, request: Message) -> list[bytes]:
        """Return what a dump ``request`` is answered with."""
        return await asyncio.to_thread(self._netlink.collect, request)

    async def links(self) -> Links:
        """Return the links as they stand."""
        rows = await asyncio.to_thread(self._links)
        return Links(rows, self.owner)

    def _links(self) -> list[LinkRow]:
        return linkmessages.link_rows(self._netlink.collect(linkmessages.dump_links()))

    async def addresses(self, among: Collection[IPAddress] | None = None) -> list[AddressRow]:
        """Return all addresses; with ``among``, of the single addresses with our mark (VIPs are such) only those."""
        return await asyncio.to_thread(self._addresses, among if among is None or len(among) <= _FEW else None)

    def _addresses(self, among: Collection[IPAddress] | None) -> list[AddressRow]:
        buffers = self._netlink.collect(linkmessages.dump_addresses())
        return linkmessages.address_rows(buffers, self.owner.protocol, among)

    async def routes(self, *, protocol: int = 0) -> list[RouteRow]:
        """Return the main table's routes, of one protocol where it is given."""
        return await asyncio.to_thread(self._routes, protocol)

    def _routes(self, protocol: int) -> list[RouteRow]:
        rows: list[RouteRow] = []
        for family in (socket.AF_INET, socket.AF_INET6) if self.ipv6 else (socket.AF_INET,):
            rows += tables.routes(self._netlink.collect(rtnetlink.dump_routes(family, protocol)))
        return [row for row in rows if row.protocol == protocol] if protocol else rows

    async def neighbors(self) -> list[NeighborRow]:
        """Return all ARP and NDP entries, dynamic ones too."""
        return await asyncio.to_thread(self._neighbors)

    def _neighbors(self) -> list[NeighborRow]:
        return tables.neighbors(self._netlink.collect(rtnetlink.dump_neighbors()))

    async def fdb(self, index: int) -> list[NeighborRow]:
        """Return the FDB of one link."""
        return await asyncio.to_thread(self._fdb, index)

    def _fdb(self, index: int) -> list[NeighborRow]:
        rows = tables.neighbors(self._netlink.collect(rtnetlink.dump_fdb(index)))
        return [row for row in rows if row.link == index and row.destination]
