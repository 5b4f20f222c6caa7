"""Who set which field: keeping ``metadata.managedFields`` true.

Whoever changes a field by an update or a patch takes it over; whoever applies it (see ``apply``) owns it until it is
dropped from what they apply. Entries are told apart by manager, operation, apiVersion and subresource, as on the real server.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from isthmus.lab.kube.fieldsets import Path, from_fields_v1, leaves, to_fields_v1
from isthmus.lab.kube.kinds import Resource
from isthmus.lab.kube.metadata import timestamp

Json = dict[str, Any]

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Manager:
    """Who, and how."""

    name: str
    operation: str  # Apply or Update
    api_version: str
    subresource: str = ""


@dataclass(slots=True)
class Owned:
    """What one manager owns since when."""

    paths: set[Path]
    time: str


def read(meta: Json) -> dict[Manager, Owned]:
    """Return the managers that ``metadata`` names."""
    found: dict[Manager, Owned] = {}
    for entry in meta.get("managedFields") or []:
        if not isinstance(entry, dict) or not entry.get("manager"):
            continue
        manager = Manager(
            str(entry["manager"]),
            str(entry.get("operation", "Update")),
            str(entry.get("apiVersion", "")),
            str(entry.get("subresource", "")),
        )
        paths = from_fields_v1(entry.get("fieldsV1"))
        if manager in found:
            found[manager].paths |= paths
        else:
            found[manager] = Owned(paths, str(entry.get("time", "")))
    return found


def write(meta: Json, managers: dict[Manager, Owned]) -> None:
    """Put the managers into ``metadata``; who owns nothing is left out."""
    entries = []
    for manager, owned in managers.items():
        if not owned.paths:
            continue
        entry: Json = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
            "time": owned.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_fields_v1(owned.paths),
        }
        if manager.subresource:
            entry["subresource"] = manager.subresource
        entries.append(entry)
    if entries:
        meta["managedFields"] = entries
    else:
        meta.pop("managedFields", None)


def track(resource: Resource, obj: Json, old: Json | None, manager: str, subresource: str, now: datetime) -> None:
    """Note in ``obj`` what an update by ``manager`` changed against ``old``."""
    after = leaves(obj, resource.shapes)
    before = leaves(old, resource.shapes) if old is not None else {}
    changed = {path for path, value in after.items() if before.get(path, _MISSING) != value}
    gone = before.keys() - after.keys()
    managers = read(obj["metadata"])
    if not changed and not gone:
        return
    for owned in managers.values():
        owned.paths -= changed | gone
    who = Manager(manager, "Update", resource.api_version, subresource)
    time = timestamp(now)
    mine = managers.pop(who, Owned(set(), time))
    managers[who] = Owned(mine.paths | changed, time if changed else mine.time)
    write(obj["metadata"], managers)


def keep(meta: Json, old: Json) -> None:
    """Keep the managers of the old metadata, unless the client sends others; ``[{}]`` forgets them all."""
    sent = meta.get("managedFields")
    if sent == [{}]:
        del meta["managedFields"]
    elif not sent and "managedFields" in old:
        meta["managedFields"] = old["managedFields"]


def _without_times(obj: Json) -> Json:
    meta = dict(obj["metadata"])
    entries = [
        {key: value for key, value in entry.items() if key != "time"} for entry in meta.pop("managedFields", [])
    ]
    return {**obj, "metadata": {**meta, "managedFields": entries}}


def same(obj: Json, old: Json) -> bool:
    """Return whether storing ``obj`` in the place of ``old`` would change nothing that anybody can care for."""
    return _without_times(obj) == _without_times(old)
