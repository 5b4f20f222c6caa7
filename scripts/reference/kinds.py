"""kinds.md: what users write, every field with its type, default and meaning.

Made from the CRD schemas, which are made from the models; so files, clusters and this page cannot disagree.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from isthmus.model.kinds.kind import API_VERSION, Kind
from isthmus.model.kinds.known import KINDS
from isthmus.model.schema import crd
from reference.markdown import code, first_line, prose, table

_INTRO = f"""# Kinds

Objects of `apiVersion: {API_VERSION}`. They are YAML or JSON files below the directory given with `--config`, any number of
objects per file, separated by `---`; or custom resources in a [home cluster](../how-to/keep-objects-in-a-cluster.md). Unknown
fields are refused. `isthmus validate` checks files; `isthmus crds` prints the same schemas as CustomResourceDefinitions.

`metadata` takes `name`, `labels` and `annotations`. A name is lower-case letters, digits, `-` and `.` (RFC 1123). All kinds
are cluster-scoped. Durations are written `250ms`, `40s`, `5m`, `1h30m`, `2d`, or as a whole number of seconds.

A field without a default is empty unless you write it. The `status` blocks are written into the objects of a home cluster; in
files they are ignored, and `isthmus status` shows how things stand.
"""


def page() -> str:
    """Return the page."""
    parts = [
        _INTRO,
        "".join(f"- [{name}](#{name.lower()}): {first_line(kind.__doc__)}\n" for name, kind in KINDS.items()),
    ]
    return "\n".join([*parts, *(_kind(name, model) for name, model in KINDS.items())])


def _kind(name: str, model: type[Kind]) -> str:
    module = inspect.getmodule(model)
    assert module is not None
    names = ", ".join(code(text) for text in (model.PLURAL, model.SINGULAR, *model.SHORT_NAMES))
    version = crd(model)["spec"]["versions"][0]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    columns = ", ".join(
        column["name"] + (" (wide)" if column.get("priority") else "")
        for column in version["additionalPrinterColumns"]
    )
    text = f"## {name}\n\n{prose(module.__doc__)}\n\nNames: {names}. Columns of `kubectl get`: {columns}.\n"
    for part in ("spec", "status"):
        rows = list(_fields(properties[part], part))
        text += f"\n### {name} {part}\n\n" + table(("Field", "Type", "Default", "Meaning"), rows)
        rules = [rule["message"] for rule in _rules(properties[part])]
        text += "".join(f"\nRule: {message}.\n" for message in rules)
    return text


def _fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        place = f"{path}.{name}"
        default = "required" if name in required else code(_text(field["default"])) if "default" in field else ""
        yield code(place), _type(field), default, prose(field.get("description"))
        yield from _fields(field, place)
        for key, suffix in (("items", "[]"), ("additionalProperties", ".<name>")):
            if key in field:
                yield from _fields(field[key], place + suffix)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(field: dict[str, Any]) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "duration"
    if "enum" in field:
        return "one of " + ", ".join(code(str(value)) for value in field["enum"])
    kind = str(field["type"])
    if kind == "array":
        inner = _type(field["items"])
        most = f", at most {field['maxItems']}" if "maxItems" in field else ""
        return f"list of {inner}{most}"
    if kind == "object":
        values = field.get("additionalProperties")
        return f"map of text to {_type(values)}" if values else "block"
    if field.get("format") == "date-time":
        return "time"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return words[kind] + _bounds(field)


def _bounds(field: dict[str, Any]) -> str:
    least, most = field.get("minimum"), field.get("maximum")
    if least is not None and most is not None:
        return f", {least} to {most}"
    if least is not None:
        return f", {least} or more"
    return f", at most {most}" if most is not None else ""


def _rules(schema: dict[str, Any]) -> Iterator[dict[str, str]]:
    yield from schema.get("x-kubernetes-validations", ())
    for field in schema.get("properties", {}).values():
        yield from _rules(field)
        if "items" in field:
            yield from _rules(field["items"])
