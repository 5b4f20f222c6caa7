"""Server-side apply: merge what a manager wants into what is there, and remember who wants what.

The rules of https://kubernetes.io/docs/reference/using-api/server-side-apply/: a field that somebody else owns with
another value is a conflict, unless forced; a field that this manager no longer applies goes away, unless somebody else
owns it too; two managers who apply the same value share it. Values merge by the kind's shapes: maps by key, keyed lists
by item, sets by member, everything else as one piece.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from isthmus.lab.kube import managed
from isthmus.lab.kube.fieldsets import Path, item_key, leaves, member_key, shown
from isthmus.lab.kube.kinds import Resource
from isthmus.lab.kube.managed import Manager, Owned
from isthmus.lab.kube.metadata import timestamp
from isthmus.lab.kube.shapes import KEY_DEFAULTS, FieldPath, Shapes
from isthmus.lab.kube.status import apply_conflict, unread

Json = dict[str, Any]

_MISSING = object()


class _Untypable(Exception):
    """The configuration does not fit the kind's lists."""


def merge(live: Any, wanted: Any, path: FieldPath, shapes: Shapes) -> Any:
    """Return ``live`` with ``wanted`` laid over it."""
    shape = shapes.at(path)
    if isinstance(wanted, dict) and not shape.one_piece:
        return _merge_map(live if isinstance(live, dict) else {}, wanted, path, shapes)
    if not isinstance(wanted, list):
        return wanted
    have = live if isinstance(live, list) else []
    if shape.keys:
        _check_keys(wanted, path, shape.keys)
        merged_items = {item_key(item, shape.keys): item for item in have if isinstance(item, dict)}
        for item in wanted:
            key = item_key(item, shape.keys)
            merged_items[key] = _merge_map(merged_items.get(key, {}), item, path, shapes)
        return list(merged_items.values())
    if shape.is_set:
        members = {member_key(item): item for item in (*have, *wanted)}
        return list(members.values())
    return wanted


def _merge_map(live: Json, wanted: Json, path: FieldPath, shapes: Shapes) -> Json:
    return {**live, **{name: merge(live.get(name), value, (*path, name), shapes) for name, value in wanted.items()}}


def _check_keys(items: list[Any], path: FieldPath, keys: tuple[str, ...]) -> None:
    where = "." + ".".join(path)
    seen: set[str] = set()
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise _Untypable(f"{where}: element {index}: expected map")
        for key in keys:
            if key not in item and key not in KEY_DEFAULTS:
                detail = f'omits key field "{key}" (and doesn\'t have default value)'
                raise _Untypable(f"{where}: element {index}: associative list with keys has an element that {detail}")
        name = item_key(item, keys)
        if name in seen:
            shown_keys = ",".join(f"{key}={json.dumps(item.get(key))}" for key in keys)
            raise _Untypable(f"{where}: duplicate entries for key [{shown_keys}]")
        seen.add(name)


def _with_keys(wanted: Any, path: FieldPath, shapes: Shapes) -> Any:
    """Return ``wanted`` with the zero values of absent keys, as a Go type of a built-in kind has them."""
    if isinstance(wanted, dict):
        return {name: _with_keys(child, (*path, name), shapes) for name, child in wanted.items()}
    if not isinstance(wanted, list):
        return wanted
    zeros: Json = {
        key: 0 if key in ("port", "containerPort") else "" for key in shapes.at(path).keys if key not in KEY_DEFAULTS
    }
    return [{**zeros, **_with_keys(item, path, shapes)} if isinstance(item, dict) else item for item in wanted]


def _cut(node: Any, path: Path, fields: FieldPath, shapes: Shapes, keep: set[Path], here: Path) -> Any:
    """Return ``node`` without what ``path`` names, and without containers that became empty by that."""
    element, rest = path[0], path[1:]
    place = (*here, element)
    if isinstance(node, dict) and element.startswith("f:"):
        name = element[2:]
        if name not in node:
            return node
        left = _MISSING
        if rest:
            left = _cut(node[name], rest, (*fields, name), shapes, keep, place)
            if left in ({}, []) and place not in keep:
                left = _MISSING
        cut = {key: value for key, value in node.items() if key != name or left is not _MISSING}
        if left is not _MISSING:
            cut[name] = left
        return cut
    if isinstance(node, list) and element.startswith("k:"):
        keys = shapes.at(fields).keys
        if len(rest) == 1 and rest[0][2:] in keys:
            return node  # the item stays for somebody else, and is nothing without its key
        items = []
        for item in node:
            if not isinstance(item, dict) or item_key(item, keys) != element:
                items.append(item)
            elif rest:
                items.append(_cut(item, rest, fields, shapes, keep, place))
        return items
    if isinstance(node, list) and element.startswith("v:"):
        return [item for item in node if member_key(item) != element]
    return node


def apply(
    resource: Resource,
    live: Json | None,
    wanted: Json,
    *,
    manager: str,
    subresource: str,
    force: bool,
    now: datetime,
) -> Json:
    """Return the object that ``wanted``, applied by ``manager`` over ``live``, makes; raise 409 for conflicts.

    All objects are in stored form. The outcome carries its ``managedFields``; defaults and validation come after.
    """
    shapes = resource.shapes
    if not resource.custom:
        wanted = _with_keys(wanted, (), shapes)
    mine = leaves(wanted, shapes)
    managers = managed.read(live["metadata"]) if live is not None else {}
    who = Manager(manager, "Apply", resource.api_version, subresource)
    before = managers.pop(who, Owned(set(), ""))
    have = leaves(live, shapes) if live is not None else {}

    claims: list[tuple[Manager, Path]] = []
    for path, value in mine.items():
        if have.get(path, value) != value:
            claims += [(other, path) for other, owned in managers.items() if path in owned.paths]
    if claims and not force:
        raise apply_conflict([(_named(other), shown(path)) for other, path in claims])
    for other, path in claims:
        managers[other].paths.discard(path)

    try:
        merged: Json = merge(live or {}, wanted, (), shapes)
    except _Untypable as error:
        # 500 and no reason: the real server takes what it cannot type for a fault of its own.
        meta = wanted["metadata"]
        what = f"{meta.get('namespace', '')}/{meta.get('name', '')}; {resource.api_version}, Kind={resource.kind}"
        raise unread(f"failed to create typed patch object ({what}): {error}") from error
    others: set[Path] = set().union(*(other.paths for other in managers.values()))
    wanted_paths = set(mine)
    # A member stays while somebody still owns something below it; with a member, all below it goes.
    owned = {path[:length] for path in others | wanted_paths for length in range(1, len(path) + 1)}
    gone = before.paths - owned
    for path in gone:
        if not any(path[:length] in gone for length in range(1, len(path))):
            merged = _cut(merged, path, (), shapes, wanted_paths, ())
    merged.setdefault("metadata", {})
    managers[who] = Owned(wanted_paths, before.time if before.paths == wanted_paths else timestamp(now))
    managed.write(merged["metadata"], managers)
    return merged


def _named(manager: Manager) -> str:
    text = f'"{manager.name}"'
    if manager.subresource:
        text += f' with subresource "{manager.subresource}"'
    return text + (f" using {manager.api_version}" if manager.operation == "Update" else "")
