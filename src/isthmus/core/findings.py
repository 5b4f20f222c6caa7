"""What the passes over one device have found in the way, as it stands after the last of them.

It is kept by identity or by scope, so that a keyed pass replaces what it looked at again and nothing else.
"""

from __future__ import annotations

from isthmus.core.drift import Left
from isthmus.core.recording import Record, Unsaved
from isthmus.core.wishes import Verdict, Wishes
from isthmus.model.plan import Conflict, Drift, Held, Refusal, Scope
from isthmus.model.resources import AnyResource, Partial

__all__ = ["Findings", "cannot"]

DRIFTED = "somebody else changed it, and the device's drift is alert; `isthmus apply` puts it right"


class Findings:
    """Conflicts, refusals, held changes and drift of one device, beside what stands there and whose it is."""

    def __init__(self) -> None:
        self.wishes = Wishes()
        self.conflicts: dict[str, tuple[Conflict, ...]] = {}
        self.refusals: dict[Scope, tuple[Refusal, ...]] = {}
        self.device_refusals: dict[str, tuple[Refusal, ...]] = {}
        self.held: dict[str, Held] = {}
        self.drifts: dict[str, Drift] = {}
        self.observed: dict[str, AnyResource] = {}
        self.owners: dict[str, tuple[Scope, ...]] = {}
        self.left = Left()
        self.unsaved = Unsaved()

    def forget_things(self) -> None:
        """Forget all that was found about things on the device; what was found about scopes stays until they are asked."""
        for found in (self.conflicts, self.device_refusals, self.held, self.drifts):
            found.clear()

    def forget(self, identity: str) -> None:
        """Forget what was found at ``identity``."""
        self.conflicts.pop(identity, None)
        self.device_refusals.pop(identity, None)
        self.held.pop(identity, None)
        self.drifts.pop(identity, None)

    def recorded(self) -> list[Record]:
        """Return what is to be written down of the device."""
        everything = map(self.record, dict.fromkeys((*self.observed, *self.drifts)))
        return [found for found in everything if found is not None]

    def record(self, identity: str) -> Record | None:
        """Return what is to be written down of ``identity``: what stands whole, where that is drift what should; or none."""
        last = self.left.of(identity) if identity in self.drifts else None
        stands = last if last is not None else self.observed.get(identity)
        if isinstance(stands, Partial):
            return None  # nobody wants a part back
        return None if stands is None else (stands, self.owners.get(identity, ()))

    @property
    def all_conflicts(self) -> tuple[Conflict, ...]:
        """Return every conflict as it stands after the last pass."""
        return tuple(conflict for _, found in sorted(self.conflicts.items()) for conflict in found)

    @property
    def all_refusals(self) -> tuple[Refusal, ...]:
        """Return every refusal as it stands after the last pass."""
        by_scope = [refusal for _, found in sorted(self.refusals.items()) for refusal in found]
        return (*by_scope, *(refusal for _, found in sorted(self.device_refusals.items()) for refusal in found))

    def complaint(self, scope: Scope) -> str | None:
        """Return the first thing that is in the way of ``scope``, as a sentence, or none."""
        if scope in self.refusals:
            return self.refusals[scope][0].message
        for identity in sorted(self.wishes.of(scope)):
            for conflict in self.conflicts.get(identity, ()):
                if scope in conflict.scopes:
                    return f"{conflict.wanted} is taken by {conflict.holder}"
            for refusal in self.device_refusals.get(identity, ()):
                if refusal.scope == scope:
                    return refusal.message
        return None


def cannot(identity: str, verdict: Verdict, reason: str) -> tuple[Refusal, ...]:
    """Return that the device cannot have what stands at ``identity``, for each scope that wants it."""
    return tuple(Refusal(scope, "DeviceCannot", f"{identity}: {reason}") for scope in verdict.scopes)
