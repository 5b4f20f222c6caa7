"""Sockets of a device: those it listens on at its virtual addresses, and those it reaches members from.

They are made in the device's namespace and bound to the source they are to have, so the kernel's policy rules see it.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct

from isthmus.lab.adc.wiring import Address
from isthmus.lab.net.netns import call_in

_IP_FREEBIND, _IPV6_FREEBIND, _IP_BIND_ADDRESS_NO_PORT = 15, 78, 24
_BACKLOG = 1024


def listening(namespace: str, address: Address, port: int, *, datagram: bool) -> socket.socket:
    """Return a socket bound to ``address``, whether or not that is there yet; raises OSError."""

    def make() -> socket.socket:
        sock = _new(address, datagram=datagram)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if address.version == 6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            sock.bind((str(address), port))
            if not datagram:
                sock.listen(_BACKLOG)
        except OSError:
            sock.close()
            raise
        return sock

    return call_in(namespace, make)


def outgoing(namespace: str, address: Address, sources: tuple[Address, ...], *, datagram: bool) -> socket.socket:
    """Return a socket for a connection to ``address``, bound to one of ``sources``; raises OSError."""

    def make() -> socket.socket:
        sock = _new(address, datagram=datagram)
        try:
            if address.version == 4:
                # A port is then taken when the connection is made, of all that are free towards that member.
                sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            if sources:
                sock.bind((str(random.choice(sources)), 0))
        except OSError:
            sock.close()
            raise
        return sock

    return call_in(namespace, make)


def _new(address: Address, *, datagram: bool) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def reset_on_close(sock: socket.socket) -> None:
    """Have a connection end with a reset instead of a farewell."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
