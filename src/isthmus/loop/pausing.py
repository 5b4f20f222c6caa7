"""How long a device that failed is left alone: longer each time, unless the error itself knows better.

Some drivers know when asking again makes sense: a device said when to come back, a password may be put right at any moment.
Then the error says so, and what reaches the device at that time is the driver's own affair.
"""

from __future__ import annotations

from isthmus.errors import DeviceError, StateError

__all__ = ["pause_after"]

LONGEST = 30.0
_FIRST = 0.5
_SHORTEST = 0.05


def pause_after(error: Exception, failures: int) -> float:
    """Return the seconds to wait after ``error``, the last of ``failures`` in a row."""
    if isinstance(error, StateError):
        return 1.0  # our own disk
    if isinstance(error, DeviceError) and error.retry_after is not None:
        return min(LONGEST, max(_SHORTEST, error.retry_after))
    return min(LONGEST, _FIRST * float(1 << min(failures, 6)))
