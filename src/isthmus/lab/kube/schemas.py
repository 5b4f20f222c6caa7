"""Judging schemas: is what a CustomResourceDefinition brings a structural schema, as far as people get it wrong.

Rules of k8s.io/apiextensions-apiserver pkg/apiserver/schema. Every keyword that anything here reads has its type checked, so
that who works with an accepted schema need not look again.
"""

from __future__ import annotations

import re
from typing import Any

from isthmus.lab.kube.status import Cause, bad, forbidden_field, required, unsupported

Json = dict[str, Any]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_KEYWORDS: dict[str, tuple[type[Any], ...]] = {
    **dict.fromkeys(("type", "pattern", "format", "description", "x-kubernetes-list-type"), (str,)),
    **dict.fromkeys(("x-kubernetes-map-type",), (str,)),
    **dict.fromkeys(("properties", "not", "items"), (dict,)),
    **dict.fromkeys(("required", "enum", "allOf", "anyOf", "oneOf", "x-kubernetes-list-map-keys"), (list,)),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), (int, float)),
    **dict.fromkeys(("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"), (int,)),
    **dict.fromkeys(("nullable", "uniqueItems", "exclusiveMinimum", "exclusiveMaximum"), (bool,)),
    **dict.fromkeys(("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"), (bool,)),
    "x-kubernetes-embedded-resource": (bool,),
    "additionalProperties": (dict, bool),
}
_TEXTS = ("required", "x-kubernetes-list-map-keys")


def check_schema(schema: Any, where: str, *, root: bool = False) -> list[Cause]:
    """Return what is wrong with the schema at ``where``; ``root`` for the outermost."""
    if not isinstance(schema, dict):
        return [bad(where, "", "must be a schema")]
    causes = _check_keywords(schema, where)
    return causes or _check_structure(schema, where, root=root)


def _check_keywords(schema: Json, where: str) -> list[Cause]:
    causes = []
    for name, types in _KEYWORDS.items():
        if name not in schema:
            continue
        value: Any = schema[name]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            causes.append(bad(f"{where}.{name}", "", f"must be {' or '.join(each.__name__ for each in types)}"))
        elif name in _TEXTS and not all(isinstance(item, str) for item in value):
            causes.append(bad(f"{where}.{name}", "", "must be a list of strings"))
    return causes


def _check_structure(schema: Json, where: str, *, root: bool) -> list[Cause]:
    causes: list[Cause] = []
    kind = schema.get("type")
    open_end = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if root and kind != "object":
        causes.append(bad(f"{where}.type", kind or "", "must be object at the root"))
    elif not kind and not open_end:
        causes.append(required(f"{where}.type", "must not be empty for specified object fields"))
    elif kind and kind not in _TYPES:
        causes.append(unsupported(f"{where}.type", kind, _TYPES))
    causes += [
        forbidden_field(f"{where}.{name}", f"{name} is not supported")
        for name in ("$ref", "definitions", "$defs", "patternProperties")
        if name in schema
    ]
    if "properties" in schema and schema.get("additionalProperties"):
        detail = "additionalProperties and properties are mutual exclusive"
        causes.append(forbidden_field(f"{where}.additionalProperties", detail))
    if schema.get("uniqueItems"):
        causes.append(forbidden_field(f"{where}.uniqueItems", "uniqueItems cannot be set to true"))
    if kind == "array" and "items" not in schema:
        causes.append(required(f"{where}.items", "must be specified"))
    if schema.get("multipleOf", 1) <= 0:
        causes.append(bad(f"{where}.multipleOf", schema["multipleOf"], "must be greater than 0"))
    try:
        re.compile(schema.get("pattern", ""))
    except re.error as error:
        causes.append(bad(f"{where}.pattern", schema["pattern"], f"must be a valid regular expression: {error}"))
    for name, child in (schema.get("properties") or {}).items():
        if not (root and name == "metadata"):
            causes += check_schema(child, f"{where}.properties[{name}]")
        elif not isinstance(child, dict):
            causes.append(bad(f"{where}.properties[{name}]", "", "must be a schema"))
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            causes += check_schema(schema[name], f"{where}.{name}")
    for name in ("allOf", "anyOf", "oneOf", "not"):
        causes += _check_junctor(schema.get(name, []), f"{where}.{name}")
    return causes


def _check_junctor(value: Any, where: str) -> list[Cause]:
    """Judge what stands below allOf and its like: value validations only, so no type is needed there."""
    causes: list[Cause] = []
    for child in value if isinstance(value, list) else [value]:
        if not isinstance(child, dict):
            causes.append(bad(where, "", "must be a schema"))
            continue
        causes += _check_keywords(child, where)
        for name in ("allOf", "anyOf", "oneOf", "not"):
            causes += _check_junctor(child.get(name, []), f"{where}.{name}")
        for name, inner in (
            (child.get("properties") or {}).items() if isinstance(child.get("properties"), dict) else ()
        ):
            causes += _check_junctor(inner, f"{where}.properties[{name}]")
        if "items" in child:
            causes += _check_junctor(child["items"], f"{where}.items")
    return causes
