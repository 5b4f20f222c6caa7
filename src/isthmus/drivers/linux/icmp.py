"""ICMP echo on a raw socket: the packets (RFC 792, RFC 4443), the socket, and what comes back, parsed.

Two things keep this cheap for thousands of nodes: the payload is zeros, so its checksum is known without looking at it, and
the kernel filters by our own token, because every raw socket on a host gets a copy of all of the host's ICMP.

The one confusing thing: an IPv4 raw socket hands over the IP header, an IPv6 one does not.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from functools import lru_cache
from typing import NamedTuple

from isthmus.model.resources import IPAddress

__all__ = ["HEADER", "Heard", "echo_request", "heard", "never_fragmented", "raw_socket", "sent_from"]

HEADER = {4: 20, 6: 40}
_PMTUDISC_PROBE = 3
_IP_MTU_DISCOVER, _IP_PKTINFO, _IP_RECVFRAGSIZE = 10, 8, 25
_IPV6_MTU_DISCOVER, _IPV6_DONTFRAG, _IPV6_PKTINFO, _IPV6_RECVFRAGSIZE = 23, 62, 50, 77
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_BUFFER = 8 << 20
_ANCILLARY = 64
_UNREACHABLE4 = {0: "network", 1: "host", 2: "protocol", 3: "port", 9: "network", 10: "host", 13: "host"}
_UNREACHABLE6 = {0: "network", 1: "host", 2: "host", 3: "host", 4: "port"}


class Heard(NamedTuple):
    """One packet about one of our requests: an answer, or why there will be none (``why``)."""

    sequence: int
    sender: str
    why: str = ""
    fragment: int = 0
    mtu: int = 0


def echo_request(version: int, token: int, sequence: int, size: int) -> bytes:
    """Return an echo request that makes an IP packet of ``size`` bytes."""
    kind = 8 if version == 4 else 128
    length = max(0, size - HEADER[version] - 8)
    if version == 6:  # the kernel fills in the checksum: it covers addresses that only routing knows
        return struct.pack("!BBHHH", kind, 0, 0, token, sequence) + _zeros(length)
    total = (kind << 8) + token + sequence
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHHH", kind, 0, ~total & 0xFFFF, token, sequence) + _zeros(length)


def raw_socket(version: int, token: int) -> socket.socket:
    """Return a socket that sends unfragmented packets and hears the echo replies with ``token``, and all errors."""
    family, protocol = (
        (socket.AF_INET, socket.IPPROTO_ICMP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    )
    raw = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    try:
        raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    never_fragmented(raw, version)
    if version == 4:
        raw.setsockopt(socket.IPPROTO_IP, _IP_RECVFRAGSIZE, 1)
    else:
        raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVFRAGSIZE, 1)
    _filter(raw, version, token)
    return raw


def never_fragmented(made: socket.socket, version: int) -> None:
    """Have what ``made`` sends arrive whole or not at all."""
    if version == 4:
        made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)


def sent_from(source: IPAddress | None, index: int, version: int) -> tuple[int, int, bytes]:
    """Return the control message that sets source address and outgoing interface of one packet."""
    if version == 4:
        packed = source.packed if source else bytes(4)
        return socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", index, packed, b"")
    return socket.IPPROTO_IPV6, _IPV6_PKTINFO, struct.pack("=16si", source.packed if source else bytes(16), index)


def heard(raw: socket.socket, version: int, token: int) -> Heard | None:
    """Return what the next packet says, none if it is about no request of ours. Raises BlockingIOError where none waits."""
    data, ancillary, _flags, (sender, *_) = raw.recvmsg(65535, _ANCILLARY)
    icmp = data[(data[0] & 15) * 4 :] if version == 4 and data else data
    if len(icmp) < 8:
        return None
    kind, code = icmp[0], icmp[1]
    who = sender.partition("%")[0]
    if kind == (0 if version == 4 else 129):
        found, sequence = struct.unpack_from("!HH", icmp, 4)
        if found != token:
            return None
        largest = next((struct.unpack("=i", value)[0] for _, name, value in ancillary if name in _FRAGMENTS), 0)
        return Heard(sequence, who, fragment=largest)
    inner = icmp[8 + (icmp[8] & 15) * 4 :] if version == 4 and len(icmp) > 8 else icmp[8 + HEADER[6] :]
    if len(inner) < 8 or inner[0] != (8 if version == 4 else 128):
        return None
    found, sequence = struct.unpack_from("!HH", inner, 4)
    return _error(version, icmp, kind, code, sequence, who) if found == token else None


_FRAGMENTS = (_IP_RECVFRAGSIZE, _IPV6_RECVFRAGSIZE)


def _error(version: int, icmp: bytes, kind: int, code: int, sequence: int, who: str) -> Heard | None:
    if (version, kind, code) == (4, 3, 4) or (version, kind) == (6, 2):
        mtu = struct.unpack_from("!H", icmp, 6)[0] if version == 4 else struct.unpack_from("!I", icmp, 4)[0]
        return Heard(sequence, who, f"too long for the path: {who} says MTU {mtu}", mtu=mtu)
    if kind == (11 if version == 4 else 3):
        return Heard(sequence, who, f"{'time to live' if version == 4 else 'hop limit'} exceeded at {who}")
    if kind == (3 if version == 4 else 1):
        what = (_UNREACHABLE4 if version == 4 else _UNREACHABLE6).get(code, "destination")
        return Heard(sequence, who, f"{what} unreachable, says {who}")
    return None


@lru_cache(64)
def _zeros(length: int) -> bytes:
    return bytes(length)


# --- the kernel's own filter --------------------------------------------------------------------------------------

_LOAD_IHL, _LOAD_BYTE, _LOAD_HALF = 0xB1, 0x50, 0x48  # X = 4 * (P[k] & 15); A = P[X+k], one byte or two
_LOAD_ZERO = 0x01  # X = k
_EQUAL, _RETURN = 0x15, 0x06


def _filter(raw: socket.socket, version: int, token: int) -> None:
    """Let in echo replies with ``token`` and error messages, nothing else."""
    reply, errors = (0, (3, 11)) if version == 4 else (129, (1, 2, 3))
    begin = (_LOAD_IHL, 0, 0, 0) if version == 4 else (_LOAD_ZERO, 0, 0, 0)
    program = [begin, (_LOAD_BYTE, 0, 0, 0), (_EQUAL, 0, 2, reply), (_LOAD_HALF, 0, 0, 4)]
    program.append((_EQUAL, len(errors) + 1, len(errors), token))
    program += [(_EQUAL, len(errors) - place, 0, kind) for place, kind in enumerate(errors)]
    program += [(_RETURN, 0, 0, 0), (_RETURN, 0, 0, 0xFFFF)]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code)
    described = struct.pack("HL", len(program), ctypes.addressof(buffer))
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
