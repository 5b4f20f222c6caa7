"""Telling a segment that a VIP lives here now: gratuitous ARP (RFC 5227 §3, RFC 826) and unsolicited NA (RFC 4861 §7.2.6).

Neighbors that have the VIP's old MAC in their caches learn the new one at once instead of after minutes. Each
announcement goes out three times, a second apart, in the background: a frame may be lost and nobody acknowledges it. The
one confusing thing: ARP is announced both as a request and as a reply, because some stacks believe only one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address

from isthmus.drivers.linux.links import LinkRow
from isthmus.drivers.linux.rtnetlink import mac_bytes
from isthmus.model.resources import IPAddress
from isthmus.telemetry import get_logger

__all__ = ["BROADCAST", "Announcer", "advertisement", "checksum", "gratuitous"]

_log = get_logger("linux")
_TIMES, _INTERVAL = 3, 1.0
BROADCAST = "ff:ff:ff:ff:ff:ff"
"""Everybody on a link."""
_BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ROUTER_OVERRIDE = 0xA0000000


def gratuitous(address: IPv4Address, mac: bytes) -> tuple[bytes, bytes]:
    """Return the gratuitous ARP frames for ``address``: as a request and as a reply."""
    ethernet = _BROADCAST + mac + b"\x08\x06"
    head = struct.pack("!HHBB", 1, 0x0800, 6, 4)
    own = mac + address.packed
    request = ethernet + head + b"\0\x01" + own + bytes(6) + address.packed
    reply = ethernet + head + b"\0\x02" + own + _BROADCAST + address.packed
    return request, reply


def advertisement(address: IPv6Address, mac: bytes) -> bytes:
    """Return the unsolicited neighbor advertisement for ``address``, with the override flag, to all nodes."""
    body = struct.pack("!I", _ROUTER_OVERRIDE) + address.packed + b"\x02\x01" + mac
    length = 4 + len(body)
    pseudo = address.packed + _ALL_NODES.packed + struct.pack("!II", length, 58)
    total = checksum(pseudo + b"\x88\0\0\0" + body)
    header = struct.pack("!IHBB", 6 << 28, length, 58, 255) + address.packed + _ALL_NODES.packed
    return _ALL_NODES_MAC + mac + b"\x86\xdd" + header + b"\x88\0" + struct.pack("!H", total) + body


def checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071) of ``data``, which is of even length."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Announcer:
    """Send announcements in the background until closed."""

    def __init__(self, *, interval: float = _INTERVAL) -> None:
        self._interval = interval
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: dict[IPAddress, object] = {}

    def announce(self, addresses: Sequence[IPAddress], link: LinkRow, to: Sequence[bytes] = ()) -> None:
        """Announce ``addresses`` on ``link``; returns at once. A link without a MAC (``lo``) has nobody to tell.

        ``to`` are the MACs to tell, each by a frame of its own; everybody by default.
        """
        if not link.mac or link.name == "lo":
            return
        mac, this = mac_bytes(link.mac), object()
        frames: list[tuple[IPAddress, bytes]] = []
        for address in addresses:
            self._told[address] = this
            if isinstance(address, IPv4Address):
                frames += [(address, frame) for frame in gratuitous(address, mac)]
            else:
                frames.append((address, advertisement(address, mac)))
        if to:
            frames = [(address, one + frame[6:]) for address, frame in frames for one in to]
        task = asyncio.create_task(self._send(link.name, frames, this), name=f"announce on {link.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, addresses: Iterable[IPAddress]) -> None:
        """Say nothing more of ``addresses``: once one is let go, a repetition would take it back from who has it by then."""
        for address in addresses:
            self._told.pop(address, None)

    async def close(self) -> None:
        """Stop announcing."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _send(self, link: str, frames: Sequence[tuple[IPAddress, bytes]], this: object) -> None:
        try:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as sender:
                sender.bind((link, 0))
                sender.setblocking(False)
                for turn in range(_TIMES):
                    if turn:
                        await asyncio.sleep(self._interval)
                    for number, (address, frame) in enumerate(frames):
                        if number % 64 == 63:
                            await asyncio.sleep(0.005)  # leave the link's queue and the loop room
                        if self._told.get(address) is this:
                            with contextlib.suppress(BlockingIOError):
                                sender.send(frame)
        except OSError as error:
            _log.warning("cannot announce", link=link, reason=error.strerror)
        finally:
            self.forget({address for address, _ in frames if self._told.get(address) is this})
