"""Who holds a Lease, decided from what was read and when: one candidate's view, as a pure machine.

A holder renews every ``retry`` seconds and may write until ``renew`` seconds after it *sent* the last renewal that was
accepted. Everybody else waits until the record has not changed for ``duration`` seconds of their own clock. So the holder
stops before anybody can begin, whatever the two think what time it is::

    holder    renewal sent ──── renew ────► stops writing
    others         renewal seen ──────── duration ────────► may take it

Each acquisition has an *epoch*, above every one seen before and not below the milliseconds since 1970, so that a Lease that
was deleted or restored from a backup begins no older count.

The one confusing thing: a term that has lapsed is not lost. As long as nobody else took the Lease, nobody else has written,
and a renewal opens the same term again. Only somebody else's name in the record ends it.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import msgspec

__all__ = [
    "PROFILES",
    "Read",
    "Record",
    "Renew",
    "Seat",
    "Step",
    "Take",
    "Terms",
    "Wait",
    "counted",
    "failed",
    "new_epoch",
    "next_step",
    "read",
    "renewed",
    "taken",
]

_FURTHEST = 2**52
"""An epoch above this, in milliseconds far beyond any clock, was written by a hand."""
_GIVEN_BACK = 1.0
"""The duration, at most, in a Lease that its holder gave back."""


class Terms(msgspec.Struct, frozen=True):
    """The three times of a Lease, in seconds; raises ValueError where they would let two hold it."""

    duration: float = 15.0
    renew: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.renew < self.duration:
            raise ValueError("a Lease needs 0 < retry < renew < duration")


PROFILES = {"default": Terms(), "fast": Terms(2.0, 1.3, 0.25)}
"""The times that a user may choose between, by name."""


class Record(msgspec.Struct, frozen=True):
    """What stands in a Lease. ``stamp`` is any text that each renewal changes; ``duration`` what its holder promised."""

    holder: str
    epoch: int
    stamp: str = ""
    duration: float = 0.0


class Seat(msgspec.Struct, frozen=True):
    """What one candidate knows. ``epoch`` is that of its own term, 0 while it has none; times are of its own clock."""

    me: str
    terms: Terms
    known: bool = False
    record: Record | None = None
    free_at: float = -math.inf
    highest: int = 0
    epoch: int = 0
    until: float = -math.inf
    act_at: float = -math.inf

    def holds(self, now: float) -> bool:
        """Say whether this candidate may write now."""
        return self.epoch > 0 and now < self.until


class Read(msgspec.Struct, frozen=True):
    """Look at the Lease."""


class Take(msgspec.Struct, frozen=True):
    """Put our name into the Lease, over exactly the version that was read."""


class Renew(msgspec.Struct, frozen=True):
    """Renew our record, over exactly the version that we wrote; a Lease that is gone is made again."""


class Wait(msgspec.Struct, frozen=True):
    """Do nothing for ``seconds``, unless the Lease is heard to have changed."""

    seconds: float


Step: TypeAlias = Read | Take | Renew | Wait


def next_step(seat: Seat, now: float) -> Step:
    """Return what this candidate does at ``now``."""
    if now < seat.act_at:
        # A holder is awake when its time to write ends, to say so.
        ends = seat.until - now if seat.holds(now) else math.inf
        return Wait(min(seat.act_at - now, ends))
    if not seat.known:
        return Read()
    if seat.epoch:
        return Renew()
    if now >= seat.free_at:
        return Take()
    return Wait(min(seat.free_at - now, seat.terms.retry))


def read(seat: Seat, record: Record | None, now: float) -> Seat:
    """Take what was read at ``now``; none: there is no such Lease."""
    highest = max(seat.highest, counted(record.epoch) if record is not None else 0)
    now_known = msgspec.structs.replace(seat, known=True, record=record, highest=highest)
    if seat.epoch:
        # One that is gone may have been another's in between, if our own time to write is over.
        stands = seat.holds(now) if record is None else (record.holder, record.epoch) == (seat.me, seat.epoch)
        if stands:
            return now_known
        now_known = msgspec.structs.replace(now_known, epoch=0, until=-math.inf, act_at=-math.inf)
        if record is None:
            return msgspec.structs.replace(now_known, free_at=now + seat.terms.duration)
    if seat.known and _same(record, seat.record):
        return now_known
    return msgspec.structs.replace(now_known, free_at=now + _promise(seat, record))


def taken(seat: Seat, epoch: int, sent_at: float) -> Seat:
    """Take the news that our acquisition, sent at ``sent_at``, was accepted."""
    return renewed(msgspec.structs.replace(seat, epoch=epoch, highest=max(seat.highest, epoch)), sent_at)


def renewed(seat: Seat, sent_at: float) -> Seat:
    """Take the news that our renewal, sent at ``sent_at``, was accepted."""
    terms = seat.terms
    record = Record(seat.me, seat.epoch, duration=terms.duration)
    return msgspec.structs.replace(
        seat, known=True, record=record, until=sent_at + terms.renew, act_at=sent_at + terms.retry
    )


def failed(seat: Seat, now: float) -> Seat:
    """Take the news that a request got no answer: whether it was carried out must be read, after a while."""
    pause = seat.terms.retry / 2 if seat.epoch else seat.terms.retry
    return msgspec.structs.replace(seat, known=False, act_at=now + pause)


def counted(epoch: int) -> int:
    """Return an epoch that was read as what it counts for: one that no clock can have brought about counts for nothing."""
    return epoch if epoch <= _FURTHEST else 0


def new_epoch(highest: int, milliseconds: int) -> int:
    """Return the epoch of an acquisition at ``milliseconds`` since 1970, above all seen."""
    return max(highest + 1, milliseconds)


def _promise(seat: Seat, record: Record | None) -> float:
    """Return for how long after a change nobody else may take the Lease.

    A holder writes for as long as it promised when it renewed, whatever somebody has made of the Lease since: a duration
    that became shorter, or a name that is gone without having been given back, ends nothing.
    """
    before = seat.record
    if record is None:
        # Deleted under its holder, who does not know yet; if there never was one, there is nobody to wait for.
        holder = before.holder if before is not None else ""
        promised = before.duration if before is not None else 0.0
        return max(seat.terms.duration, promised) if holder not in ("", seat.me) else 0.0
    if record.holder == seat.me or (not record.holder and record.duration <= _GIVEN_BACK):
        return 0.0
    same_term = before is not None and before.epoch == record.epoch and before.holder not in ("", seat.me)
    promised = before.duration if before is not None and same_term else 0.0
    return max(promised, record.duration or seat.terms.duration)


def _same(one: Record | None, other: Record | None) -> bool:
    return one == other
