"""Orders to take something over, as small files beside the state: placed by one process, spent by another.

The state database has one writer, which is the controller; who places an order is not. So each order is a file of its own,
written whole under another name and then renamed, and spending it is removing the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from isthmus.errors import StateError

__all__ = ["place_orders", "read_orders", "spend_order"]

_FOLDER = "orders"
_LARGEST = 4096


def place_orders(state: Path, device: str, identities: Iterable[str]) -> None:
    """Order that what stands at ``identities`` on ``device`` be taken over; raise StateError if that cannot be kept."""
    folder = state / _FOLDER
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        for identity in identities:
            path = _path(state, device, identity)
            fresh = path.with_suffix(".new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump({"device": device, "identity": identity}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(path)
    except OSError as error:
        raise StateError(f"{folder}: {(error.strerror or str(error)).lower()}") from error


def read_orders(state: Path) -> dict[str, set[str]]:
    """Return the identities ordered, by device; what is no order of ours is passed over. Blocks."""
    found: dict[str, set[str]] = {}
    try:
        paths = sorted((state / _FOLDER).glob("*.json"))
    except OSError:
        return found
    for path in paths:
        try:
            with path.open("rb") as file:
                value = json.loads(file.read(_LARGEST))
            device, identity = value["device"], value["identity"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if isinstance(device, str) and isinstance(identity, str) and path == _path(state, device, identity):
            found.setdefault(device, set()).add(identity)
    return found


def spend_order(state: Path, device: str, identity: str) -> None:
    """Take an order away, because it is done; raise StateError if it cannot be."""
    try:
        _path(state, device, identity).unlink(missing_ok=True)
    except OSError as error:
        raise StateError(f"{state / _FOLDER}: {(error.strerror or str(error)).lower()}") from error


def _path(state: Path, device: str, identity: str) -> Path:
    name = hashlib.sha256(f"{device}\n{identity}".encode()).hexdigest()[:32]
    return state / _FOLDER / f"{name}.json"
