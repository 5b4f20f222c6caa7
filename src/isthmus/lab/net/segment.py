"""Look at one segment as a host on it does: who answers for an address, and who announces that it has one.

ARP (RFC 826, RFC 5227) for IPv4 and neighbour discovery (RFC 4861) for IPv6, over packet sockets, so that the kernel's
own tables neither help nor get in the way. Two answers with different MACs mean two machines hold one VIP: `who_has`
returns all of them. The confusing thing: an announcement is a *reply nobody asked for*, so `Announcements` cannot tell a
gratuitous reply from one to somebody else's question, except that the latter is not addressed to everybody.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

from isthmus.errors import LabError
from isthmus.lab.net.clients import checksum
from isthmus.lab.net.netns import call_in
from isthmus.lab.net.topology import Address, Leg

_ETH_ARP, _ETH_IPV6, _ETH_ALL = 0x0806, 0x86DD, 0x0003
_BROADCAST = b"\xff" * 6
_SOLICITATION, _ADVERTISEMENT = 135, 136
_MOST_SEEN = 10_000


@dataclass(frozen=True, slots=True)
class Claim:
    """One frame that says "``address`` is at ``mac``"; ``at`` is in seconds of time.monotonic()."""

    at: float
    address: Address
    mac: str
    override: bool = True


async def who_has(leg: Leg, address: Address, *, window: float = 0.3, tries: int = 2) -> tuple[str, ...]:
    """Ask the segment of ``leg`` who has ``address``; return every MAC that answered within ``window`` s per try, sorted."""
    question = _arp_question(leg, address) if address.version == 4 else _ndp_question(leg, address)
    found: set[str] = set()
    async with _Tap(leg) as tap:
        for _ in range(tries):
            tap.send(question)
            await tap.listen(window)
            found |= {
                claim.mac for claim in map(_read, tap.taken()) if claim is not None and claim.address == address
            }
            if found:
                break
    return tuple(sorted(found))


class Announcements:
    """Write down what is announced to everybody on a segment (gratuitous ARP, unsolicited NA) between enter and exit."""

    def __init__(self, leg: Leg) -> None:
        self._tap = _Tap(leg, keep=self._take)
        self.seen: list[Claim] = []

    async def __aenter__(self) -> Self:
        await self._tap.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._tap.__aexit__(*exc)

    def of(self, address: Address) -> list[Claim]:
        """Return what was announced for ``address``, oldest first."""
        return [claim for claim in self.seen if claim.address == address]

    async def wait_for(self, address: Address, *, timeout: float = 5.0) -> Claim:
        """Wait for an announcement of ``address`` (one seen before counts); LabError when there is none in time."""
        deadline = time.monotonic() + timeout
        while not (claims := self.of(address)):
            if time.monotonic() > deadline:
                raise LabError(f"Nobody announced {address} within {timeout:g} s.")
            await asyncio.sleep(0.01)
        return claims[0]

    def _take(self, frame: bytes) -> None:
        # To everybody: Ethernet's group bit is set. ARP and NA as such are told apart in _read.
        if frame[0] & 1 and len(self.seen) < _MOST_SEEN:
            claim = _read(frame, announcement=True)
            if claim is not None:
                self.seen.append(claim)


class _Tap:
    """A packet socket on one leg that collects the frames others send."""

    def __init__(self, leg: Leg, keep: Callable[[bytes], None] | None = None) -> None:
        self._leg = leg
        self._frames: list[bytes] = []
        self._keep = keep or self._frames.append
        self._sock: socket.socket | None = None

    async def __aenter__(self) -> Self:
        leg = self._leg

        def make() -> socket.socket:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_ALL))
            try:
                sock.bind((leg.name, _ETH_ALL))
            except OSError as error:
                sock.close()
                raise LabError(f"{leg.namespace}/{leg.name} cannot be listened to: {error.strerror}") from error
            return sock

        self._sock = call_in(leg.namespace, make)
        self._sock.setblocking(False)
        asyncio.get_running_loop().add_reader(self._sock, self._read)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def send(self, frame: bytes) -> None:
        assert self._sock is not None
        self._sock.send(frame)

    async def listen(self, seconds: float) -> None:
        """Let frames come in for ``seconds``; the window itself is what is measured, so this is no wait for readiness."""
        await asyncio.sleep(seconds)

    def taken(self) -> Sequence[bytes]:
        frames, self._frames[:] = list(self._frames), []
        return frames

    def _read(self) -> None:
        assert self._sock is not None
        for _ in range(64):
            try:
                frame, where = self._sock.recvfrom(65536)
            except OSError:
                return
            if where[2] != socket.PACKET_OUTGOING and len(frame) >= 42 and len(self._frames) < _MOST_SEEN:
                self._keep(frame)


def _read(frame: bytes, *, announcement: bool = False) -> Claim | None:
    """Return the claim that ``frame`` makes, None if it makes none."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    now = time.monotonic()
    if kind == _ETH_ARP:
        operation = struct.unpack_from("!H", frame, 20)[0]
        sender, target = IPv4Address(frame[28:32]), IPv4Address(frame[38:42])
        # A gratuitous ARP names itself as its target, whether as request or as reply (RFC 5227, section 3).
        if announcement and sender != target:
            return None
        if not announcement and operation != 2:
            return None
        return Claim(now, sender, _text(frame[22:28]))
    if kind == _ETH_IPV6 and len(frame) >= 78 and frame[20] == socket.IPPROTO_ICMPV6 and frame[54] == _ADVERTISEMENT:
        flags = frame[58]
        options = frame[78:]
        # Without a target link-layer option the frame's own source is all we have.
        mac = options[2:8] if len(options) >= 8 and options[0] == 2 else frame[6:12]
        return Claim(now, IPv6Address(frame[62:78]), _text(mac), bool(flags & 0x20))
    return None


def _arp_question(leg: Leg, address: Address) -> bytes:
    mac = _mac(leg.mac)
    own = leg.address("ipv4").packed
    return b"".join(
        [
            _BROADCAST + mac + struct.pack("!H", _ETH_ARP),
            struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1),
            mac + own + bytes(6) + address.packed,
        ]
    )


def _ndp_question(leg: Leg, address: Address) -> bytes:
    mac = _mac(leg.mac)
    group = ip_address(bytes.fromhex("ff0200000000000000000001ff") + address.packed[13:])
    source = leg.address("ipv6").packed
    body = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address.packed + b"\x01\x01" + mac
    pseudo = source + group.packed + struct.pack("!II", len(body), socket.IPPROTO_ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_ICMPV6, 255)
    ethernet = b"\x33\x33" + group.packed[12:] + mac + struct.pack("!H", _ETH_IPV6)
    return ethernet + header + source + group.packed + body


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _text(mac: bytes) -> str:
    return mac.hex(":")
