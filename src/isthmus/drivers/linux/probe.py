"""Asking whether an address answers: ICMP echo (RFC 792, RFC 4443) with a given length, never fragmented.

All targets are asked at once over one raw socket per IP version, twice at most, within two seconds. The one confusing
thing: the length is that of the whole IP packet, so a probe of 1450 bytes tells whether an MTU of 1450 holds all the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import socket
import struct
from collections.abc import Sequence
from time import perf_counter

from isthmus.drivers.base import ProbeResult, ProbeTarget
from isthmus.errors import DeviceUnreachable
from isthmus.model.resources import IPAddress

__all__ = ["probe"]

_AGAIN, _DEADLINE = 0.6, 1.6
_SILENCE = f"no answer in {_DEADLINE} s"
_HEADER = {4: 20, 6: 40}
_PMTUDISC_PROBE = 3
_IP_MTU_DISCOVER, _IP_MTU, _IP_PKTINFO = 10, 14, 8
_IPV6_MTU_DISCOVER, _IPV6_MTU, _IPV6_DONTFRAG, _IPV6_PKTINFO = 23, 24, 62, 50
_UNREACHABLE4 = {0: "network", 1: "host", 2: "protocol", 3: "port", 9: "network", 10: "host", 13: "host"}
_UNREACHABLE6 = {0: "network", 1: "host", 2: "host", 3: "host", 4: "port"}


async def probe(targets: Sequence[ProbeTarget]) -> list[ProbeResult]:
    """Return an answer for each target, in order."""
    asked = [_Asked(number, target) for number, target in enumerate(targets)]
    try:
        await _ask(asked)
    except PermissionError:
        return [ProbeResult(target, reached=False, why="probing needs the capability NET_RAW") for target in targets]
    except OSError as error:
        raise DeviceUnreachable(f"this host cannot probe: {error.strerror or error}") from error
    return [one.result or ProbeResult(one.target, reached=False, why=_SILENCE) for one in asked]


async def _ask(asked: Sequence[_Asked]) -> None:
    with contextlib.ExitStack() as stack:
        rounds = []
        for version in (4, 6):
            mine = [one for one in asked if one.target.address.version == version]
            if mine:
                rounds.append(stack.enter_context(_Round(version, mine)))
        for one_round in rounds:
            await one_round.ask()
        if rounds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_all_known(rounds), _AGAIN)
            for one_round in rounds:
                await one_round.ask()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_all_known(rounds), _DEADLINE - _AGAIN)


async def _all_known(rounds: Sequence[_Round]) -> None:
    for one_round in rounds:
        await one_round.known.wait()


class _Asked:
    """One target and what has been heard of it."""

    def __init__(self, number: int, target: ProbeTarget) -> None:
        self.number = number
        self.target = target
        self.result: ProbeResult | None = None
        self.sent = 0.0

    def fail(self, why: str) -> None:
        self.result = ProbeResult(self.target, reached=False, why=why)


class _Round:
    """The probes of one IP version over one socket."""

    def __init__(self, version: int, asked: Sequence[_Asked]) -> None:
        self.version = version
        self.known = asyncio.Event()
        self._open = {one.number & 0xFFFF: one for one in asked}
        self._token = secrets.randbelow(0xFFFF) + 1
        self._socket = _raw_socket(version)
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> _Round:
        self._loop.add_reader(self._socket, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    async def ask(self) -> None:
        """Send to every target that has not answered."""
        for count, (sequence, one) in enumerate(list(self._open.items())):
            if count % 128 == 127:
                await asyncio.sleep(0.002)
            self._send(sequence, one)
        self._settle()

    def _settle(self) -> None:
        self._open = {sequence: one for sequence, one in self._open.items() if one.result is None}
        if not self._open:
            self.known.set()

    def _send(self, sequence: int, one: _Asked) -> None:
        target = one.target
        kind = 8 if self.version == 4 else 128
        data = bytes(max(0, target.size - _HEADER[self.version] - 8))
        packet = struct.pack("!BBHHH", kind, 0, 0, self._token, sequence) + data
        if self.version == 4:
            packet = packet[:2] + struct.pack("!H", _checksum(packet)) + packet[4:]
        one.sent = perf_counter()
        try:
            index = socket.if_nametoindex(target.interface) if target.interface else 0
            self._socket.sendmsg([packet], [_from(target.source, index, self.version)], 0, (str(target.address), 0))
        except BlockingIOError:
            return
        except OSError as error:
            one.fail(_send_error(error, target))

    def _hear(self) -> None:
        for _ in range(256):
            try:
                buffer, (sender, *_rest) = self._socket.recvfrom(65535)
            except OSError:
                break
            if self.version == 4:
                self._hear4(buffer[(buffer[0] & 15) * 4 :], sender)
            else:
                self._hear6(buffer, sender)
        self._settle()

    def _hear4(self, icmp: bytes, sender: str) -> None:
        if len(icmp) < 8:
            return
        kind, code = icmp[0], icmp[1]
        if kind == 0:
            self._answered(icmp, sender)
        elif kind in (3, 11) and len(icmp) >= 36:
            one = self._asked_in(icmp[8 + (icmp[8] & 15) * 4 :])
            if one is None:
                return
            if kind == 11:
                one.fail(f"time to live exceeded at {sender}")
            elif code == 4:
                one.fail(f"too long for the path: {sender} says MTU {struct.unpack_from('!H', icmp, 6)[0]}")
            else:
                one.fail(f"{_UNREACHABLE4.get(code, 'destination')} unreachable, says {sender}")

    def _hear6(self, icmp: bytes, sender: str) -> None:
        if len(icmp) < 8:
            return
        kind, code = icmp[0], icmp[1]
        if kind == 129:
            self._answered(icmp, sender)
        elif kind in (1, 2, 3) and len(icmp) >= 56:
            one = self._asked_in(icmp[48:])
            if one is None:
                return
            if kind == 2:
                one.fail(f"too long for the path: {sender} says MTU {struct.unpack_from('!I', icmp, 4)[0]}")
            elif kind == 3:
                one.fail(f"hop limit exceeded at {sender}")
            else:
                one.fail(f"{_UNREACHABLE6.get(code, 'destination')} unreachable, says {sender}")

    def _asked_in(self, icmp: bytes) -> _Asked | None:
        """Return whose echo request begins with ``icmp``, if it is one of ours."""
        if len(icmp) < 8:
            return None
        token, sequence = struct.unpack_from("!HH", icmp, 4)
        return self._open.get(sequence) if token == self._token else None

    def _answered(self, icmp: bytes, sender: str) -> None:
        one = self._asked_in(icmp)
        if one is not None and one.result is None and sender.partition("%")[0] == str(one.target.address):
            one.result = ProbeResult(one.target, reached=True, milliseconds=(perf_counter() - one.sent) * 1000)


def _raw_socket(version: int) -> socket.socket:
    family, protocol = (
        (socket.AF_INET, socket.IPPROTO_ICMP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    )
    raw = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    if version == 4:
        raw.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)
    return raw


def _from(source: IPAddress | None, index: int, version: int) -> tuple[int, int, bytes]:
    """Return the control message that sets source address and outgoing interface of one packet."""
    if version == 4:
        return (
            socket.IPPROTO_IP,
            _IP_PKTINFO,
            struct.pack("=i4s4s", index, source.packed if source else bytes(4), b""),
        )
    return socket.IPPROTO_IPV6, _IPV6_PKTINFO, struct.pack("=16si", source.packed if source else bytes(16), index)


def _send_error(error: OSError, target: ProbeTarget) -> str:
    if error.errno == errno.EMSGSIZE:
        return f"too long for the link: its MTU is {_link_mtu(target) or 'less'}, the probe {target.size}"
    if target.source is not None and not _is_ours(target.source):
        return f"{target.source} is not an address of this host"
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return f"this host has no route to {target.address}"
    return os.strerror(error.errno) if error.errno else str(error)


def _is_ours(address: IPAddress) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asker:
        try:
            asker.bind((str(address), 0))
        except OSError:
            return False
    return True


def _link_mtu(target: ProbeTarget) -> int:
    version = target.address.version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asker, contextlib.suppress(OSError):
        asker.connect((str(target.address), 9))
        if version == 4:
            return asker.getsockopt(socket.IPPROTO_IP, _IP_MTU)
        return asker.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
    return 0


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
