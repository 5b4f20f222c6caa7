"""Who may write: the one question that everything which changes something asks before it does.

Several controllers may run; one of them writes. Its *epoch* is a number that only rises from one writer to the next, so
that a device that sees two can tell which one is the older. Where the right to write comes from (a Lease, or nobody else
being there) is not known here.

The one confusing thing: ``holds`` is a promise about now, and about nothing later. It is asked again before each batch that
is handed to a device, because a process may have been stopped for an hour between two lines.
"""

from __future__ import annotations

from typing import Protocol


class Tenure(Protocol):
    """The right to write to one thing."""

    def holds(self) -> bool:
        """Say whether this process may write now; cheap, and by a clock that does not jump."""

    @property
    def epoch(self) -> int:
        """Return the number of the present writer's term; 0 before there was any."""


class Always:
    """The tenure of a process that is alone."""

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = epoch

    def holds(self) -> bool:
        """Say yes."""
        return True
