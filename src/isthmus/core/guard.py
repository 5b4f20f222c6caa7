"""Never delete on ignorance: which deletes of a plan may go now, and why the others wait.

Three questions, in this order. *Do we know?* A thing whose cluster has not been read, or whose answer is doubtful, stays.
*Did somebody say so?* A thing whose link has vanished from the configuration stays until its deletion is ordered.
*Is it too much?* Deletes are counted per device over a sliding window; above a floor and a share of what we own there,
all deletes of the plan wait for consent. The guard holds changes back, it never adds any.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from isthmus.model.kinds import EdgeDevice
from isthmus.model.plan import Change, Held, Scope


class Limits(msgspec.Struct, frozen=True):
    """How much may be deleted without asking: ``floor`` changes are always free, above it ``share`` of what is ours."""

    floor: int = 20
    share: float = 0.25
    window: float = 600.0


class DeleteWindow:
    """The deletes that were carried out on one device lately; times in seconds."""

    def __init__(self) -> None:
        self._done: deque[tuple[float, int]] = deque()

    def add(self, now: float, count: int) -> None:
        """Remember that ``count`` deletes were carried out."""
        if count:
            self._done.append((now, count))

    def count(self, now: float, window: float) -> int:
        """Return how many were carried out within the last ``window`` seconds."""
        while self._done and self._done[0][0] <= now - window:
            self._done.popleft()
        return sum(count for _, count in self._done)


class Knowledge(msgspec.Struct, frozen=True):
    """What is known about why an identity is no longer wanted.

    ``owners``: the scopes that last wanted it, as recorded. ``doubt(scope)``: why that scope cannot be judged now, or
    none; consent does not help against ignorance. ``absent(scope)``: why its end looks like an accident (its link is
    gone from the configuration), or none; consent helps. ``general``: why a thing with no recorded owner cannot be
    judged, or none. ``ordered(scope)``: a person ordered its end, which is consent for it. ``moves(change)``: it is wanted
    on another device instead, so nothing is lost.
    """

    owners: Mapping[str, tuple[Scope, ...]]
    doubt: Callable[[Scope], str | None]
    absent: Callable[[Scope], str | None]
    general: str | None
    ordered: Callable[[Scope], bool]
    moves: Callable[[Change], bool] = lambda change: False

    def why_not(self, scopes: tuple[Scope, ...], consent: bool) -> str | None:
        """Return why a delete for ``scopes`` must wait, or none."""
        if not scopes:
            return self.general
        doubt = next((reason for scope in scopes if (reason := self.doubt(scope))), None)
        if doubt is not None or consent:
            return doubt
        return next((reason for scope in scopes if (reason := self.absent(scope))), None)


def judge(
    deletes: list[Change],
    knowledge: Knowledge,
    limits: Limits,
    *,
    owned: int,
    recent: int,
    consent: bool,
) -> tuple[list[Change], list[Held]]:
    """Split ``deletes`` into those that may go now and those that are held, each with its reason.

    ``owned`` is how many things on the device are ours, ``recent`` how many were deleted within the window,
    ``consent`` whether a person allowed large deletes on this device.
    """
    free: list[Change] = []
    counted: list[Change] = []
    held: list[Held] = []
    for change in deletes:
        scopes = change.scopes or knowledge.owners.get(change.identity, ())
        change = msgspec.structs.replace(change, scopes=scopes)
        if scopes and all(knowledge.ordered(scope) for scope in scopes):
            free.append(change)
            continue
        reason = knowledge.why_not(scopes, consent)
        if reason is None:
            (free if knowledge.moves(change) else counted).append(change)
        else:
            held.append(Held(change, reason))
    allowance = max(limits.floor, int(limits.share * owned))
    if counted and recent + len(counted) > allowance and not consent:
        reason = (
            f"{len(counted)} deletes (and {recent} in the last {limits.window:.0f} s) of {owned} things exceed "
            f"{allowance}; allow them with --allow-deletes or the annotation isthmus.dev/allow-deletes on the EdgeDevice"
        )
        held += [Held(change, reason) for change in counted]
        counted = []
    return free + counted, held


def allowed(
    changes: list[Change],
    device: EdgeDevice | None,
    knowledge: Knowledge,
    window: DeleteWindow,
    now: float,
    *,
    owned: int,
    allow_deletes: bool,
) -> tuple[list[Change], list[Held]]:
    """Split ``changes`` by what ``device`` says of deletes and by its policy; none: it is not configured any more."""
    limits, policy, consent = Limits(), "sync", allow_deletes
    if device is not None:
        deletes = device.spec.deletes
        limits, policy = Limits(deletes.floor, deletes.share, deletes.window), device.spec.policy
        consent = consent or device.deletes_allowed
    steps = [change for change in changes if change.action != "delete"]
    free, held = judge(
        [change for change in changes if change.action == "delete"],
        knowledge,
        limits,
        owned=owned,
        recent=window.count(now, limits.window),
        consent=consent,
    )
    if policy == "observe":
        held += [Held(change, "the device's policy is observe") for change in (*steps, *free)]
        steps, free = [], []
    elif policy == "upsert-only":
        held += [Held(change, "the device's policy is upsert-only") for change in free]
        free = []
    return [*steps, *free], held
