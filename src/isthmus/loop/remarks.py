"""What a device's worker says of its passes, each thing once: objects that crash the planner, drift that is left alone."""

from __future__ import annotations

from typing import Any

from isthmus.core.planner import DevicePlanner
from isthmus.model.plan import Drift, Plan, Scope

__all__ = ["Remarks"]

_SAID = 5
"""So many drifted things are named, one by one."""


class Remarks:
    """Remembers what was said of one device; ``log`` is its worker's."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._crashes: set[Scope] = set()
        self._drifts: set[Drift] = set()

    def say(self, planner: DevicePlanner) -> None:
        """Say what is new since the last pass."""
        for scope in planner.crashes.keys() - self._crashes:
            error = planner.crashes[scope]
            self._log.error("an object crashed the planner", scope=str(scope), error=repr(error), exc_info=error)
        self._crashes = set(planner.crashes)
        left = {one for one in planner.drifts.values() if one.answer == "alert"}
        new = sorted(left - self._drifts)
        for one in new[:_SAID]:
            self._log.warning("drift is left as it is", thing=one.identity, was=one.was, now=one.now or "gone")
        if len(new) > _SAID:
            self._log.warning("more drift is left as it is", things=len(new) - _SAID)
        self._drifts = left

    def drift_found(self, things: int, plan: Plan) -> None:
        """Say that ``things`` were found different from how they were left."""
        first = [drift.describe().removeprefix("* drift: ") for drift in plan.drifts[:_SAID]]
        self._log.warning("drift found", things=things, first=first)
