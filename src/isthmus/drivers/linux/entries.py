"""Carrying out changes of neighbors and FDB entries in batches.

On a tunnel of ours everything is ours by containment, so a write there replaces. On any other link a neighbor is
written over only if it carries our protocol number, was merely learnt, or is adopted by order; else a permanent entry
stays. The one confusing thing: the kernel cannot delete a neighbor by protocol, so on foreign links we look before we
delete.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from isthmus.drivers.base import Outcome
from isthmus.drivers.linux import netlink, rtnetlink
from isthmus.drivers.linux.answers import done, outcome, refused
from isthmus.drivers.linux.kernel import Kernel, Links
from isthmus.drivers.linux.netlink import Message, Reply
from isthmus.drivers.linux.rtnetlink import PERMANENT
from isthmus.drivers.linux.sentences import foreign_neighbor
from isthmus.drivers.linux.tables import NeighborRow
from isthmus.model.plan import Change
from isthmus.model.resources import FdbEntry, Neighbor

__all__ = ["apply_entries"]

_CREATE = netlink.CREATE | netlink.EXCL
_REPLACE = netlink.CREATE | netlink.REPLACE


async def apply_entries(kernel: Kernel, links: Links, changes: Sequence[Change]) -> list[Outcome]:
    """Carry out changes of neighbors and FDB entries and return an outcome for each, in order."""
    outcomes: dict[int, Outcome] = {}
    numbers: list[int] = []
    messages: list[Message] = []
    rows = await _standing(kernel, links, changes)
    for number, change in enumerate(changes):
        step = _step(kernel, links, change, rows)
        if isinstance(step, Outcome):
            outcomes[number] = step
        else:
            messages.append(step)
            numbers.append(number)
    for number, reply in zip(numbers, await kernel.send(messages), strict=True):
        outcomes[number] = _outcome(changes[number], reply)
    return [outcomes[number] for number in range(len(changes))]


def _outcome(change: Change, reply: Reply) -> Outcome:
    if reply.errno == errno.EEXIST:
        if isinstance(change.resource, FdbEntry):
            return done(change)
        return refused(change, "exists, not ours: a neighbor that came up meanwhile")
    return outcome(change, reply)


async def _standing(kernel: Kernel, links: Links, changes: Sequence[Change]) -> dict[tuple[int, bytes], NeighborRow]:
    """Return what stands on links that are not ours, by link and address, if any change concerns them."""
    places = {
        (links.index(change.resource.link), change.resource.address.packed)
        for change in changes
        if isinstance(change.resource, Neighbor) and change.resource.link not in links.ours
    }
    if not places:
        return {}
    rows = await kernel.neighbors()
    return {(row.link, row.destination): row for row in rows if (row.link, row.destination) in places}


def _step(
    kernel: Kernel, links: Links, change: Change, rows: dict[tuple[int, bytes], NeighborRow]
) -> Message | Outcome:
    """Return the message that carries out ``change``, or its outcome where there is nothing to send."""
    resource = change.resource
    assert isinstance(resource, Neighbor | FdbEntry), "only entries come here"
    link = resource.link if isinstance(resource, Neighbor) else resource.tunnel
    index = links.index(link)
    if not index:
        return done(change) if change.after is None else refused(change, f"no link is named {link!r}")
    if isinstance(resource, FdbEntry):
        if link not in links.ours:
            return done(change) if change.after is None else refused(change, f"{link} is not a tunnel of ours")
        if change.after is not None:
            return rtnetlink.new_fdb(resource, index)
        try:
            return rtnetlink.delete_fdb(resource, index)
        except ValueError:
            return done(change)  # what is to go comes as its caller spells it, and nothing stands at what is no MAC
    if link in links.ours:
        if change.after is None:
            return rtnetlink.delete_neighbor(resource, index)
        return rtnetlink.new_neighbor(resource, index, kernel.owner.protocol, _REPLACE)
    return _guarded(kernel, links, change, resource, index, rows.get((index, resource.address.packed)))


def _guarded(
    kernel: Kernel, links: Links, change: Change, neighbor: Neighbor, index: int, row: NeighborRow | None
) -> Message | Outcome:
    protocol = kernel.owner.protocol
    permanent = row is not None and bool(row.state & PERMANENT)
    if row is not None and permanent and row.protocol != protocol:
        if change.after is None:
            return done(change)
        if change.adopts != foreign_neighbor(row, links):
            return refused(change, f"exists, not ours: {foreign_neighbor(row, links)}")
    if change.after is None:
        return rtnetlink.delete_neighbor(neighbor, index) if permanent else done(change)
    return rtnetlink.new_neighbor(neighbor, index, protocol, _CREATE if row is None else _REPLACE)
