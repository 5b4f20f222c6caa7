"""Elements of our nft maps and sets, as bytes: packed for a transaction, unpacked from a dump.

It knows how a key is laid out (each part padded to four bytes, as nftables' registers are) and how elements are framed,
not what a map is for. A map's elements all have one length, so a dump of half a million is read in one stride. The one
confusing thing: a slot number stands in host order, ports and addresses in network order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from isthmus.drivers.linux.netlink import CREATE, Message
from isthmus.drivers.linux.nfnetlink import DEL_ELEMENT, NEW_ELEMENT, kind, payload
from isthmus.drivers.linux.ruleset import SETS, VERDICT, ElementSet
from isthmus.drivers.linux.wire import HEADER, attribute, attributes, be32, children, nested, text

__all__ = ["Element", "messages", "read", "verdict"]

_N = 0x8000
_LIST_ELEMENT, _KEY, _DATA, _VALUE, _VERDICT = 1, 1, 2, 1, 2
_GOTO = 0xFFFFFFFC  # NFT_GOTO is -4
_MOST = 48_000
"""Bytes of elements in one message; an attribute holds at most 65,535."""


class Element(NamedTuple):
    """One element: the map it is in, its key, its data (empty in a set)."""

    set: str
    key: bytes
    data: bytes = b""


def _frame(entry: ElementSet) -> tuple[bytes, bytes, bytes]:
    """Return what stands before the key, what between key and data (or after the key of a set), and what after."""
    padding = bytes(-entry.key & 3)
    room = entry.key + len(padding)
    key = HEADER.pack(room + 8, _KEY | _N) + HEADER.pack(entry.key + 4, _VALUE)
    if entry.data <= 0:
        return HEADER.pack(room + 12, _LIST_ELEMENT | _N) + key, padding, b""
    after = bytes(-entry.data & 3)
    data = HEADER.pack(entry.data + len(after) + 8, _DATA | _N) + HEADER.pack(entry.data + 4, _VALUE)
    length = 4 + 8 + room + 8 + entry.data + len(after)
    return HEADER.pack(length, _LIST_ELEMENT | _N) + key, padding + data, after


_FRAMES = {name: _frame(entry) for name, entry in SETS.items()}
_KEY_FRAMES = {name: _frame(entry._replace(data=0)) for name, entry in SETS.items()}


def verdict(chain: str) -> bytes:
    """Return the data of a verdict map that sends a packet to ``chain`` for good."""
    return nested(_VERDICT, be32(1, _GOTO), text(2, chain))


def _pack(name: str, elements: Iterable[tuple[bytes, bytes]], *, with_data: bool) -> Iterator[bytes]:
    """Yield packed elements."""
    if not with_data or SETS[name].data == 0:
        before, after, _ = _KEY_FRAMES[name]
        for key, _ in elements:
            yield before + key + after
    elif SETS[name].data == VERDICT:
        frame = _KEY_FRAMES[name][0][4:]
        for key, data in elements:
            yield attribute(_LIST_ELEMENT | _N, frame + key + attribute(_DATA | _N, data))
    else:
        before, between, after = _FRAMES[name]
        for key, data in elements:
            yield before + key + between + data + after


def messages(
    table: str, name: str, elements: Iterable[tuple[bytes, bytes]], *, delete: bool = False
) -> list[Message]:
    """Return the messages that add ``elements`` (key, data) to a set, or delete them from it."""
    head = text(1, table) + text(2, name)
    type_, flags = (kind(DEL_ELEMENT), 0) if delete else (kind(NEW_ELEMENT), CREATE)
    found: list[Message] = []
    parts: list[bytes] = []
    size = 0
    for packed in _pack(name, elements, with_data=not delete):
        if size + len(packed) > _MOST:
            found.append(Message(type_, flags, payload(head, nested(3, b"".join(parts)))))
            parts, size = [], 0
        parts.append(packed)
        size += len(packed)
    if parts:
        found.append(Message(type_, flags, payload(head, nested(3, b"".join(parts)))))
    return found


def read(name: str, lists: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Return (key, data) of every element in the lists of a dump; of a verdict map the data is the chain's name."""
    entry = SETS[name]
    found: list[tuple[bytes, bytes]] = []
    if entry.data == VERDICT:
        for elements in lists:
            found += _read_slowly(elements)
        return found
    key = f"=H10x{entry.key}s{-entry.key & 3}x"
    stride = struct.Struct(f"{key}8x{entry.data}s{-entry.data & 3}x" if entry.data else key)
    length = stride.size
    for elements in lists:
        rows = list(stride.iter_unpack(elements)) if len(elements) % length == 0 else []
        if rows and all(row[0] == length for row in rows):
            found += [row[1:] for row in rows] if entry.data else [(row[1], b"") for row in rows]
        else:
            found += _read_slowly(elements)
    return found


def _read_slowly(elements: bytes) -> list[tuple[bytes, bytes]]:
    """Return (key, data) of elements that carry more than we wrote (a comment, a counter), or a verdict."""
    found = []
    for _, element in children(elements):
        seen = attributes(element)
        key = attributes(seen.get(_KEY, b"")).get(_VALUE, b"")
        data = attributes(seen.get(_DATA, b""))
        if _VERDICT in data:
            chain = attributes(data[_VERDICT]).get(2, b"")
            found.append((key, chain.rstrip(b"\0")))
        else:
            found.append((key, data.get(_VALUE, b"")))
    return found
