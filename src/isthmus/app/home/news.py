"""What is worth a Kubernetes Event on the user's own object: a condition that went the other way, a path that was chosen.

A table, because what is news is a matter of taste and not of logic. News is a *change against what stood in the object*, so
a restart tells nothing twice; a condition that was never said before is news only when it is bad news.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from isthmus.app.home.conditions import Statement
from isthmus.app.status import AS_WRITTEN

__all__ = ["News", "news"]


class News(NamedTuple):
    """One Event: its reason (a CamelCase word), the sentence, and whether it is a warning."""

    reason: str
    note: str
    warning: bool


_WORSE: dict[tuple[str, str, str], str] = {
    ("EdgeDevice", "Reachable", "False"): "DeviceFailed",
    ("EdgeDevice", "Conflicts", "True"): "Conflict",
    ("EdgeDevice", "Held", "True"): "ChangesHeld",
    ("KubeCluster", "Reachable", "False"): "ClusterFailed",
    ("ClusterLink", "Joined", "False"): "NotJoined",
    ("ClusterLink", "Proven", "False"): "BlackHole",
    ("AddressPool", "Ready", "False"): "PoolExhausted",
    ("*", "Accepted", "False"): "NotAccepted",
}
_BETTER: dict[tuple[str, str, str], str] = {
    ("EdgeDevice", "Reachable", "True"): "DeviceRecovered",
    ("EdgeDevice", "Conflicts", "False"): "ConflictGone",
    ("EdgeDevice", "Held", "False"): "NothingHeld",
    ("KubeCluster", "Reachable", "True"): "ClusterRecovered",
    ("ClusterLink", "Joined", "True"): "Joined",
    ("ClusterLink", "Proven", "True"): "BlackHoleGone",
    ("AddressPool", "Ready", "True"): "AddressesFree",
    ("*", "Accepted", "True"): "Accepted",
}


def news(
    kind: str, told: list[tuple[str | None, Statement]], before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[News]:
    """Yield what is new of an object of ``kind``: its statements with what they were, its status before and now."""
    for was, one in told:
        if was == one.status:
            continue
        worse, better = (_find(table, kind, one) for table in (_WORSE, _BETTER))
        if worse is not None:
            yield News(worse, one.message, True)
        elif better is not None and was is not None:
            yield News(better, one.message or f"{one.type} is {one.status}", False)
    chosen = kind == "ClusterLink" and now.get("path") and now.get("why") != AS_WRITTEN
    if chosen and now["path"] != before.get("path"):
        yield News("PathChosen", f"{now['path']}: {now.get('why', '')}", False)
    if kind == "ClusterLink":
        had, has = answering(before.get("answering") or ()), answering(now.get("answering") or ())
        if had and has - had:
            yield News("TakenOver", "; ".join(now["answering"]), True)


def answering(roles: Iterable[str]) -> set[str]:
    """Return the devices that answer for VIPs, or did when they were last seen, of what a link says of each."""
    return {text.split()[0] for text in roles if " answers for " in text or " it answered for " in text}


def _find(table: Mapping[tuple[str, str, str], str], kind: str, one: Statement) -> str | None:
    return table.get((kind, one.type, one.status)) or table.get(("*", one.type, one.status))
