"""A virtual server for UDP: each client has a flow with a socket of its own to a member, until it is silent for long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from isthmus.lab.adc.plans import Member, Name
from isthmus.lab.adc.sockets import outgoing
from isthmus.lab.adc.wiring import Address

_AT_ONCE = 64
_FLOWS_MAX = 8192
_LONGEST = 120.0


@dataclass(slots=True)
class _Flow:
    sock: socket.socket
    member: Member
    last: float


class Datagrams:
    """The flows of one virtual server; ``choose`` returns a member for a client, or none."""

    def __init__(
        self, namespace: str, idle: float, choose: Callable[[Address], Member | None], ended: Callable[[Name], None]
    ) -> None:
        """Make a server that does not listen; a flow ends after ``idle`` seconds of silence."""
        self._namespace = namespace
        self._idle = min(idle, _LONGEST)
        self._choose = choose
        self._ended = ended
        self._sock: socket.socket | None = None
        self._flows: dict[tuple[str, int], _Flow] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    async def listen(self, sock: socket.socket) -> None:
        """Take clients at ``sock``."""
        self._sock = sock
        self._loop.add_reader(sock, self._from_clients)
        if self._timer is None:
            self._timer = self._loop.call_later(self._idle / 4, self._sweep)

    def refuse(self) -> None:
        """Take nothing more, not of known clients either: there is no socket left to answer them from."""
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def flush(self, gone: Callable[[Member], bool]) -> None:
        """End the flows to members that are ``gone``."""
        for client, flow in list(self._flows.items()):
            if gone(flow.member):
                self._end(client)

    async def close(self) -> None:
        """End everything."""
        self.refuse()
        self.flush(lambda _: True)
        if self._timer is not None:
            self._timer.cancel()

    def _from_clients(self) -> None:
        for _ in range(_AT_ONCE):
            if self._sock is None:
                return
            try:
                data, sender = self._sock.recvfrom(65536)
            except OSError:
                return
            flow = self._flows.get(sender[:2]) or self._begin(sender)
            if flow is not None:
                flow.last = self._loop.time()
                # What cannot be sent is lost, as datagrams are.
                with contextlib.suppress(OSError):
                    flow.sock.send(data)

    def _begin(self, sender: tuple[str, int]) -> _Flow | None:
        member = self._choose(ip_address(sender[0].partition("%")[0])) if len(self._flows) < _FLOWS_MAX else None
        if member is None:
            return None
        try:
            sock = outgoing(self._namespace, member.address, member.sources, datagram=True)
            sock.connect((str(member.address), member.port))
        except OSError:
            self._ended(member.name)
            return None
        flow = self._flows[sender[:2]] = _Flow(sock, member, self._loop.time())
        self._loop.add_reader(sock, self._from_member, sender, flow)
        return flow

    def _from_member(self, client: tuple[str, int], flow: _Flow) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = flow.sock.recv(65536)
                if self._sock is not None:
                    flow.last = self._loop.time()
                    self._sock.sendto(data, client)
            except OSError:
                return

    def _end(self, client: tuple[str, int]) -> None:
        flow = self._flows.pop(client)
        self._loop.remove_reader(flow.sock)
        flow.sock.close()
        self._ended(flow.member.name)

    def _sweep(self) -> None:
        now = self._loop.time()
        for client, flow in list(self._flows.items()):
            if now - flow.last > self._idle:
                self._end(client)
        self._timer = self._loop.call_later(self._idle / 4, self._sweep)
