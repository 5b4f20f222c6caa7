"""From the objects that stand to those that should: which requests, in which order. Pure.

Each change has a script of steps; steps of the same phase and kind, of whichever change, go out as one bulk request. First
goes what must be out of the way of its successor, then everything is made, then what is no longer wanted goes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from isthmus.drivers.netscaler.nitro import Row
from isthmus.drivers.netscaler.objects import KINDS, Obj, by_key

__all__ = ["Op", "Step", "replaced", "script"]

Key: TypeAlias = tuple[str, tuple[str, ...]]
"""Kind and key of an object."""

Op = Literal["add", "put", "bind", "update", "unset", "remove", "enable", "disable", "apply"]

_MAKE, _APPLY, _DROP, _APPLY_AGAIN = 100, 190, 200, 290
_MEMBER = "servicegroup_servicegroupmember_binding"
_POLICY = {"nspbr": "nspbrs", "nspbr6": "nspbr6"}


@dataclass(frozen=True, slots=True)
class Step:
    """One row of one request.

    ``instead`` is what to do where the device refuses it; ``spared`` is what somebody else may keep: then it just stays.
    """

    phase: int
    op: Op
    kind: str
    row: Row
    instead: Step | None = None
    spared: bool = False


def replaced(standing: Collection[Obj], wanted: Collection[Obj]) -> str:
    """Return what makes an update a replacement: the kinds whose fixed values differ; empty where nothing does."""
    there = by_key(standing)
    words: list[str] = []
    for obj in wanted:
        found = there.get((obj.kind, obj.key))
        if found is not None and (names := _fixed_differ(found, obj)):
            words.append(f"{obj.kind} cannot change its {' and '.join(names)}")
    return "; ".join(dict.fromkeys(words))


def _fixed_differ(before: Obj, after: Obj) -> list[str]:
    of = KINDS[after.kind]
    differ = [n for n, one, other in zip(of.values, before.values, after.values, strict=True) if one != other]
    if after.kind == _MEMBER and after.get("state") == "DISABLED":
        return []  # the weight of one that takes no new connections says nothing
    return [name for name in differ if name in of.fixed]


def script(standing: Collection[Obj], wanted: Sequence[Obj], servers: Mapping[str, str] | None = None) -> list[Step]:
    """Return the steps from ``standing`` to ``wanted``; ``servers`` are the device's names of members' addresses."""
    there = by_key(standing)
    steps: list[Step] = []
    should = by_key(wanted)
    anew = {
        place
        for place, obj in should.items()
        if (found := there.get(place)) is not None and _fixed_differ(found, obj)
    }
    gone = {place for place in there if place not in should}
    swapped = anew | {place for place in gone if KINDS[place[0]].swap and _has_successor(place, wanted, there)}
    falling = {there[place].kind for place in swapped}
    steps += [
        _removal(there[place], KINDS[place[0]].gone)
        for place in sorted(swapped, key=lambda one: KINDS[one[0]].gone)
        if not _falls_along(there[place], falling)
    ]
    # What a replaced object takes along stands no more, and is made again.
    left = {place: obj for place, obj in there.items() if place not in swapped and not _falls_along(obj, falling)}
    for obj in wanted:
        steps += _made(left.get((obj.kind, obj.key)), obj, servers or {})
    dropped = [left[place] for place in left if place not in should]
    falling = {obj.kind for obj in dropped}
    for obj in sorted(dropped, key=lambda one: KINDS[one.kind].gone):
        if not _falls_along(obj, falling):
            steps.append(_removal(obj, _DROP + KINDS[obj.kind].gone))
            if obj.kind in _POLICY:
                steps.append(Step(_APPLY_AGAIN, "apply", _POLICY[obj.kind], {}))
    return steps


def _has_successor(
    place: tuple[str, tuple[str, ...]], wanted: Sequence[Obj], there: Mapping[tuple[str, tuple[str, ...]], Obj]
) -> bool:
    """Say whether another object of its kind is to be made in its stead."""
    return any(obj.kind == place[0] and (obj.kind, obj.key) not in there for obj in wanted)


def _falls_along(obj: Obj, falling: Collection[str]) -> bool:
    return any(kind in falling for kind in KINDS[obj.kind].within)


def _removal(obj: Obj, phase: int) -> Step:
    instead = None
    if obj.kind in ("nsip", "nsip6") and obj.get("type") == "VIP":
        # A virtual server is left on it: it stays, and answers nobody.
        field = "arp" if obj.kind == "nsip" else "nd"
        instead = Step(phase, "update", obj.kind, {**obj.named(), field: "DISABLED"})
    return Step(phase, "remove", obj.kind, obj.named(), instead)


def _made(found: Obj | None, obj: Obj, servers: Mapping[str, str]) -> list[Step]:
    of = KINDS[obj.kind]
    phase = _MAKE + of.rank
    steps: list[Step] = []
    if found is None:
        if obj.kind.endswith("_binding"):
            row = obj.row()
            if obj.kind == _MEMBER and obj.get("state") == "DISABLED":
                row["state"] = "DISABLED"
            steps.append(Step(phase, "bind", obj.kind, row))
        else:
            vip = obj.kind in ("nsip", "nsip6") and obj.get("type") == "VIP"
            steps.append(Step(phase, "put" if vip else "add", obj.kind, obj.row()))
    elif found != obj:
        steps += _updates(found, obj, phase, servers)
    if obj.kind in _POLICY and found != obj:
        steps.append(Step(_APPLY, "apply", _POLICY[obj.kind], {}))
    return steps


def _updates(found: Obj, obj: Obj, phase: int, servers: Mapping[str, str]) -> list[Step]:
    of = KINDS[obj.kind]
    changed = {
        name: after
        for name, before, after in zip(of.values, found.values, obj.values, strict=True)
        if before != after and name not in of.fixed
    }
    steps: list[Step] = []
    if "state" in changed:
        steps.append(_switch(obj, phase + 1, servers))
    written = {name: text for name, text in changed.items() if name not in of.told}
    row = obj.row()
    if sent := {name: row[name] for name, text in written.items() if text}:
        for name in sent.copy():
            sent |= of.flags.get(name, {})
        steps.insert(0, Step(phase, "update", obj.kind, {**obj.named(), **sent}))
    if unset := [name for name, text in written.items() if not text]:
        words: Row = {}
        for name in unset:
            # A flag that goes takes its value along.
            words |= dict.fromkeys(of.flags.get(name, {name: True}), True)
        words.pop("srcipop", None)
        steps.insert(0, Step(phase, "unset", obj.kind, {**obj.named(), **words}))
    return steps


def _switch(obj: Obj, phase: int, servers: Mapping[str, str]) -> Step:
    """Return the step that enables or disables: a member gracefully, so that its open connections stay."""
    on = obj.get("state") == "ENABLED"
    if obj.kind != _MEMBER:
        return Step(phase, "enable" if on else "disable", obj.kind, obj.named())
    address = obj.get("ip")
    row: Row = {
        "servicegroupname": obj.get("servicegroupname"),
        "servername": servers.get(address, address),
        "port": int(obj.get("port")),
    }
    if not on:
        row["graceful"] = "YES"
    return Step(phase, "enable" if on else "disable", "servicegroup", row)
