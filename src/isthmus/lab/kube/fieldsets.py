"""Sets of fields, as ``managedFields`` writes them (structured-merge-diff's FieldsV1), and the leaves of an object.

A path is a tuple of elements: ``f:name`` for a field, ``k:{...}`` for a list item by its keys, ``v:...`` for a member of a
set. A leaf is a scalar, an empty map, or anything that merges as one piece; an item of a keyed list is a member itself
(the ``.`` in FieldsV1), so that an item without further fields can be owned.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from isthmus.lab.kube.shapes import KEY_DEFAULTS, FieldPath, Shapes

Json = dict[str, Any]
Path = tuple[str, ...]

ITEM = object()  # the value of a path that is a keyed list's item itself

_SERVER_SIDE = frozenset(
    (
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "managedFields",
        "resourceVersion",
        "selfLink",
    )
)


def item_key(item: Json, keys: tuple[str, ...]) -> str:
    """Return the path element of a keyed list's item."""
    chosen = {key: item.get(key, KEY_DEFAULTS.get(key)) for key in sorted(keys)}
    return "k:" + json.dumps(
        {key: value for key, value in chosen.items() if value is not None}, separators=(",", ":")
    )


def member_key(value: Any) -> str:
    """Return the path element of a set's member."""
    return "v:" + json.dumps(value, separators=(",", ":"), sort_keys=True)


def _walk(value: Any, path: Path, fields: FieldPath, shapes: Shapes) -> Iterator[tuple[Path, Any]]:
    shape = shapes.at(fields)
    if isinstance(value, dict) and value and not shape.one_piece:
        for name, child in value.items():
            yield from _walk(child, (*path, f"f:{name}"), (*fields, name), shapes)
    elif isinstance(value, list) and value and shape.keys and all(isinstance(item, dict) for item in value):
        for item in value:
            place = (*path, item_key(item, shape.keys))
            yield place, ITEM
            for name, child in item.items():
                yield from _walk(child, (*place, f"f:{name}"), (*fields, name), shapes)
    elif isinstance(value, list) and value and shape.is_set:
        for item in value:
            yield (*path, member_key(item)), item
    else:
        yield path, value


def leaves(obj: Json, shapes: Shapes) -> dict[Path, Any]:
    """Return every field of ``obj`` that somebody can own, with its value; what the server decides is left out."""
    found: dict[Path, Any] = {}
    for name, value in obj.items():
        if name in ("kind", "apiVersion"):
            continue
        if name == "metadata":
            value = {key: child for key, child in value.items() if key not in _SERVER_SIDE}
            if not value:
                continue
        found.update(_walk(value, (f"f:{name}",), (name,), shapes))
    return found


def to_fields_v1(paths: Iterable[Path]) -> Json:
    """Return the nested form of a set of paths."""
    root: Json = {}
    chosen = set(paths)
    for path in sorted(chosen):
        node = root
        for element in path:
            node = node.setdefault(element, {})
    for path in chosen:  # a member with members below it says so with a dot
        node = root
        for element in path:
            node = node[element]
        if node:
            node["."] = {}
    return root


def from_fields_v1(tree: Any) -> set[Path]:
    """Return the paths of the nested form; what is not of that form counts as empty."""
    found: set[Path] = set()

    def walk(node: Any, path: Path) -> None:
        if not isinstance(node, dict) or not node:
            if path:
                found.add(path)
            return
        for element, child in node.items():
            if element == ".":
                found.add(path)
            else:
                walk(child, (*path, element))

    walk(tree, ())
    return found


def shown(path: Path) -> str:
    """Return a path as error messages write it: ``.spec.ports[port=80,protocol="TCP"].name``."""
    text = ""
    for element in path:
        if element.startswith("f:"):
            text += "." + element[2:]
        elif element.startswith("k:"):
            keys = json.loads(element[2:])
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in keys.items()) + "]"
        else:
            text += f"[={element[2:]}]"
    return text
