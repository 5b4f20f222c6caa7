"""How a device stands after its worker's last pass, in words and counts that others show."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from isthmus.model.plan import Plan
from isthmus.model.resources import AnyResource

__all__ = ["DeviceStatus", "moved_away"]


class DeviceStatus(msgspec.Struct, frozen=True):
    """How a device stands after its last pass."""

    reachable: bool = False
    in_sync: bool = False
    error: str = ""
    owned: int = 0
    writes: int = 0
    drift: int = 0
    passes: int = 0
    last_plan: str = ""
    plan: Plan | None = None
    conflicts: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    drifts: tuple[str, ...] = ()
    ignored: int = 0


def moved_away(before: Mapping[str, AnyResource], after: Mapping[str, AnyResource]) -> int:
    """Return how many things of ours are not as we left them."""
    return sum(1 for identity in before.keys() | after.keys() if before.get(identity) != after.get(identity))
