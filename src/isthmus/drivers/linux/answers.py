"""How the kernel's answer to one message becomes an outcome.

An errno is final (`refused`) unless it speaks of the moment rather than of the request: no memory, no buffer, busy.
"""

from __future__ import annotations

import errno

from isthmus.drivers.base import Outcome
from isthmus.drivers.linux.netlink import Reply
from isthmus.model.plan import Change

__all__ = ["GONE", "done", "outcome", "refused", "unknown"]

GONE = frozenset({errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL, errno.ENODEV})
"""What a delete hears of something that is gone already."""

_PASSING = frozenset({errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EINTR, errno.EBUSY})


def done(change: Change, *, disturbed: bool = False) -> Outcome:
    """Return that the change stands."""
    return Outcome(change, "done", disturbed=disturbed)


def refused(change: Change, reason: str) -> Outcome:
    """Return that the change is declined for ``reason``."""
    return Outcome(change, "refused", reason)


def unknown(change: Change, reason: str) -> Outcome:
    """Return that nobody knows."""
    return Outcome(change, "unknown", reason)


def outcome(change: Change, reply: Reply) -> Outcome:
    """Return what ``reply`` means for ``change``."""
    if reply.errno == 0 or (change.after is None and reply.errno in GONE):
        return done(change)
    if reply.errno is None or reply.errno in _PASSING:
        return unknown(change, reply.sentence())
    return refused(change, reply.sentence())
