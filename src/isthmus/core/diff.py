"""What differs between what should be and what is, and in which order to change it.

Per identity there are few cases, and they are all here::

    wanted   on the device      ->
    ------   ----------------      --------------------------------------------
    yes      nothing               create
    yes      ours, equal           nothing
    yes      ours, different       update (one change, never delete-then-add)
    yes      somebody else's       conflict; left alone
    no       ours                  delete
    no       somebody else's       nothing: it is not our business
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from isthmus.core.wishes import Verdict, Wish
from isthmus.model.plan import Change, Conflict
from isthmus.model.resources import AnyResource, MssClamp, Route, Tunnel, goes_with


def compare(
    identity: str,
    verdict: Verdict | None,
    wanted: AnyResource | None,
    observed: AnyResource | None,
    foreign: Mapping[str, str],
) -> Change | Conflict | None:
    """Return the one step that brings ``identity`` from ``observed`` to ``wanted``, a conflict, or none.

    ``wanted`` is the verdict's resource in the device's own spelling; both are none when nobody wants the identity.
    """
    if wanted is None or verdict is None:
        return None if observed is None else Change("delete", identity, observed, None)
    if observed is None:
        holder = holder_of(identity, wanted, foreign)
        if holder is not None:
            return Conflict(identity, wanted.describe(), holder, verdict.scopes)
        return Change("create", identity, None, wanted, verdict.scopes)
    if observed == wanted:
        return None
    if isinstance(wanted, Tunnel) and (holder := foreign.get(_vxlan(wanted))) is not None:
        # Moved to where a foreign VXLAN is: the device would take ours down and could not bring it up again.
        return Conflict(identity, wanted.describe(), holder, verdict.scopes)
    return Change("update", identity, observed, wanted, verdict.scopes)


def in_place(
    step: Change | Conflict | None, replaces: Callable[[AnyResource, AnyResource], str]
) -> Change | Conflict | None:
    """Return ``step``; where the device cannot change the thing where it stands, saying what it is that it cannot change."""
    if not isinstance(step, Change) or step.before is None or step.after is None:
        return step
    what = replaces(step.before, step.after)
    return msgspec.structs.replace(step, replaces=what) if what else step


def holder_of(identity: str, wanted: AnyResource, foreign: Mapping[str, str]) -> str | None:
    """Return which foreign thing stands where ``wanted`` should, or none; only asked while nothing of ours stands there."""
    if not foreign:
        return None
    holder = foreign.get(identity)
    if holder is None and isinstance(wanted, Tunnel):
        holder = foreign.get(_vxlan(wanted))
    return holder


def _vxlan(tunnel: Tunnel) -> str:
    # Two VXLAN links with one VNI, port and outer IP version cannot both be up, whatever their names.
    return f"vxlan {tunnel.vni}/{tunnel.port} ipv{tunnel.local.version}"


def stands_on(resource: AnyResource) -> str | None:
    """Return the interface that ``resource`` is put on or is about; none for what stands by itself."""
    return resource.link if isinstance(resource, MssClamp) else goes_with(resource)


def lost(identity: str, verdict: Verdict) -> Iterable[Conflict]:
    """Return a conflict for every wish that another scope of ours won."""
    holder = f"{verdict.scopes[0]} ({verdict.resource.describe()})"
    for wish in verdict.losers:
        yield Conflict(identity, wish.resource.describe(), holder, (wish.scope,), _way_out(wish, verdict))


def _way_out(loser: Wish, verdict: Verdict) -> str:
    if loser.scope.link != verdict.scopes[0].link:
        apart = "narrow the nodeSelector of one, or remove one"
        if isinstance(loser.resource, Route):
            apart += ", or, on a device that has policy routes, give both spec.policyRoutes"
        return f"two ClusterLinks want it, and the older one counts: {apart}"
    if isinstance(loser.resource, Route) and loser.scope.kind == verdict.scopes[0].kind == "node":
        return (
            "two Nodes have this pod CIDR, and the older one counts: delete the one that is gone, or give one another"
        )
    return "both are yours, and the older one counts: change one of them"


def ordered(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Return ``changes`` in the order to carry them out: make before break.

    Creates and updates by rising rank (tunnel, FDB and neighbor, route, virtual server, VIP), then deletes by falling
    rank; inside a rank by identity, so that the same plan always reads the same.
    """
    return tuple(sorted(changes, key=_position))


def _position(change: Change) -> tuple[bool, int, str]:
    rank = change.resource.rank
    delete = change.action == "delete"
    return (delete, -rank if delete else rank, change.identity)
