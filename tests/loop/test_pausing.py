"""How long a device that failed is left alone: longer each time, unless the error itself knows better."""

from __future__ import annotations

import pytest

from isthmus.errors import DeviceUnreachable, StateError
from isthmus.loop.pausing import LONGEST, pause_after


def test_pauses_grow_to_a_limit() -> None:
    """Without a word about it each failure doubles the pause, up to half a minute."""
    assert [pause_after(DeviceUnreachable("gone"), failures) for failures in (1, 2, 5, 6, 600)] == [1, 2, 16, 30, 30]
    assert pause_after(ValueError("a bug of ours"), 3) == 4
    assert pause_after(StateError("our disk is full"), 600) == 1


@pytest.mark.parametrize(("said", "pause"), [(4.0, 4.0), (0.0, 0.05), (3600.0, LONGEST), (None, 8.0)])
def test_an_error_knows_better(said: float | None, pause: float) -> None:
    """What an error says is kept to, but for a rush, and never for so long that nobody looks."""
    error = DeviceUnreachable("asked to come back later")
    error.retry_after = said
    assert pause_after(error, 4) == pause
