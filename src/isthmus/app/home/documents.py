"""The status of one object as it should stand in the home cluster, in the kind's own model.

What stands there now is read for two things only: since when a condition has been as it is, and what a process that has
ended has counted (a restart is no reason to write). Nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from isthmus.app.home.conditions import PROVEN_LATER, Statement, is_at_work, statements
from isthmus.app.home.objects import HomeObject
from isthmus.model.kinds import KINDS
from isthmus.model.kinds.kind import Status

__all__ = ["document", "standing"]


def standing(kind: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the status that stands, spelled as :func:`document` spells it; empty if it is not one of ours."""
    try:
        return _dumped(_model(kind).model_validate(found))
    except ValidationError:
        return {}


def document(
    found: HomeObject, said: Mapping[str, Any], before: Mapping[str, Any], now: datetime, *, drift_before: int = 0
) -> tuple[dict[str, Any], list[tuple[str | None, Statement]]]:
    """Return the status of ``found`` about which ``said`` is said, and its statements, each with what was said before.

    ``before`` is the status that stands (:func:`standing`),
    ``now`` is when a condition has changed, if it has; ``drift_before`` was counted by processes before this one.
    """
    kind = found.key[0]
    old = {one["type"]: one for one in before.get("conditions", ())}
    conditions, told = [], []
    for one in statements(kind, said):
        was = old.get(one.type)
        told.append((was["status"] if was is not None else None, one))
        conditions.append(
            {
                "type": one.type,
                "status": one.status,
                "reason": one.reason,
                "message": one.message,
                "lastTransitionTime": was["lastTransitionTime"]
                if was and was["status"] == one.status
                else _stamp(now),
                "observedGeneration": found.generation,
            }
        )
    # Just after a start nobody has been asked yet: what was found before stands until then.
    conditions += [
        one for type, one in old.items() if type in PROVEN_LATER and type not in {c["type"] for c in conditions}
    ]
    own = _FIELDS[kind](said, before, found, now) if is_at_work(said) else {}
    if "drift" in own:
        own["drift"] += drift_before
    whole = {**own, "conditions": conditions, "observedGeneration": found.generation}
    return _dumped(_model(kind).model_validate(whole)), told


def _model(kind: str) -> type[Status]:
    model = KINDS[kind].model_fields["status"].annotation
    assert isinstance(model, type), "a status is no union"
    assert issubclass(model, Status), "every kind has a status"
    return model


def _dumped(status: Status) -> dict[str, Any]:
    found: dict[str, Any] = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    found["conditions"] = sorted(found.get("conditions", ()), key=lambda one: str(one["type"]))
    return found


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- the fields of each kind ------------------------------------------------------------------------------------


def _cluster(said: Mapping[str, Any], before: Mapping[str, Any], found: HomeObject, now: datetime) -> dict[str, Any]:
    # What an API that does not answer just now has said before is still the best we know.
    own = {"reachable": said["reachable"], "version": said["version"] or before.get("version")}
    own["uid"] = said["uid"] or before.get("uid")
    own["cni"] = said.get("cni") or before.get("cni")
    return {**own, "watches": {kind: {"synced": synced} for kind, synced in said["watches"].items()}}


def _device(said: Mapping[str, Any], before: Mapping[str, Any], found: HomeObject, now: datetime) -> dict[str, Any]:
    if "counts" not in said:
        return {"lastPlan": before.get("lastPlan")}
    return {
        "reachable": said["reachable"],
        "inSync": said["inSync"],
        "drift": said["drift"],
        "conflicts": said["counts"]["conflicts"],
        "lastPlan": said["plan"] or before.get("lastPlan"),
    }


def _link(said: Mapping[str, Any], before: Mapping[str, Any], found: HomeObject, now: datetime) -> dict[str, Any]:
    own = {field: said[field] for field in ("path", "why", "tried", "nodesJoined", "nodesWaiting", "answering")}
    # Until every node has been asked once, what was found before the restart is the better answer.
    proven = said["counts"]["proven"]
    return {**own, "probe": _probe(said, before.get("probe"), now) if proven else before.get("probe")}


def _probe(said: Mapping[str, Any], before: Mapping[str, Any] | None, now: datetime) -> dict[str, Any]:
    text = "; ".join([said["probe"], *said["silent"][:5]])
    found = {"ok": not said["counts"]["silent"], "message": text}
    same = before is not None and all(before.get(field) == value for field, value in found.items())
    return {**found, "at": before["at"] if same and before is not None and "at" in before else _stamp(now)}


def _pool(said: Mapping[str, Any], before: Mapping[str, Any], found: HomeObject, now: datetime) -> dict[str, Any]:
    return {field: said[field] for field in ("total", "used", "free", "waiting")}


def _vip(said: Mapping[str, Any], before: Mapping[str, Any], found: HomeObject, now: datetime) -> dict[str, Any]:
    return {"since": before.get("since") or found.created or None}


_FIELDS = {
    "KubeCluster": _cluster,
    "EdgeDevice": _device,
    "ClusterLink": _link,
    "AddressPool": _pool,
    "VirtualIP": _vip,
}
