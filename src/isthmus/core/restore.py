"""What a device gets back after a reboot, before anything was heard from any cluster: what it had when it was last seen."""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.core.diff import compare, ordered
from isthmus.core.drift import answer
from isthmus.core.planner import DevicePlanner
from isthmus.core.wishes import Verdict
from isthmus.model.plan import Change, Scope
from isthmus.model.resources import AnyResource, VirtualAddress


def stands(observed: AnyResource | None) -> bool:
    """Say whether what was observed is all there; of a VIP that lapsed, something is left on a device, and it is not."""
    return observed is not None and not (isinstance(observed, VirtualAddress) and not observed.link)


def restoring(
    planner: DevicePlanner, recorded: Iterable[tuple[AnyResource, tuple[Scope, ...]]]
) -> tuple[Change, ...]:
    """Return what brings back a recorded state after a reboot: creates only, and none on a device we only observe.

    ``recorded`` is what stood when it was last written down; what stands on the device now is newer and is left alone.
    """
    kind = planner.world.devices.get(planner.device)
    silent = kind is not None and kind.spec.policy == "observe"
    # What is known to have stood and is gone is drift, unless nothing of ours is left; under these policies it stays gone.
    left_alone = answer(kind, repair=planner.repair_drift) != "repair"
    changes = []
    for resource, scopes in recorded:
        planner.owners.setdefault(resource.identity, scopes)
        if (
            silent
            or stands(planner.observed.get(resource.identity))
            or (left_alone and planner.left.of(resource.identity) == resource)
        ):
            continue
        if any(planner.known.ordered(scope) for scope in scopes):
            continue
        step = compare(resource.identity, Verdict(resource, scopes), resource, None, planner.foreign)
        if isinstance(step, Change):
            changes.append(step)
    return ordered(changes)
