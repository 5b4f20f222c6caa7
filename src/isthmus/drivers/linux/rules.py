"""Direct return on a node, as a routing rule: what comes out of a tunnel for a VIP and nobody here takes goes no further.

A packet for a VIP of a range comes out of the tunnel as the client sent it. Whoever serves it on the node (kube-proxy, or a
local address) takes it before any rule of ours is asked; the answer leaves by the node's own routes, straight to the client.
What is taken by nobody would leave by the default route, come to the device again, and so round and round; the rule answers
"unreachable" instead. A rule is ours by its protocol number (FRA_PROTOCOL, kernel 4.17).

The one confusing thing: a rule for a link stays when the link goes, and holds again when one of that name comes.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from ipaddress import ip_network
from typing import NamedTuple

from isthmus.drivers.base import Outcome
from isthmus.drivers.linux import netlink
from isthmus.drivers.linux.answers import done, outcome
from isthmus.drivers.linux.kernel import Kernel
from isthmus.drivers.linux.netlink import Message, split
from isthmus.drivers.linux.wire import attribute, attributes, text, u8, u32
from isthmus.model.plan import Change
from isthmus.model.resources import DirectReturn, IPNetwork

__all__ = ["RuleRow", "apply_rules", "delete_rule", "new_rule", "read_rules", "resource_of"]

NEW_RULE, DEL_RULE, GET_RULE = 32, 33, 34
RULE = struct.Struct("=8BI")
"""fib_rule_hdr: family, dst_len, src_len, tos, table, reserved, reserved, action, flags."""
_DST, _IIFNAME, _PRIORITY, _PROTOCOL = 1, 3, 6, 21
_UNREACHABLE = 7
PRIORITY = 20010
"""After the local table (0), before the main one (32766), and beside nobody's that we know of."""
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


class RuleRow(NamedTuple):
    """One rule as far as ours have it."""

    network: IPNetwork
    link: str
    priority: int
    protocol: int
    action: int


def new_rule(wanted: DirectReturn, protocol: int) -> Message:
    """Return the message that makes the rule."""
    row = RuleRow(wanted.network, wanted.link, PRIORITY, protocol, _UNREACHABLE)
    return Message(NEW_RULE, netlink.CREATE | netlink.EXCL, _payload(row))


def delete_rule(row: RuleRow) -> Message:
    """Return the message that deletes one rule, with its protocol: a foreign one is never taken for it."""
    return Message(DEL_RULE, 0, _payload(row))


def _payload(row: RuleRow) -> bytes:
    head = RULE.pack(_FAMILY[row.network.version], row.network.prefixlen, 0, 0, 0, 0, 0, row.action, 0)
    return (
        head
        + attribute(_DST, row.network.network_address.packed)
        + text(_IIFNAME, row.link)
        + u32(_PRIORITY, row.priority)
        + u8(_PROTOCOL, row.protocol)
    )


def rule_row(buffer: bytes, start: int, end: int) -> RuleRow | None:
    """Return the rule in ``buffer[start:end]``; none for one without a destination or a link, which ours have."""
    _family, length, _src, _tos, _table, _one, _two, action, _flags = RULE.unpack_from(buffer, start)
    found = attributes(buffer, start + RULE.size, end)
    if _DST not in found or _IIFNAME not in found:
        return None
    network = ip_network((found[_DST], length))
    link = found[_IIFNAME].rstrip(b"\0").decode(errors="replace")
    priority = struct.unpack("=I", found[_PRIORITY])[0] if _PRIORITY in found else 0
    return RuleRow(network, link, priority, found.get(_PROTOCOL, b"\0")[0], action)


async def read_rules(kernel: Kernel) -> list[RuleRow]:
    """Return the rules that bear our protocol number."""
    rows: list[RuleRow] = []
    for family in (socket.AF_INET, socket.AF_INET6) if kernel.ipv6 else (socket.AF_INET,):
        buffers = await kernel.collect(Message(GET_RULE, 0, RULE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)))
        rows += [row for place in split(buffers, NEW_RULE) if (row := rule_row(*place)) is not None]
    return [row for row in rows if row.protocol == kernel.owner.protocol]


def resource_of(row: RuleRow) -> DirectReturn:
    """Return a rule of ours as a resource; one that does something else is about no link, which nobody wants."""
    plain = (row.priority, row.action) == (PRIORITY, _UNREACHABLE)
    return DirectReturn(row.network, row.link if plain else "")


async def apply_rules(kernel: Kernel, changes: Sequence[Change]) -> list[Outcome]:
    """Carry out changes of rules and return an outcome for each, in order."""
    standing = await read_rules(kernel)
    outcomes = []
    for change in changes:
        resource = change.resource
        assert isinstance(resource, DirectReturn), "only rules come here"
        if change.after is None:
            replies = await kernel.send([delete_rule(row) for row in standing if resource_of(row) == resource])
            failed = next((reply for reply in replies if reply.errno not in (0, errno.ENOENT)), None)
            outcomes.append(done(change) if failed is None else outcome(change, failed))
            continue
        [reply] = await kernel.send([new_rule(resource, kernel.owner.protocol)])
        # The kernel says so of a rule that is the same in all, its protocol number too: it is ours, and stands already.
        outcomes.append(done(change) if reply.errno == errno.EEXIST else outcome(change, reply))
    return outcomes
