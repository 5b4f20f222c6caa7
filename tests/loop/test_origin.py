"""What caused the work at hand goes with the key it caused, however few of many are taken."""

from __future__ import annotations

import pytest

from isthmus.loop.origin import Origin, Origins, caused

EARLY, LATE = Origin("nodes", 1.0), Origin("services", 2.0)


@pytest.mark.parametrize("keys", [{"a"}, {"a", "strange"}, ("a",), {"a", "strange", "stranger", "strangest"}])
def test_taking_one_leaves_the_others(keys: set[str]) -> None:
    origins: Origins[str] = Origins()
    with caused(EARLY):
        origins.note(["a", "b", "c"])
    with caused(LATE):
        origins.note(["a", "d"])
    assert origins.take(keys) == {"a": EARLY}, "of several the oldest"
    assert origins.take(keys) == {}
    assert origins.take_all() == {"b": EARLY, "c": EARLY, "d": LATE}
