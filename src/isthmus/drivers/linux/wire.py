"""Netlink attributes: type, length, value, padded to four bytes (``man 7 netlink``).

It knows how attributes are laid out and nothing of what they mean. The one confusing thing: lengths and types are in
host order, while many values (ports, netfilter's numbers) are in network order; that is the caller's business.
"""

from __future__ import annotations

import struct

__all__ = ["HEADER", "attribute", "attributes", "be16", "be32", "children", "nested", "text", "u8", "u16", "u32"]

HEADER = struct.Struct("=HH")
_NESTED = 0x8000
_TYPE = 0x3FFF
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_BE16 = struct.Struct("!H")
_BE32 = struct.Struct("!I")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded."""
    return HEADER.pack(len(value) + 4, kind) + value + _PADDING[len(value) & 3]


def nested(kind: int, *parts: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(parts))


def u8(kind: int, value: int) -> bytes:
    """Return a one-byte attribute."""
    return attribute(kind, bytes((value,)))


def u16(kind: int, value: int) -> bytes:
    """Return a two-byte attribute in host order."""
    return attribute(kind, _U16.pack(value))


def u32(kind: int, value: int) -> bytes:
    """Return a four-byte attribute in host order."""
    return attribute(kind, _U32.pack(value))


def be16(kind: int, value: int) -> bytes:
    """Return a two-byte attribute in network order."""
    return attribute(kind, _BE16.pack(value))


def be32(kind: int, value: int) -> bytes:
    """Return a four-byte attribute in network order."""
    return attribute(kind, _BE32.pack(value))


def text(kind: int, value: str) -> bytes:
    """Return a zero-terminated text attribute."""
    return attribute(kind, value.encode() + b"\0")


def attributes(buffer: bytes, start: int = 0, end: int | None = None) -> dict[int, bytes]:
    """Return the attributes in ``buffer[start:end]`` by type; of a repeated one the last. Broken lengths end the walk."""
    found: dict[int, bytes] = {}
    stop = len(buffer) if end is None else end
    unpack = HEADER.unpack_from
    while start + 4 <= stop:
        length, kind = unpack(buffer, start)
        if length < 4 or start + length > stop:
            break
        found[kind & _TYPE] = buffer[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


def children(buffer: bytes) -> list[tuple[int, bytes]]:
    """Return the attributes in ``buffer`` in order, repeated ones too (lists are made of them)."""
    found: list[tuple[int, bytes]] = []
    start, stop = 0, len(buffer)
    while start + 4 <= stop:
        length, kind = HEADER.unpack_from(buffer, start)
        if length < 4 or start + length > stop:
            break
        found.append((kind & _TYPE, buffer[start + 4 : start + length]))
        start += (length + 3) & ~3
    return found
