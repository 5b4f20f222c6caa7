"""Structural schemas: what a CustomResourceDefinition says of its objects' fields, put to work.

Three walks along the schema (unknown fields, pruning, defaulting) and a translation into JSON Schema draft 4 (whose
boolean ``exclusiveMinimum`` OpenAPI shares) for validation. Rules in CEL (``x-kubernetes-validations``) are not evaluated.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError

from isthmus.lab.kube.status import Cause, bad, duplicate, required, unsupported, wrong_type

Json = dict[str, Any]

_COPIED = frozenset(
    (
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "pattern",
        "required",
        "uniqueItems",
    )
)
_OPEN = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED = "x-kubernetes-embedded-resource"
_TYPE_META = ("apiVersion", "kind", "metadata")

_formats = jsonschema.FormatChecker(formats=())


def _format(name: str, parse: Any) -> None:
    _formats.checks(name, raises=ValueError)(lambda value: not isinstance(value, str) or bool(parse(value) or True))


for _name, _parse in (
    ("ipv4", lambda text: ip_address(text).version == 4 or int("x")),
    ("ipv6", lambda text: ip_address(text).version == 6 or int("x")),
    ("cidr", lambda text: ip_network(text, strict=False) if "/" in text else int("x")),
):
    _format(_name, _parse)


def to_json_schema(schema: Any) -> Any:
    """Return the JSON Schema (draft 4) that accepts what the structural ``schema`` accepts."""
    if not isinstance(schema, dict):
        return schema
    out: Json = {key: value for key, value in schema.items() if key in _COPIED}
    types: list[str] = []
    if schema.get("x-kubernetes-int-or-string"):
        types = ["integer", "string"]
    elif "type" in schema:
        types = [schema["type"]]
    if types and schema.get("nullable"):
        types.append("null")
        if "enum" in out:
            out["enum"] = [*out["enum"], None]
    if types:
        out["type"] = types if len(types) > 1 else types[0]
    if "properties" in schema:
        out["properties"] = {name: to_json_schema(child) for name, child in schema["properties"].items()}
    for key in ("items", "additionalProperties", "not"):
        if key in schema:
            out[key] = to_json_schema(schema[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in schema:
            out[key] = [to_json_schema(child) for child in schema[key]]
    return out


def _children(schema: Json, value: Any) -> Iterator[tuple[Any, Json, Any]]:
    """Yield (key or index, its schema, its value) of what ``value`` holds and ``schema`` knows."""
    if isinstance(value, dict):
        known = schema.get("properties") or {}
        extra = schema.get("additionalProperties")
        for name, child in value.items():
            if name in known:
                yield name, known[name], child
            elif isinstance(extra, dict):
                yield name, extra, child
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, child in enumerate(value):
            yield index, schema["items"], child


def _known(schema: Json, name: str, *, root: bool) -> bool:
    return (
        name in (schema.get("properties") or {})
        or bool(schema.get("additionalProperties"))
        or bool(schema.get(_OPEN))
        or (name in _TYPE_META and (root or bool(schema.get(_EMBEDDED))))
    )


def _join(path: str, key: Any) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


def unknown_fields(schema: Json, value: Any, path: str = "", *, root: bool = True) -> list[str]:
    """Return the paths of fields that the schema does not know."""
    found: list[str] = []
    children = {key: (child_schema, child) for key, child_schema, child in _children(schema, value)}
    for key in value if isinstance(value, dict) else children:  # in the order of the document
        if isinstance(value, dict) and not _known(schema, key, root=root):
            found.append(_join(path, key))
        elif key in children and not (root and key in _TYPE_META):
            found += unknown_fields(*children[key], _join(path, key), root=False)
    return found


def prune(schema: Json, value: Any, *, root: bool = True) -> None:
    """Remove, in place, fields that the schema does not know, and nulls where it allows none."""
    if isinstance(value, dict):
        known = schema.get("properties") or {}
        for name in list(value):
            if not _known(schema, name, root=root) or (
                value[name] is None and name in known and not known[name].get("nullable")
            ):
                del value[name]
    for key, child_schema, child in _children(schema, value):
        if not (root and key in _TYPE_META):
            prune(child_schema, child, root=False)


def fill_defaults(schema: Json, value: Any) -> None:
    """Set, in place, the defaults of absent fields."""
    if isinstance(value, dict):
        for name, child in (schema.get("properties") or {}).items():
            if name not in value and isinstance(child, dict) and "default" in child:
                value[name] = copy.deepcopy(child["default"])
    for _key, child_schema, child in _children(schema, value):
        fill_defaults(child_schema, child)


def _cause(error: ValidationError, path: str) -> Cause:
    said: Any = error.validator_value
    instance: Any = error.instance
    match error.validator:
        case "required":
            missing = re.match(r"'(.*)' is a required property", error.message)
            return required(_join(path, missing.group(1) if missing else "?"))
        case "type":
            return wrong_type(path, instance, said if isinstance(said, str) else " or ".join(said))
        case "enum":
            return unsupported(path, instance, said)
        case "minimum":
            strict = isinstance(error.schema, dict) and error.schema.get("exclusiveMinimum")
            words = "greater than" if strict else "greater than or equal to"
            return bad(path, instance, f"{path} in body should be {words} {said}")
        case "maximum":
            strict = isinstance(error.schema, dict) and error.schema.get("exclusiveMaximum")
            words = "less than" if strict else "less than or equal to"
            return bad(path, instance, f"{path} in body should be {words} {said}")
        case "pattern":
            return bad(path, instance, f"{path} in body should match '{said}'")
        case "maxLength":
            return Cause("FieldValueTooLong", f"Too long: may not be more than {said} bytes", path)
        case "minLength":
            return bad(path, instance, f"{path} in body should be at least {said} chars long")
        case "maxItems" | "maxProperties":
            detail = f"Too many: {len(instance)}: must have at most {said} items"
            return Cause("FieldValueTooMany", detail, path)
        case "minItems":
            return bad(path, len(instance), f"{path} in body should have at least {said} items")
        case "format":
            message = f'Invalid value: "{instance}": {path} in body must be of type {said}: "{instance}"'
            return Cause("FieldValueTypeInvalid", message, path)
        case "oneOf":
            return bad(path, "", f'"{path}" must validate one and only one schema (oneOf)')
        case "anyOf":
            return bad(path, "", f'"{path}" must validate at least one schema (anyOf)')
    return bad(path, "", error.message[:200])


class StructuralRule:
    """The rule of a custom resource in one version."""

    def __init__(self, schema: Json) -> None:
        self._schema = schema
        checked = to_json_schema(schema)
        checked["required"] = [name for name in checked.get("required", ()) if name not in _TYPE_META]
        if not checked["required"]:
            del checked["required"]
        self._validator = jsonschema.Draft4Validator(checked, format_checker=_formats)

    def unknown(self, obj: Json) -> list[str]:
        """Return what would be pruned."""
        return unknown_fields(self._schema, obj)

    def prepare(self, obj: Json, _old: Json | None) -> None:
        """Prune, then fill in defaults."""
        prune(self._schema, obj)
        metadata = obj["metadata"]
        fill_defaults(self._schema, obj)
        obj["metadata"] = metadata

    def check(self, obj: Json, _old: Json | None) -> list[Cause]:
        """Validate against the schema, in the order of paths."""
        causes: dict[tuple[str, str], Cause] = {}
        for error in self._validator.iter_errors(obj):
            path = ""
            for part in error.absolute_path:
                path = _join(path, part)
            cause = _cause(error, path)
            causes.setdefault((cause.field, cause.message), cause)
        for cause in _twice(self._schema, obj, ""):
            causes.setdefault((cause.field, cause.message), cause)
        return [causes[key] for key in sorted(causes)]


def _twice(schema: Json, value: Any, path: str) -> Iterator[Cause]:
    """Yield a cause for each second item of a set, or of a keyed list."""
    kind = schema.get("x-kubernetes-list-type")
    if isinstance(value, list) and kind in ("map", "set"):
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        seen: list[Any] = []
        for index, item in enumerate(value):
            name = {key: item.get(key) for key in keys} if kind == "map" and isinstance(item, dict) else item
            if name in seen:
                yield duplicate(_join(path, index), name)
            seen.append(name)
    for key, child_schema, child in _children(schema, value):
        yield from _twice(child_schema, child, _join(path, key))
