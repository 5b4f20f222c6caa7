"""SCTP without SCTP sockets: an INIT, and the INIT ACK that tells who answered (RFC 9260, sections 3.3.2 and 3.3.3).

Many kernels can track and translate SCTP and have no sockets for it, so the lab speaks just enough of it over raw sockets
to see a translation happen: the client sends an INIT, a pod answers with an INIT ACK whose state cookie (opaque to
everybody else) holds the line that pods give over HTTP. There is no association afterwards. The confusing thing: the
checksum (CRC32c) has to be right even here, since connection tracking drops what is not.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time

from isthmus.lab.net.clients import Answer, Why, failure, read_line
from isthmus.lab.net.netns import socket_in
from isthmus.lab.net.topology import Address

PROTOCOL = 132
SCTP_PORT = 8132
_INIT, _INIT_ACK, _COOKIE = 1, 2, 7
_CHUNK = struct.Struct("!BBHIIHHI")


def crc32c(data: bytes) -> int:
    """Return the CRC32c of ``data`` (RFC 9260, appendix A), bit by bit: packets here are few and short."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def packet(source_port: int, port: int, tag: int, chunk: bytes) -> bytes:
    """Return an SCTP packet with one chunk and the right checksum."""
    chunk += bytes(-len(chunk) % 4)
    head = struct.pack("!HHI", source_port, port, tag)
    # The checksum alone is little-endian on the wire.
    return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk


def init(source_port: int, port: int, tag: int) -> bytes:
    """Return an INIT."""
    return packet(source_port, port, 0, _CHUNK.pack(_INIT, 0, _CHUNK.size, tag, 65536, 1, 1, 1))


def init_ack(request: bytes, cookie: bytes) -> bytes | None:
    """Return the INIT ACK to ``request`` (an SCTP packet), None if that is no INIT."""
    if len(request) < 12 + _CHUNK.size or request[12] != _INIT:
        return None
    source_port, port = struct.unpack_from("!HH", request)
    tag = struct.unpack_from("!I", request, 16)[0]
    length = _CHUNK.size + 4 + len(cookie)
    chunk = (
        _CHUNK.pack(_INIT_ACK, 0, length, 1, 65536, 1, 1, 1) + struct.pack("!HH", _COOKIE, 4 + len(cookie)) + cookie
    )
    return packet(port, source_port, tag, chunk)


def cookie_of(reply: bytes, tag: int) -> bytes | None:
    """Return the cookie of an INIT ACK that answers the INIT with ``tag``, None for any other packet."""
    if len(reply) < 12 + _CHUNK.size + 4 or reply[12] != _INIT_ACK or struct.unpack_from("!I", reply, 4)[0] != tag:
        return None
    start = 12 + _CHUNK.size
    kind, length = struct.unpack_from("!HH", reply, start)
    return reply[start + 4 : start + length] if kind == _COOKIE else None


def without_ip(data: bytes, family: int) -> bytes:
    """Return what a raw socket read, without the IPv4 header that comes with it (IPv6 has none)."""
    return data[(data[0] & 15) * 4 :] if family == socket.AF_INET and data else data


async def ask_sctp(namespace: str, address: Address, port: int, *, timeout: float = 1.0) -> Answer:
    """Send one INIT from ``namespace`` and wait for the INIT ACK from the same address."""
    target = f"[{address}]:{port}/sctp" if address.version == 6 else f"{address}:{port}/sctp"
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    began = time.monotonic()
    source_port = 32768 + int.from_bytes(os.urandom(2), "big") % 28000
    tag = int.from_bytes(os.urandom(4), "big") or 1
    sock = socket_in(namespace, family, socket.SOCK_RAW, PROTOCOL)
    loop = asyncio.get_running_loop()
    try:
        # Connected: the kernel then only hands over what comes from the address that was asked.
        sock.connect((str(address), 0))
        async with asyncio.timeout(timeout):
            await loop.sock_sendall(sock, init(source_port, port, tag))
            while (cookie := cookie_of(without_ip(await loop.sock_recv(sock, 65536), family), tag)) is None:
                continue
    except TimeoutError:
        detail = f"nothing within {timeout:g} s"
        return Answer(Why.NO_ANSWER, target, total_ms=(time.monotonic() - began) * 1000, detail=detail)
    except OSError as error:
        return failure(error, target, began)
    finally:
        sock.close()
    return read_line(cookie, target, began)
