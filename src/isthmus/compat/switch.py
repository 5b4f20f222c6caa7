"""The ConfigMap that switches everything on and off: what one says, and what follows from seeing it, missing it, losing it.

It is the old node controller's: 1.x read ``operation: ADD`` or ``DELETE`` in it; for 2.x its being there was the switch, and
2.2 added ``tolerations.json``. Who deletes it (or writes DELETE) orders that all we made be removed. We hold a finalizer on
it, so an order given while nobody ran is still there to be seen.

The one confusing thing: its absence means two things. A ConfigMap that we saw and that went is an order; one that is not
there when we start is none, for nobody knows whether it ever was, so nothing is applied and nothing removed.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["ABANDON", "FINALIZER", "Seen", "State", "Toleration", "follow", "judge"]

FINALIZER = "isthmus.dev/cleanup"
"""Our finalizer on the switch: it goes when everything is removed."""
ABANDON = "isthmus.dev/abandon"
"""Annotation ``"true"`` on a switch that is being deleted: it goes without cleaning up (the device has been scrapped)."""

State = Literal["unknown", "off", "on", "ending"]

_OPERATIONS = {"add": "on", "delete": "ending"}
_OPERATORS = ("Exists", "Equal")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_FIELDS = ("key", "operator", "value", "effect", "tolerationSeconds")


@dataclass(frozen=True, slots=True)
class Toleration:
    """A taint that may be on a node that takes part; an empty ``key`` or ``effect`` stands for every one."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A switch as it stands. With a ``problem`` it says nothing: what was said before goes on.

    ``tolerations`` is none where nothing is said of them.
    """

    wants: Literal["on", "ending"]
    problem: str = ""
    remedy: str = ""
    tolerations: tuple[Toleration, ...] | None = None
    deleting: bool = False
    abandoned: bool = False
    finalizers: tuple[str, ...] = ()
    version: str = ""


def judge(document: Mapping[str, Any]) -> Seen:
    """Return what a ConfigMap says as a switch; never raises for what stands in it."""
    metadata, data = document.get("metadata") or {}, document.get("data") or {}
    deleting = metadata.get("deletionTimestamp") is not None
    annotations = metadata.get("annotations") or {}
    wants, tolerations, problem, remedy = _said(data)
    return Seen(
        wants="ending" if deleting else wants,
        # Whoever deletes it means that, whatever stands in it.
        problem="" if deleting else problem,
        remedy="" if deleting else remedy,
        tolerations=tolerations,
        deleting=deleting,
        abandoned=str(annotations.get(ABANDON, "")).strip().lower() == "true",
        finalizers=tuple(metadata.get("finalizers") or ()),
        version=str(metadata.get("resourceVersion") or ""),
    )


def follow(before: State, seen: Seen | None) -> State:
    """Return the state that follows from ``before`` when the switch is ``seen`` (none: it is certainly not there)."""
    if seen is None:
        return "ending" if before in ("on", "ending") else "off"
    if seen.problem:
        return before
    return seen.wants


def _said(
    data: Mapping[str, Any],
) -> tuple[Literal["on", "ending"], tuple[Toleration, ...] | None, str, str]:
    operations = {str(text).strip().lower() for key, text in data.items() if key.lower() == "operation"}
    wants: Literal["on", "ending"] = "on"
    if operations:
        said = operations.pop()
        if operations or said not in _OPERATIONS:
            shown = str(next(text for key, text in data.items() if key.lower() == "operation"))[:40]
            return "on", None, f'operation "{_plain(shown)}" is not known', "write ADD or DELETE"
        wants = "on" if _OPERATIONS[said] == "on" else "ending"
    text = data.get("tolerations.json")
    if text is None or not str(text).strip():
        return wants, None, "", ""
    try:
        return wants, _tolerations(str(text)), "", ""
    except ValueError as error:
        return wants, None, f"tolerations.json {error}", 'write a JSON list like [{"operator": "Exists"}]'


def _tolerations(text: str) -> tuple[Toleration, ...]:
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"is not JSON{where}") from error
    if not isinstance(listed, list):
        raise ValueError("is not a list")
    return tuple(_toleration(index, one) for index, one in enumerate(listed))


def _toleration(index: int, one: object) -> Toleration:
    place = f"[{index}]"
    if not isinstance(one, dict):
        raise ValueError(f"{place} is not a toleration")
    unknown = sorted(set(one) - set(_FIELDS))
    if unknown:
        raise ValueError(f"{place}: no field is called {_plain(unknown[0])!r}")
    texts = {field: one.get(field) for field in ("key", "operator", "value", "effect")}
    wrong = next((field for field, text in texts.items() if text is not None and not isinstance(text, str)), None)
    if wrong is not None:
        raise ValueError(f"{place}.{wrong} is not text")
    operator, effect = texts["operator"] or "Equal", texts["effect"] or ""
    if operator not in _OPERATORS:
        raise ValueError(f"{place}.operator {_plain(operator)!r} is none of {', '.join(_OPERATORS)}")
    if effect and effect not in _EFFECTS:
        raise ValueError(f"{place}.effect {_plain(effect)!r} is none of {', '.join(_EFFECTS)}")
    if operator == "Equal" and not texts["key"]:
        raise ValueError(f"{place} has no key, which only goes with operator Exists")
    if operator == "Exists" and texts["value"]:
        raise ValueError(f"{place} has a value, which does not go with operator Exists")
    return Toleration(texts["key"] or "", operator, texts["value"] or "", effect)


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:60])
