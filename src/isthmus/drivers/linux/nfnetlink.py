"""Netfilter's netlink messages: framing of nftables transactions, and the requests that read tables.

One transaction is BATCH_BEGIN, messages, BATCH_END in one send; the kernel carries out all of it or nothing. The one
confusing thing: numbers in nftables attributes are in network order, unlike rtnetlink's.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import NamedTuple

from isthmus.drivers.linux import netlink
from isthmus.drivers.linux.netlink import Message, Netlink, Reply, split
from isthmus.drivers.linux.wire import attributes, text

__all__ = ["Failed", "Nfnetlink", "Rule", "kind", "payload"]

NETLINK_NETFILTER = 12
NFTABLES = 10
INET = 1
NEW_TABLE, GET_TABLE, DEL_TABLE = 0, 1, 2
NEW_RULE, GET_RULE, DEL_RULE = 6, 7, 8
NEW_ELEMENT, GET_ELEMENT, DEL_ELEMENT = 12, 13, 14
NEW_GENERATION, GET_GENERATION = 15, 16
_BEGIN, _END = 0x10, 0x11
_HEADER = struct.Struct("=BBH")
_BATCH = struct.Struct("!BBH").pack(0, 0, NFTABLES)
_TABLE_NAME, _TABLE_FLAGS, _TABLE_USERDATA = 1, 2, 6
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_USERDATA = 1, 2, 4, 7
_COMMENT = 0
_DORMANT = 1


class Failed(Exception):
    """A transaction failed as a whole; nothing of it stands. ``reply`` is the first answer that says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.sentence())
        self.reply = reply


class Table(NamedTuple):
    """A table by name, with what it says of itself."""

    name: str
    comment: str
    dormant: bool


class Rule(NamedTuple):
    """A rule: the chain it is in, its comment, its expressions and user data as the kernel holds them."""

    chain: str
    comment: str
    expressions: bytes
    userdata: bytes


def kind(message: int) -> int:
    """Return the netlink message type of one of nftables' own."""
    return NFTABLES << 8 | message


def payload(*attributes_: bytes, family: int = INET) -> bytes:
    """Return nfgenmsg and attributes."""
    return _HEADER.pack(family, 0, 0) + b"".join(attributes_)


class Nfnetlink:
    """Transactions and reads through one socket; every method blocks for a moment, call them in a thread."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_NETFILTER, timeout=30.0)
        self.portid = self._netlink.portid
        self.limit = min(self._netlink.send_limit - 4096, 2 << 20)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def commit(self, messages: Sequence[Message]) -> None:
        """Carry out ``messages`` as one transaction; raise :class:`Failed` when the kernel declines it."""
        count = len(messages)
        first = self._netlink.sequence(count + 2)
        parts = [netlink.HEADER.pack(20, _BEGIN, netlink.REQUEST, first, 0), _BATCH]
        for offset, (type_, flags, data) in enumerate(messages, 1):
            # Acknowledge the last alone: a failing message answers in any case.
            ack = netlink.ACK if offset == count else 0
            header = netlink.HEADER.pack(16 + len(data), type_, flags | netlink.REQUEST | ack, first + offset, 0)
            parts += (header, data, bytes(-len(data) & 3))
        parts += (netlink.HEADER.pack(20, _END, netlink.REQUEST, first + count + 1, 0), _BATCH)
        try:
            reply = self._netlink.transaction(b"".join(parts), first, first + count)
        except TimeoutError as error:
            raise Failed(netlink.NO_ANSWER) from error
        except OSError as error:
            raise Failed(Reply(error.errno or errno.EIO)) from error
        if reply.errno != 0:
            raise Failed(reply)

    def generation(self) -> int:
        """Return the number of the ruleset as it stands: every commit by anybody makes it another."""
        buffer = self._netlink.ask(Message(kind(GET_GENERATION), 0, payload(family=0)))
        return int.from_bytes(attributes(buffer, 20).get(1, b""), "big")

    def tables(self) -> list[Table]:
        """Return the tables of family inet."""
        found = []
        request = Message(kind(GET_TABLE), 0, payload())
        for buffer, start, end in split(self._netlink.collect(request), kind(NEW_TABLE)):
            seen = attributes(buffer, start + 4, end)
            found.append(
                Table(
                    _text(seen.get(_TABLE_NAME, b"")),
                    _comment(seen.get(_TABLE_USERDATA, b"")),
                    bool(int.from_bytes(seen.get(_TABLE_FLAGS, b""), "big") & _DORMANT),
                )
            )
        return found

    def rules(self, table: str) -> list[Rule]:
        """Return the rules of one table, in order within each chain."""
        found = []
        request = Message(kind(GET_RULE), 0, payload(text(_RULE_TABLE, table)))
        for buffer, start, end in split(self._netlink.collect(request), kind(NEW_RULE)):
            seen = attributes(buffer, start + 4, end)
            if _text(seen.get(_RULE_TABLE, b"")) != table:
                continue
            userdata = seen.get(_RULE_USERDATA, b"")
            found.append(
                Rule(
                    _text(seen.get(_RULE_CHAIN, b"")),
                    _comment(userdata),
                    seen.get(_RULE_EXPRESSIONS, b""),
                    userdata,
                )
            )
        return found

    def elements(self, table: str, name: str) -> list[bytes]:
        """Return the element lists of one set, as the kernel spells them."""
        request = Message(kind(GET_ELEMENT), 0, payload(text(1, table), text(2, name)))
        lists = []
        for buffer, start, end in split(self._netlink.collect(request), kind(NEW_ELEMENT)):
            elements = attributes(buffer, start + 4, end).get(3)
            if elements:
                lists.append(elements)
        return lists


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _comment(userdata: bytes) -> str:
    """Return the comment in libnftnl's user data: type and length of one byte each, then the value."""
    start = 0
    while start + 2 <= len(userdata):
        type_, length = userdata[start], userdata[start + 1]
        if type_ == _COMMENT:
            return _text(userdata[start + 2 : start + 2 + length])
        start += 2 + length
    return ""
