"""From what the controller says of an object (plain words of ``app.status``) to the conditions that its status shows.

======== ============ ==================================================================
kind     condition    holds when
======== ============ ==================================================================
all      Accepted     what it says counts
all      Ready        all of it is done
cluster  Reachable    the API answers
device   Reachable    the device answers
device   InSync       it holds exactly what it should
device   Conflicts    something foreign stands where ours should
device   Held         changes wait for knowledge, consent or policy
device   Drift        somebody else changed what is ours, and spec.drift leaves it so
device   Saved        it would hold the same after a restart; only of devices that are to be told to save
link     Joined       a path is chosen and every node that takes part is reached
link     Proven       every node answers the devices, with short packets and long ones
======== ============ ==================================================================

Pure: the same words give the same conditions, so nothing is written for a status that has not changed. A message holds
nothing that counts up by itself, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

__all__ = ["PROVEN_LATER", "Statement", "is_at_work", "statements"]

PROVEN_LATER = ("Proven",)
"""Conditions about which nothing is said just after a start; they stay as they were until something is."""

Truth = Literal["True", "False", "Unknown"]
_LONGEST = 4000


class Statement(NamedTuple):
    """A condition without its time."""

    type: str
    status: Truth
    reason: str
    message: str = ""


def statements(kind: str, said: Mapping[str, Any]) -> list[Statement]:
    """Return the conditions of an object of ``kind`` about which ``said`` is said; ``Ready`` is the last."""
    accepted = said.get("accepted") or {"ok": True, "reason": "Accepted", "message": ""}
    found = [Statement("Accepted", _truth(accepted["ok"]), accepted["reason"], accepted["message"])]
    works = is_at_work(said)
    if works:
        found += _OWN[kind](said)
    if said.get("ending"):
        ready = Statement("Ready", "False", "Deleting", _waits(said["ending"]))
    elif not works:
        ready = Statement("Ready", "False", "NotAccepted", accepted["message"])
    else:
        ready = _READY[kind](said, found)
    return [one._replace(message=one.message[:_LONGEST]) for one in (*found, ready)]


_ABOUT = {"accepted", "ending"}


def is_at_work(said: Mapping[str, Any]) -> bool:
    """Say whether anything but its acceptance is said of an object: one that never counted has nothing to show."""
    return not said.keys() <= _ABOUT


def _truth(value: object) -> Truth:
    return "True" if value else "False"


def _waits(left: list[str]) -> str:
    return (
        f"waits until it is cleaned up: {'; '.join(left)}. "
        f'To let it go without that, annotate it with isthmus.dev/abandon="true"'
    )


# --- what each kind adds ----------------------------------------------------------------------------------------


def _cluster(said: Mapping[str, Any]) -> list[Statement]:
    if said["reachable"]:
        return [Statement("Reachable", "True", "Answers")]
    return [Statement("Reachable", "False", "Unreachable", said["message"])]


def _device(said: Mapping[str, Any]) -> list[Statement]:
    if "counts" not in said:
        return [Statement("Reachable", "Unknown", "NotStarted", said["message"])]
    reachable, counts = said["reachable"], said["counts"]
    found = [
        Statement("Reachable", "True", "Answers")
        if reachable
        else Statement("Reachable", "False", "Unreachable", said["message"])
    ]
    if reachable and said["inSync"]:
        found.append(Statement("InSync", "True", "InSync"))
    else:
        found.append(Statement("InSync", "False", *_out_of_sync(said)))
    found.append(
        Statement("Conflicts", "True", "ConflictsFound", _listed(counts["conflicts"], said["conflicts"]))
        if counts["conflicts"]
        else Statement("Conflicts", "False", "NoConflicts")
    )
    found.append(
        Statement("Held", "True", "ChangesHeld", _listed(counts["held"], said["held"]))
        if counts["held"]
        else Statement("Held", "False", "NothingHeld")
    )
    found.append(
        Statement("Drift", "True", "DriftFound", _listed(counts["drifted"], said["drifted"]))
        if counts["drifted"]
        else Statement("Drift", "False", "NoDrift")
    )
    if (unsaved := said.get("unsaved")) is not None:
        found.append(
            Statement("Saved", "False", "NotSaved", unsaved) if unsaved else Statement("Saved", "True", "Saved")
        )
    return found


def _out_of_sync(said: Mapping[str, Any]) -> tuple[str, str]:
    if not said["reachable"]:
        return "Unreachable", said["message"]
    if said["drifted"]:
        return "DriftFound", _listed(said["counts"]["drifted"], said["drifted"])
    for word, reason in (("held", "ChangesHeld"), ("conflicts", "ConflictsFound"), ("refused", "ChangesRefused")):
        if said[word]:
            return reason, _listed(said["counts"][word], said[word])
    return "Working", "changes are under way"


def _link(said: Mapping[str, Any]) -> list[Statement]:
    return [_joined(said), *_proven(said)]


def _proven(said: Mapping[str, Any]) -> list[Statement]:
    counts = said["counts"]
    if not counts["proven"]:
        return []
    text = "; ".join([said["probe"], *said["silent"][:5]])
    if counts["silent"]:
        return [Statement("Proven", "False", "NodesSilent", text)]
    return [Statement("Proven", "True", "AllAnswer", text)]


def _joined(said: Mapping[str, Any]) -> Statement:
    if said["path"] is None:
        tried = "; ".join(f"{one['path']}: {one['whyNot']}" for one in said["tried"])
        return Statement("Joined", "False", "NoPath", f"{said['why']}; {tried}" if tried else said["why"])
    joined, waiting = said["nodesJoined"], said["nodesWaiting"]
    if waiting:
        text = f"{joined} of {joined + waiting} nodes are joined"
        return Statement("Joined", "False", "NodesWaiting", "; ".join([text, *said["waiting"]]))
    if not joined:
        return Statement("Joined", "False", "NoNodes", f"no node of cluster {said['cluster']} takes part")
    nodes = "1 node is joined" if joined == 1 else f"{joined} nodes are joined"
    return Statement("Joined", "True", "AllNodesJoined", f"{nodes} by path {said['path']}")


def _nothing(said: Mapping[str, Any]) -> list[Statement]:
    return []


_OWN: dict[str, Callable[[Mapping[str, Any]], list[Statement]]] = {
    "KubeCluster": _cluster,
    "EdgeDevice": _device,
    "ClusterLink": _link,
    "AddressPool": _nothing,
    "VirtualIP": _nothing,
}


# --- ready ------------------------------------------------------------------------------------------------------


def _cluster_ready(said: Mapping[str, Any], found: list[Statement]) -> Statement:
    if said["inSync"]:
        return Statement("Ready", "True", "InSync")
    return Statement("Ready", "False", "InDoubt" if said["reachable"] else "Unreachable", said["message"])


def _device_ready(said: Mapping[str, Any], found: list[Statement]) -> Statement:
    bad = next((one for one in found if one.type in ("Reachable", "InSync") and one.status != "True"), None)
    return Statement("Ready", "True", "InSync") if bad is None else bad._replace(type="Ready")


def _link_ready(said: Mapping[str, Any], found: list[Statement]) -> Statement:
    joined = next(one for one in found if one.type == "Joined")
    if joined.status == "True" and said["unreachable"]:
        return Statement("Ready", "False", "DeviceUnreachable", f"{', '.join(said['unreachable'])} cannot be reached")
    return joined._replace(type="Ready")


def _pool_ready(said: Mapping[str, Any], found: list[Statement]) -> Statement:
    if said["waiting"]:
        text = f"{said['waiting']} Services wait for an address: widen spec.ranges, or free addresses"
        return Statement("Ready", "False", "Exhausted" if not said["free"] else "ServicesWaiting", text)
    if not said["free"]:
        return Statement(
            "Ready", "False", "Exhausted", "every address is taken: widen spec.ranges, or free addresses"
        )
    return Statement("Ready", "True", "AddressesFree")


def _vip_ready(said: Mapping[str, Any], found: list[Statement]) -> Statement:
    if said["holder"] == "reserved":
        return Statement("Ready", "True", "Reserved", "kept back; no Service gets it")
    if said["served"]:
        return Statement("Ready", "True", "Served", f"served by {', '.join(said['served'])}")
    return Statement("Ready", "False", "NotServed", f"no device serves it; see Service {said['holder']} for why")


_READY: dict[str, Callable[[Mapping[str, Any], list[Statement]], Statement]] = {
    "KubeCluster": _cluster_ready,
    "EdgeDevice": _device_ready,
    "ClusterLink": _link_ready,
    "AddressPool": _pool_ready,
    "VirtualIP": _vip_ready,
}


def _listed(count: int, texts: list[str]) -> str:
    return texts[0] if count == 1 and texts else f"{count}: " + "; ".join(texts[:5])
