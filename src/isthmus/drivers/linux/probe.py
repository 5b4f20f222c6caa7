"""Asking whether addresses answer: ICMP echo of a given length, and datagrams to a closed port, never fragmented.

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
from collections.abc import Iterable, Sequence
from time import perf_counter

from isthmus.drivers.base import ProbeResult, ProbeTarget
from isthmus.drivers.linux.icmp import HEADER, echo_request, heard, never_fragmented, raw_socket, sent_from
from isthmus.errors import DeviceUnreachable
from isthmus.model.resources import IPAddress

__all__ = ["probe"]

_AGAIN, _DEADLINE = 0.6, 1.6
_SILENCE = f"no answer in {_DEADLINE} s"
_CLOSED_PORT = 33434
"""Where traceroute knocks, because nobody lives there."""
_MOST = 0xFFFF
_IP_MTU, _IPV6_MTU = 14, 24


async def probe(targets: Sequence[ProbeTarget]) -> list[ProbeResult]:
    """Return an answer for each target, in order."""
    asked = [_Asked(target) for target in targets]
    try:
        await asyncio.gather(
            _echo([one for one in asked if one.target.method == "echo"]),
            *(_knock(one) for one in asked if one.target.method == "port"),
        )
    except PermissionError:
        return [ProbeResult(target, reached=False, why="probing needs the capability NET_RAW") for target in targets]
    except OSError as error:
        raise DeviceUnreachable(f"this host cannot probe: {error.strerror or error}") from error
    return [one.result or ProbeResult(one.target, reached=False, why=_SILENCE) for one in asked]


async def _echo(asked: Sequence[_Asked]) -> None:
    with contextlib.ExitStack() as stack:
        rounds = []
        for version in (4, 6):
            mine = [one for one in asked if one.target.address.version == version]
            rounds += [stack.enter_context(_Round(version, part)) for part in _parts(mine)]
        for one_round in rounds:
            await one_round.ask()
        if rounds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_all_known(rounds), _AGAIN)
            for one_round in rounds:
                await one_round.ask()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_all_known(rounds), _DEADLINE - _AGAIN)
        for one_round in rounds:
            one_round.hear_the_rest()


def _parts(asked: Sequence[_Asked]) -> Iterable[Sequence[_Asked]]:
    return (asked[start : start + _MOST] for start in range(0, len(asked), _MOST))


async def _all_known(rounds: Sequence[_Round]) -> None:
    for one_round in rounds:
        await one_round.known.wait()


class _Asked:
    """One target and what has been heard of it."""

    __slots__ = ("address", "result", "sent", "target")

    def __init__(self, target: ProbeTarget) -> None:
        self.target = target
        self.address = str(target.address)
        self.result: ProbeResult | None = None
        self.sent = 0.0

    def answered(self, fragment: int = 0) -> None:
        took = (perf_counter() - self.sent) * 1000
        self.result = ProbeResult(self.target, reached=True, milliseconds=took, fragment=fragment)

    def fail(self, why: str, mtu: int = 0) -> None:
        self.result = ProbeResult(self.target, reached=False, why=why, mtu=mtu)


class _Round:
    """The echo requests of one IP version over one socket."""

    def __init__(self, version: int, asked: Sequence[_Asked]) -> None:
        self.version = version
        self.known = asyncio.Event()
        self._open = dict(enumerate(asked))
        self._token = secrets.randbelow(0xFFFF) + 1
        self._socket = raw_socket(version, self._token)
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
            if count % 64 == 63:
                await asyncio.sleep(0.001)  # a burst that no switch drops, and time to hear what comes back
            self._send(sequence, one)
        self._settle()

    def hear_the_rest(self) -> None:
        """Take what waits in the socket: a process that was held up must not take its own delay for a silence."""
        while self._hear():
            pass

    def _settle(self) -> None:
        self._open = {sequence: one for sequence, one in self._open.items() if one.result is None}
        if not self._open:
            self.known.set()

    def _send(self, sequence: int, one: _Asked) -> None:
        target = one.target
        packet = echo_request(self.version, self._token, sequence, target.size)
        one.sent = perf_counter()
        try:
            index = socket.if_nametoindex(target.interface) if target.interface else 0
            self._socket.sendmsg([packet], [sent_from(target.source, index, self.version)], 0, (one.address, 0))
        except BlockingIOError:
            return
        except OSError as error:
            why, mtu = _send_error(error, target)
            one.fail(why, mtu)

    def _hear(self) -> bool:
        """Take some packets; say whether there may be more."""
        for _ in range(256):
            try:
                found = heard(self._socket, self.version, self._token)
            except OSError:
                break
            one = self._open.get(found.sequence) if found is not None else None
            if found is None or one is None or one.result is not None:
                continue
            if found.why:
                one.fail(found.why, found.mtu)
            elif found.sender == one.address:
                one.answered(found.fragment)
        else:
            return True
        self._settle()
        return False


async def _knock(one: _Asked) -> None:
    """Send a datagram to a closed port; whoever gets it says so (port unreachable), and the kernel tells us."""
    target = one.target
    version = target.address.version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as knocker:
        try:
            never_fragmented(knocker, version)
            if target.source is not None:
                knocker.bind((str(target.source), 0))
            knocker.connect((str(target.address), _CLOSED_PORT))
            one.sent = perf_counter()
            for patience in (_AGAIN, _DEADLINE - _AGAIN):
                knocker.send(bytes(max(0, target.size - HEADER[version] - 8)))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(loop.sock_recv(knocker, 1), patience)
                    break
        except ConnectionRefusedError:
            one.answered()
        except OSError as error:
            why, mtu = _send_error(error, target)
            one.fail(why, mtu)


def _send_error(error: OSError, target: ProbeTarget) -> tuple[str, int]:
    """Return why a packet could not be sent, and the MTU that stood in its way, if one did."""
    if error.errno == errno.EMSGSIZE:
        mtu = _link_mtu(target)
        return f"too long for the link: its MTU is {mtu or 'less'}, the probe {target.size}", mtu
    if target.source is not None and not _is_ours(target.source):
        return f"{target.source} is not an address of this host", 0
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return f"this host has no route to {target.address}", 0
    if error.errno == errno.ENOBUFS:
        return "this host's neighbor table is full (net.ipv4.neigh.default.gc_thresh3, net.ipv6 likewise)", 0
    return os.strerror(error.errno) if error.errno else str(error), 0


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
