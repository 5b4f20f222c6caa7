"""Carrying out changes of source addresses and VIPs: the address itself, with our mark, on its link.

An address that somebody else put up is never touched, unless it is adopted by order. The one confusing thing: one IP
may stand on two links for a moment while a VIP moves from one to the other; the new place comes first, then every
other place that carries our mark goes.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from ipaddress import ip_interface

from isthmus.drivers.base import Outcome
from isthmus.drivers.linux import links as linkmessages
from isthmus.drivers.linux.answers import GONE, done, outcome, refused
from isthmus.drivers.linux.kernel import Kernel, Links
from isthmus.drivers.linux.lifetimes import LIFETIME
from isthmus.drivers.linux.links import AddressRow
from isthmus.drivers.linux.netlink import Message
from isthmus.drivers.linux.sentences import foreign_address
from isthmus.model.plan import Change
from isthmus.model.resources import IPAddress, IPInterface, SourceAddress, VirtualAddress

__all__ = ["apply_addresses", "keeps_marks", "place_of"]

_Place = tuple[IPInterface, str]
_TRIAL = ip_interface("127.200.53.18/32")


def place_of(resource: SourceAddress | VirtualAddress) -> _Place:
    """Return the address with its length, and the link it belongs on."""
    if isinstance(resource, SourceAddress):
        return resource.address, resource.link
    return ip_interface(resource.address), resource.link


async def apply_addresses(
    kernel: Kernel, links: Links, changes: Sequence[Change]
) -> tuple[list[Outcome], list[Change]]:
    """Carry out changes of addresses; return an outcome for each, in order, and the changes that put one up anew."""
    rows: dict[IPAddress, list[AddressRow]] = {}
    wanted = [
        place_of(one.resource)[0].ip for one in changes if isinstance(one.resource, SourceAddress | VirtualAddress)
    ]
    for row in await kernel.addresses(wanted):
        rows.setdefault(row.address, []).append(row)
    adds: list[tuple[int, Message]] = []
    removals: list[tuple[int, Message]] = []
    first: list[tuple[int, Message]] = []
    lifetimes: list[tuple[int, Message]] = []
    outcomes: dict[int, Outcome] = {}
    for number, change in enumerate(changes):
        resource = change.resource
        assert isinstance(resource, SourceAddress | VirtualAddress), "only addresses come here"
        address, link = place_of(resource)
        standing = rows.get(address.ip, [])
        ours = [row for row in standing if row.protocol == kernel.owner.protocol]
        foreign = [row for row in standing if row.protocol != kernel.owner.protocol]
        index = links.index(link)
        if change.after is None:
            outcomes[number] = done(change)
            removals += [(number, _delete(row)) for row in ours]
        elif foreign and change.adopts in [foreign_address(row, links) for row in foreign]:
            steps = _adopt(kernel, links, change, foreign)
            if isinstance(steps, Outcome):
                outcomes[number] = steps
            else:
                outcomes[number] = done(change)
                adds.append((number, steps[0]))
                removals += [(number, message) for message in steps[1:]]
        elif foreign:
            where = ", ".join(sorted(f"{row.interface} dev {links.name(row.link)}" for row in foreign))
            other = ", which is not what was to be taken over" if change.adopts else ""
            outcomes[number] = refused(change, f"exists, not ours: address {where}{other}")
        elif not index:
            outcomes[number] = refused(change, f"no link is named {link!r}")
        else:
            others = [row for row in ours if (row.interface, row.link) != (address, index)]
            # IPv6 knows an address once per link, whatever its length: there the old length goes first.
            blocking = [row for row in others if address.version == 6 and row.link == index]
            first += [(number, _delete(row)) for row in blocking]
            removals += [(number, _delete(row)) for row in others if row not in blocking]
            outcomes[number] = done(change)
            lapses = isinstance(resource, VirtualAddress) and resource.lapses
            spelled = (address, index, kernel.owner.protocol, LIFETIME if lapses else linkmessages.FOR_EVER)
            if len(others) == len(ours):
                adds.append((number, linkmessages.new_address(*spelled)))
            elif any(row.lapses != lapses for row in ours if row not in others):
                lifetimes.append((number, linkmessages.set_lifetime(*spelled)))
    for number, _ in first:
        # Routes that prefer this address as their source lose it while it is away.
        outcomes[number] = done(changes[number], disturbed=True)
    await _send(kernel, first, changes, outcomes)
    await _send(kernel, adds, changes, outcomes)
    await _send(kernel, lifetimes, changes, outcomes)
    await _send(kernel, [step for step in removals if outcomes[step[0]].result == "done"], changes, outcomes)
    added = [changes[number] for number, _ in adds if outcomes[number].result == "done"]
    return [outcomes[number] for number in range(len(changes))], added


def _adopt(kernel: Kernel, links: Links, change: Change, foreign: Sequence[AddressRow]) -> list[Message] | Outcome:
    """Return what takes a foreign address over: ours comes or is marked first, then theirs goes; or why that is not done.

    An address with a subnet is how an interface reaches its segment: it is marked where it is, or left alone.
    """
    resource = change.resource
    assert isinstance(resource, SourceAddress | VirtualAddress), "only addresses come here"
    address, link = place_of(resource)
    index = links.index(link)
    if not index:
        return refused(change, f"no link is named {link!r}")
    same = [row for row in foreign if (row.interface, row.link) == (address, index)]
    others = [row for row in foreign if row not in same]
    for row in others:
        where = f"{row.interface} dev {links.name(row.link)}"
        if row.length != row.address.max_prefixlen:
            return refused(change, f"not taken over: {where} is an interface's own address, with its subnet")
        if row.link == index:
            return refused(change, f"not taken over: {where} cannot become {address} without going first")
    make = linkmessages.mark_address if same else linkmessages.new_address
    return [make(address, index, kernel.owner.protocol), *(_delete(row) for row in others)]


async def keeps_marks(kernel: Kernel) -> bool:
    """Say whether this kernel keeps an address's protocol number: seen on any address, or tried on one of ``lo``'s."""
    if any(row.protocol for row in await kernel.addresses()):
        return True
    lo = (await kernel.links()).index("lo")
    await kernel.send([linkmessages.new_address(_TRIAL, lo, kernel.owner.protocol)])
    kept = any(row.address == _TRIAL.ip and row.protocol for row in await kernel.addresses())
    await kernel.send([linkmessages.delete_address(_TRIAL, lo)])
    return kept


def _delete(row: AddressRow) -> Message:
    return linkmessages.delete_address(row.interface, row.link)


async def _send(
    kernel: Kernel, steps: Sequence[tuple[int, Message]], changes: Sequence[Change], outcomes: dict[int, Outcome]
) -> None:
    replies = await kernel.send([message for _, message in steps])
    for (number, message), reply in zip(steps, replies, strict=True):
        if reply.errno == 0 or (message.kind == linkmessages.DEL_ADDRESS and reply.errno in GONE):
            continue
        if reply.errno == errno.EEXIST:
            outcomes[number] = refused(changes[number], "exists, not ours: an address that came up meanwhile")
        elif outcomes[number].result == "done":
            outcomes[number] = outcome(changes[number], reply)
