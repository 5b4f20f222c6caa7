"""A plan in a file: written by ``isthmus plan --out``, reviewed by people, read by ``isthmus apply --plan``.

The one confusing thing: nothing in the file is ever carried out. It says what was reviewed; ``apply`` makes the plan anew and
carries that out, if it is the same. So a file that somebody forged can at worst be refused, and the checksum in it is there
to tell a careless edit or a half copy from a world that moved.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isthmus import __version__
from isthmus.errors import InputError
from isthmus.model.plain import from_builtins, to_builtins
from isthmus.model.plan import Change, Plan, Scope

__all__ = ["FORMAT", "LARGEST", "Reviewed", "differences", "read_plans", "write_plans"]

FORMAT = "isthmus-plan/2"
LARGEST = 64 * 1024 * 1024
_AGAIN = "make it anew with `isthmus plan --out`"
_ACTIONS = ("create", "update", "delete")


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What somebody reviewed: the changes by device, when they were planned, and under which consent."""

    made_at: str
    changes: Mapping[str, tuple[Change, ...]]
    allow_deletes: bool
    repair_drift: bool


def write_plans(
    path: Path, plans: Sequence[Plan], notes: Sequence[str], *, now: float, allow_deletes: bool, repair_drift: bool
) -> None:
    """Write ``plans`` to ``path``, a file whole or not at all; raise InputError where that is not possible."""
    document = {
        "format": FORMAT,
        "version": __version__,
        "madeAt": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "allowDeletes": allow_deletes,
        "repairDrift": repair_drift,
        "notes": list(notes),
        "plans": [plan.to_json() for plan in plans],
    }
    text = json.dumps({**document, "checksum": _checksum(document)}, indent=1, sort_keys=True) + "\n"
    if len(text) > LARGEST:
        raise InputError(
            str(path), f"would be larger than {LARGEST // 2**20} MiB", "plan device by device (--device)"
        )
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            # /dev/stdout or a pipe: put in its place, a file would be where a device was.
            path.write_text(text, encoding="utf-8")
            return
        with fresh.open("x", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        raise InputError(str(path), f"cannot be written: {(error.strerror or str(error)).lower()}") from error


def read_plans(path: Path) -> Reviewed:
    """Return what stands in ``path``; raise InputError for anything but a whole plan file of this format."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {(error.strerror or str(error)).lower()}") from error
    if len(raw) > LARGEST:
        raise InputError(str(path), f"is larger than {LARGEST // 2**20} MiB, and no plan is", _AGAIN)
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), "is no plan: it is not whole JSON", _AGAIN) from error
    if not isinstance(document, dict) or "format" not in document:
        raise InputError(str(path), "is no plan: it says no format", _AGAIN)
    if document["format"] != FORMAT:
        said = ascii(str(document["format"]))[1:61]
        raise InputError(str(path), f'is of format "{said}", this version reads "{FORMAT}"', _AGAIN)
    checksum = document.pop("checksum", None)
    if checksum != _checksum(document):
        raise InputError(str(path), "was changed since it was made (its checksum does not fit)", _AGAIN)
    try:
        return Reviewed(
            _text(document["madeAt"]),
            {_text(plan["device"]): tuple(map(_change, plan["changes"])) for plan in document["plans"]},
            _flag(document["allowDeletes"]),
            _flag(document["repairDrift"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(str(path), f"is no plan of ours: {error!r}"[:200], _AGAIN) from error


def differences(reviewed: Sequence[Change], now: Sequence[Change]) -> list[str]:
    """Return what is not as it was reviewed, a line a change; nothing where both are the same."""
    if tuple(reviewed) == tuple(now):
        return []
    before, after = {one.identity: one for one in reviewed}, {one.identity: one for one in now}
    lines = []
    for identity in sorted(before.keys() | after.keys()):
        old, new = before.get(identity), after.get(identity)
        if old == new:
            continue
        if new is None and old is not None:
            lines.append(f"gone:    {old.describe()}")
        elif old is None and new is not None:
            lines.append(f"new:     {new.describe()}")
        elif old is not None and new is not None:
            same = old.describe() == new.describe()
            asked = f", now for {', '.join(map(str, new.scopes)) or 'nobody'}" if same else ""
            lines.append(f"another: {new.describe()}   (reviewed: {'the same' if same else old.describe()}{asked})")
    return lines or ["another: the order of the changes"]


def _checksum(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError(f"{value!r} is no text")  # or one that would write over what a terminal shows
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _plain(change: Change) -> object:
    return json.loads(json.dumps(to_builtins(change)))


def _change(data: Mapping[str, Any]) -> Change:
    before, after = (None if data[side] is None else from_builtins(data[side]) for side in ("before", "after"))
    scopes = tuple(Scope(one["kind"], _text(one["link"]), _text(one["name"])) for one in data["scopes"])
    said = _text(data["adopts"]), _text(data["replaces"])
    change = Change(data["action"], _text(data["identity"]), before, after, scopes, *said)
    if change.action not in _ACTIONS or (before is None and after is None) or _plain(change) != data:
        raise ValueError(f"{change.identity!r} is no change")
    _text(change.describe())
    return change
