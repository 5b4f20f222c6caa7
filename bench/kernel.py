"""What a gateway's kernel says of its own changes: nftables' and rtnetlink's news, with the time of each.

A bench that asks ("is it there yet?") measures its own asking; this one is told. The one confusing thing: news carries who
wrote it, and neighbors that come and go by traffic are no writes, so those are left out of what counts.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time

from isthmus.lab.net.netns import call_in

_HEADER = struct.Struct("=IHHII")
_NETFILTER, _NFT_GROUP = 12, 7
_ROUTE_GROUPS = (1, 5, 7, 9, 11)  # link, IPv4 address and route, IPv6 address and route
_MEMBERSHIP = (270, 1)
_SO_RCVBUFFORCE, _BUFFER = 33, 64 << 20
_NEW_ELEMENT = 10 << 8 | 12


class News:
    """Listen in ``namespace``; ``async with``. ``changes`` counts what was heard since it was last set to 0."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._wanted: dict[bytes, asyncio.Future[float]] = {}
        self.changes = 0

    async def __aenter__(self) -> News:
        loop = asyncio.get_running_loop()
        self._sockets = [
            call_in(self._namespace, lambda: _listen(_NETFILTER, (_NFT_GROUP,))),
            call_in(self._namespace, lambda: _listen(socket.NETLINK_ROUTE, _ROUTE_GROUPS)),
        ]
        for one in self._sockets:
            loop.add_reader(one, self._hear, one)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for one in self._sockets:
            asyncio.get_running_loop().remove_reader(one)
            one.close()

    def element(self, content: bytes) -> asyncio.Future[float]:
        """Return what becomes the time (``perf_counter``) at which an nft element with ``content`` in it was added."""
        return self._wanted.setdefault(content, asyncio.get_running_loop().create_future())

    def _hear(self, one: socket.socket) -> None:
        while True:
            try:
                buffer = one.recv(1 << 16)
            except BlockingIOError:
                return
            now = time.perf_counter()
            offset = 0
            while offset + 16 <= len(buffer):
                length, kind, *_ = _HEADER.unpack_from(buffer, offset)
                if length < 16:
                    break
                self.changes += 1
                if kind == _NEW_ELEMENT:
                    self._look(buffer[offset : offset + length], now)
                offset += (length + 3) & ~3

    def _look(self, message: bytes, now: float) -> None:
        for content in [content for content in self._wanted if content in message]:
            future = self._wanted.pop(content)
            if not future.done():
                future.set_result(now)


def _listen(protocol: int, groups: tuple[int, ...]) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:  # not real root: as much as anybody may have
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    made.bind((0, 0))
    for group in groups:
        made.setsockopt(*_MEMBERSHIP, group)
    return made
