"""VIPs that a device is to take over and does not get yet, because somebody on its segment still answers for them.

That is no failure of the device and no reason to wait longer each time: the one that has it may stop answering any moment. It
is asked again soon, said in the device's status with the other's MAC, and logged when it begins.
"""

from __future__ import annotations

from collections.abc import Set

from isthmus.core.planner import DevicePlanner
from isthmus.drivers.base import Outcome
from isthmus.model.plan import Change, Plan, Refusal, Scope
from isthmus.model.resources import VirtualAddress

__all__ = ["AGAIN", "Contested"]

AGAIN = 0.5
"""Seconds until the segment is asked again."""


class Contested:
    """What one device waits for; :meth:`hear` every outcome of a plan, then ask the rest."""

    def __init__(self, planner: DevicePlanner) -> None:
        self._planner = planner
        self._before: frozenset[str] = frozenset()
        self._now: dict[str, Change] = {}

    def hear(self, outcome: Outcome) -> None:
        """Take one outcome."""
        change = outcome.change
        if outcome.result == "unknown" and isinstance(change.after, VirtualAddress) and change.after.lapses:
            self._now[change.identity] = change
            self._planner.device_refusals[change.identity] = tuple(
                Refusal(scope, "StillAnswered", f"{change.identity}: {outcome.reason}") for scope in change.scopes
            )

    def __len__(self) -> int:
        """Return how many VIPs of the plan under way nobody has written, because they are contested."""
        return len(self._now)

    def only(self, plan: Plan) -> bool:
        """Say whether ``plan``, which is over, was nothing but what was contested before: that was said already."""
        now, self._now = frozenset(self._now), {}
        repeated = now == self._before and now == {change.identity for change in plan.changes}
        self._before = now
        return repeated

    def soon(self, plan: Plan, unknown: Set[str]) -> set[Scope]:
        """Return the scopes that nothing unknown but a contested VIP is in the way of."""
        scopes = {scope for change in plan.changes if change.identity in self._before for scope in change.scopes}
        others = (change for change in plan.changes if change.identity in unknown - self._before)
        return scopes - {scope for change in others for scope in change.scopes}
