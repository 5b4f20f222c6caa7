"""When a foreign route may be taken over, and how: the kernel puts ours in its place in one step, then what is left goes.

The one confusing thing: NLM_F_REPLACE takes whatever has the same prefix and metric. That is why it is used nowhere else,
and why it is right here: a person has named what stands there, and between the two no packet finds no route.
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.drivers.linux import netlink
from isthmus.drivers.linux.kernel import Links
from isthmus.drivers.linux.rtnetlink import DEFAULT_METRIC
from isthmus.drivers.linux.sentences import foreign_route
from isthmus.drivers.linux.tables import RouteRow
from isthmus.model.plan import Change

__all__ = ["takes_place", "why_not_adopted"]

_KERNEL = 2


def why_not_adopted(foreign: Sequence[RouteRow], change: Change, links: Links) -> str | None:
    """Return why the routes that stand there are not taken over, or none."""
    told = [foreign_route(row, links) for row in foreign]
    if change.adopts not in told:
        return f"exists, not ours: {told[0]}, which is not what was to be taken over"
    if any(row.protocol == _KERNEL for row in foreign):
        return f"not taken over: {told[0]} is the kernel's own, it goes with its interface's address"
    return None


def takes_place(foreign: Sequence[RouteRow], version: int) -> int:
    """Return the flags with which ours is made: in place of the one with its metric, or beside those with others."""
    same = any(row.metric == DEFAULT_METRIC[version] for row in foreign)
    return netlink.CREATE | (netlink.REPLACE if same else netlink.EXCL)
