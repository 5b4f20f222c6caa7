"""Ask over the network, from inside a namespace: HTTP, UDP, ping. Each question has one typed answer, not an exception.

These clients are small on purpose: one connection per request, no retries, no pool, so that what they report is what the
network did. An `Answer` says which pod replied and which source address it saw; or, in `why`, the kind of failure that
a person would act on. Only a namespace that is not there is a LabError. ARP and NDP are asked in `segment`, SCTP in `sctp`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import time
from dataclasses import dataclass, replace
from enum import StrEnum

from isthmus.lab.net.netns import socket_in
from isthmus.lab.net.topology import Address

_MOST_BYTES = 64 * 1024 * 1024
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE, _IPV6_DONTFRAG = 10, 23, 3, 62


class Why(StrEnum):
    """Why there is no good answer."""

    OK = "ok"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    NO_ANSWER = "no answer"
    STALLED = "stalled"
    RESET = "reset"
    TOO_BIG = "too big"
    GARBLED = "garbled"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request. Times are in milliseconds; ``body`` is the first line, ``size`` all of the body."""

    why: Why
    target: str
    pod: str = ""
    node: str = ""
    source: str = ""
    connect_ms: float = 0.0
    total_ms: float = 0.0
    size: int = 0
    body: str = ""
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Return whether the request succeeded."""
        return self.why is Why.OK


@dataclass(frozen=True, slots=True)
class Ping:
    """What came of one echo request; ``mtu`` is what a router or this host says would fit (0 if nobody said)."""

    why: Why
    ms: float = 0.0
    mtu: int = 0
    by: str = ""

    @property
    def ok(self) -> bool:
        """Return whether the echo came back."""
        return self.why is Why.OK


async def fetch(
    namespace: str,
    address: Address,
    port: int,
    path: str = "/",
    *,
    timeout: float = 3.0,
    source: Address | None = None,
) -> Answer:
    """GET ``path`` over a new connection from ``namespace``; ``timeout`` seconds for all of it."""
    target = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
    began = time.monotonic()
    connected = 0.0
    received = bytearray()
    sock = socket_in(namespace, _family(address), socket.SOCK_STREAM)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            if source is not None:
                sock.bind((str(source), 0))
            await loop.sock_connect(sock, (str(address), port))
            connected = time.monotonic()
            request = f"GET {path} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: isthmus-lab\r\nConnection: close\r\n\r\n"
            await loop.sock_sendall(sock, request.encode())
            while chunk := await loop.sock_recv(sock, 65536):
                received += chunk
                if len(received) > _MOST_BYTES:
                    break
    except TimeoutError:
        why = Why.STALLED if connected else Why.NO_ANSWER
        return Answer(
            why, target, total_ms=_ms(began), size=len(received), detail=f"nothing more within {timeout:g} s"
        )
    except OSError as error:
        return failure(error, target, began, len(received))
    finally:
        sock.close()
    return _read_reply(bytes(received), target, (connected - began) * 1000, _ms(began))


def _read_reply(reply: bytes, target: str, connect_ms: float, total_ms: float) -> Answer:
    head, found, body = reply.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = lines[0].split()
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    expected = headers.get("content-length", str(len(body)))
    if not found or len(status) < 2 or status[1] != "200" or not expected.isdecimal() or int(expected) != len(body):
        why = Why.RESET if not reply else Why.GARBLED
        detail = f"{lines[0][:60]!r}, {len(body)} of {expected} bytes"
        return Answer(why, target, connect_ms=connect_ms, total_ms=total_ms, size=len(body), detail=detail)
    return replace(read_line(body, target, 0.0), connect_ms=connect_ms, total_ms=total_ms)


async def ask_udp(
    namespace: str, address: Address, port: int, payload: bytes = b"?", *, timeout: float = 2.0
) -> Answer:
    """Send one datagram and wait for its answer; ``total_ms`` is the round trip."""
    target = f"[{address}]:{port}/udp" if address.version == 6 else f"{address}:{port}/udp"
    began = time.monotonic()
    loop = asyncio.get_running_loop()
    sock = socket_in(namespace, _family(address), socket.SOCK_DGRAM)
    try:
        async with asyncio.timeout(timeout):
            # Connected, so that an ICMP error comes back as one, and a reply from another address does not count.
            sock.connect((str(address), port))
            await loop.sock_sendall(sock, payload)
            data = await loop.sock_recv(sock, 65536)
    except TimeoutError:
        return Answer(Why.NO_ANSWER, target, total_ms=_ms(began), detail=f"nothing within {timeout:g} s")
    except OSError as error:
        return failure(error, target, began)
    finally:
        sock.close()
    return read_line(data, target, began)


def read_line(data: bytes, target: str, began: float) -> Answer:
    """Return the good answer in ``data``, whose first line a pod has written."""
    text = data.split(b"\n", 1)[0].decode(errors="replace")
    fields = _fields(text)
    return Answer(
        Why.OK,
        target,
        pod=fields.get("pod", ""),
        node=fields.get("node", ""),
        source=fields.get("src", ""),
        total_ms=_ms(began),
        size=len(data),
        body=text,
    )


def failure(error: OSError, target: str, began: float, size: int = 0) -> Answer:
    """Return the answer that the kernel's refusal amounts to."""
    return Answer(_why(error), target, total_ms=_ms(began), size=size, detail=_text(error))


async def ping(
    namespace: str, address: Address, *, size: int = 84, timeout: float = 1.0, source: Address | None = None
) -> Ping:
    """Send one echo request as an IP packet of ``size`` bytes that nobody may fragment (RFC 792, RFC 1191, RFC 8201)."""
    six = address.version == 6
    sock = socket_in(
        namespace, _family(address), socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    )
    loop = asyncio.get_running_loop()
    identity = struct.unpack("!H", os.urandom(2))[0]
    request = _echo_request(identity, max(0, size - (48 if six else 28)), six=six)
    began = time.monotonic()
    try:
        if six:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
        if source is not None:
            sock.bind((str(source), 0))
        async with asyncio.timeout(timeout):
            await loop.sock_sendto(sock, request, (str(address), 0))
            while True:
                data, sender = await loop.sock_recvfrom(sock, 65536)
                found = _echo_reply(data, identity, six=six)
                if found is not None:
                    return Ping(found[0], _ms(began), found[1], str(sender[0]))
    except TimeoutError:
        return Ping(Why.NO_ANSWER, _ms(began))
    except OSError as error:
        return Ping(Why.TOO_BIG if error.errno == errno.EMSGSIZE else _why(error), _ms(began), by="this host")
    finally:
        sock.close()


def _echo_request(identity: int, length: int, *, six: bool) -> bytes:
    kind = 128 if six else 8
    body = bytes(length)
    # For ICMPv6 the kernel fills the checksum in, since only it knows the source address.
    total = 0 if six else checksum(struct.pack("!BBHHH", kind, 0, 0, identity, 1) + body)
    return struct.pack("!BBHHH", kind, 0, total, identity, 1) + body


def _echo_reply(data: bytes, identity: int, *, six: bool) -> tuple[Why, int] | None:
    """Return what ``data`` says about our request (and an MTU), None if it is about something else."""
    if not six:
        data = data[(data[0] & 15) * 4 :]
    if len(data) < 8:
        return None
    kind, code, _, first, second = struct.unpack_from("!BBHHH", data)
    if kind == (129 if six else 0) and first == identity:
        return Why.OK, 0
    inner = data[48:] if six else data[8 + (data[8] & 15) * 4 if len(data) > 8 else 8 :]
    if len(inner) < 6 or struct.unpack_from("!H", inner, 4)[0] != identity:
        return None
    if six and kind == 2:
        return Why.TOO_BIG, (first << 16) | second
    if not six and kind == 3 and code == 4:
        return Why.TOO_BIG, second
    return (Why.UNREACHABLE, 0) if kind == (1 if six else 3) else None


def checksum(data: bytes) -> int:
    """Return the Internet checksum of ``data`` (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _fields(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def _ms(began: float) -> float:
    return (time.monotonic() - began) * 1000


def _text(error: OSError) -> str:
    return error.strerror or str(error)


def _why(error: OSError) -> Why:
    match error.errno:
        case errno.ECONNREFUSED:
            return Why.REFUSED
        case errno.EHOSTUNREACH | errno.ENETUNREACH | errno.EADDRNOTAVAIL | errno.EACCES | errno.EPERM:
            return Why.UNREACHABLE
        case errno.ECONNRESET | errno.EPIPE:
            return Why.RESET
        case errno.EMSGSIZE:
            return Why.TOO_BIG
        case _:
            return Why.NO_ANSWER
