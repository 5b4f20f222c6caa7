"""The three ways to change a part: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch.

Pure functions from a document and a patch to a new document; the document given may be changed on the way. Strategic merge
patch follows k8s.io/apimachinery pkg/util/strategicpatch: lists of objects merge by their kind's key, and ``$patch``,
``$retainKeys``, ``$deleteFromPrimitiveList`` and ``$setElementOrder`` direct it.
"""

from __future__ import annotations

import copy
from typing import Any

from isthmus.lab.kube.shapes import FieldPath, Shapes
from isthmus.lab.kube.status import ApiError, bad_request

Json = dict[str, Any]

_DELETE_FROM = "$deleteFromPrimitiveList/"
_SET_ORDER = "$setElementOrder/"


def rejected() -> ApiError:
    """Return 422 for a JSON patch that does not fit the document, in the real server's few words."""
    message = "the server rejected our request due to an error in our request"
    return ApiError(422, "Invalid", message, details={})


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise rejected()
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _index(items: list[Any], part: str, *, end: bool = False) -> int:
    if end and part == "-":
        return len(items)
    if not part.isdecimal() or int(part) > len(items) - (0 if end else 1):
        raise rejected()
    return int(part)


def _step(node: Any, part: str) -> Any:
    if isinstance(node, dict) and part in node:
        return node[part]
    if isinstance(node, list):
        return node[_index(node, part)]
    raise rejected()


def _read(document: Any, path: list[str]) -> Any:
    for part in path:
        document = _step(document, part)
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _read(document, path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = value
    elif isinstance(parent, list):
        parent.insert(_index(parent, path[-1], end=True), value)
    else:
        raise rejected()
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        raise rejected()
    parent = _read(document, path[:-1])
    _step(parent, path[-1])
    del parent[path[-1] if isinstance(parent, dict) else int(path[-1])]
    return document


def json_patch(document: Any, operations: Any) -> Any:
    """Return ``document`` after the operations of a JSON patch; raise 400 for no patch, 422 for one that does not fit."""
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise bad_request("a JSON patch is a list of operations")
    for operation in operations:
        path = _pointer(operation.get("path"))
        match operation.get("op"):
            case "add":
                document = _add(document, path, operation.get("value"))
            case "remove":
                document = _remove(document, path)
            case "replace":
                if not path:
                    document = operation.get("value")
                    continue
                _read(document, path)
                parent = _read(document, path[:-1])
                parent[path[-1] if isinstance(parent, dict) else int(path[-1])] = operation.get("value")
            case "move":
                source = _pointer(operation.get("from"))
                value = _read(document, source)
                document = _add(_remove(document, source), path, value)
            case "copy":
                document = _add(document, path, copy.deepcopy(_read(document, _pointer(operation.get("from")))))
            case "test":
                if _read(document, path) != operation.get("value"):
                    raise rejected()
            case _:
                raise rejected()
    return document


def merge_patch(document: Any, patch: Any) -> Any:
    """Return ``document`` after a merge patch."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_patch(document: Json, patch: Any, shapes: Shapes) -> Json:
    """Return ``document`` after a strategic merge patch; raise 400 for a directive that makes no sense."""
    if not isinstance(patch, dict):
        raise bad_request("a strategic merge patch is an object")
    return _merge_map(document, patch, (), shapes)


def _merge_map(document: Json, patch: Json, path: FieldPath, shapes: Shapes) -> Json:
    directive = patch.get("$patch")
    rest = {key: value for key, value in patch.items() if key not in ("$patch", "$retainKeys")}
    if directive == "replace":
        return rest
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"Unknown patch type: {directive!r}"[:200])
    merged = dict(document)
    if "$retainKeys" in patch:
        retained = _directed(patch["$retainKeys"], "$retainKeys")
        merged = {key: value for key, value in merged.items() if key in retained}
    orders: dict[str, list[Any]] = {}
    for key, value in rest.items():
        if key.startswith(_DELETE_FROM):
            name = key.removeprefix(_DELETE_FROM)
            gone, have = _directed(value, key), merged.get(name)
            merged[name] = [item for item in have if item not in gone] if isinstance(have, list) else []
        elif key.startswith(_SET_ORDER):
            orders[key.removeprefix(_SET_ORDER)] = _directed(value, key)
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_value(merged.get(key), value, (*path, key), shapes)
    for name, order in orders.items():
        if isinstance(merged.get(name), list):
            merged[name] = _in_order(merged[name], order, shapes.at((*path, name)).merge_key)
    return merged


def _directed(value: Any, directive: str) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(f"{directive} is not a list"[:200])
    return value


def _is(item: Any, key: str, value: Any) -> bool:
    return isinstance(item, dict) and item.get(key) == value


def _merge_value(current: Any, value: Any, path: FieldPath, shapes: Shapes) -> Any:
    if isinstance(value, dict):
        return _merge_map(current if isinstance(current, dict) else {}, value, path, shapes)
    if isinstance(value, list):
        shape = shapes.at(path)
        have = current if isinstance(current, list) else []
        if shape.merge_key:
            return _merge_items(have, value, path, shapes)
        if shape.is_set:
            return have + [item for item in value if item not in have]
    return value


def _merge_items(current: list[Any], patch: list[Any], path: FieldPath, shapes: Shapes) -> list[Any]:
    key = shapes.at(path).merge_key
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and "$patch" in item)]
    merged = list(current)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item!r} does not contain declared merge key: {key}"[:200])
        same = [index for index, have in enumerate(merged) if _is(have, key, item[key])]
        if item.get("$patch") == "delete":
            merged = [have for have in merged if not _is(have, key, item[key])]
        elif same:
            merged[same[0]] = _merge_map(merged[same[0]], item, path, shapes)
        else:
            merged.append(_merge_map({}, item, path, shapes))
    return merged


def _in_order(items: list[Any], order: list[Any], key: str) -> list[Any]:
    """Return the items named in ``order`` in that order; those not named keep their place behind them."""
    wanted = [entry.get(key) if key and isinstance(entry, dict) else entry for entry in order]
    rank = {repr(name): index for index, name in enumerate(wanted)}
    return sorted(
        items,
        key=lambda item: rank.get(repr(item.get(key) if key and isinstance(item, dict) else item), len(rank)),
    )
