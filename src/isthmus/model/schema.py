"""CustomResourceDefinitions made from the models, so that a cluster and a file never disagree about a field.

What pydantic writes is JSON Schema; what Kubernetes takes is a *structural* schema: no ``$ref``, no ``anyOf``, no
``additionalProperties: false``, ``null`` as ``nullable``. ``metadata`` belongs to the API server and is left to it.
Unknown fields are pruned there, or refused where kubectl validates strictly, as its users choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.model.kinds.duration import format_duration
from isthmus.model.kinds.kind import CATEGORY, GROUP, VERSION, Column, Kind
from isthmus.model.kinds.known import KINDS

__all__ = ["crd", "crds", "structural"]

_INT_OR_STRING = "x-kubernetes-int-or-string"
# The formats that an API server checks; any other is only a warning to whoever installs the CRD.
_FORMATS = frozenset({"date-time", "int32", "int64", "double"})
_KEPT = (
    "type",
    "description",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
)


def structural(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the structural schema that says what the JSON ``schema`` (with its ``$defs``) says."""
    definitions = schema.get("$defs", {})
    return _convert(schema, definitions)


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``schema`` with its reference replaced by what it names; what stands beside the reference wins."""
    merged = dict(schema)
    while "$ref" in merged:
        name = merged.pop("$ref").rpartition("/")[2]
        merged = {**definitions[name], **merged}
    branches = merged.pop("anyOf", None)
    if branches is not None:
        present = [branch for branch in branches if branch.get("type") != "null"]
        if len(present) != 1:
            raise ValueError(f"a structural schema has one type per field, this has {len(present)}: {schema}")
        merged = {**_resolved(present[0], definitions), **merged, "nullable": len(present) < len(branches)}
    return merged


def _convert(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    source = _resolved(schema, definitions)
    result: dict[str, Any] = {name: source[name] for name in _KEPT if name in source}
    result.update({name: value for name, value in source.items() if name.startswith("x-kubernetes-")})
    if source.get("nullable"):
        result["nullable"] = True
    if "const" in source:
        result["enum"] = [source["const"]]
    if source.get("format") in _FORMATS:
        result["format"] = source["format"]
    if source.get("type") == "integer":
        result.setdefault("format", "int64")
    for name, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if name in source:
            result[bound], result[name] = source[name], True
    if "properties" in source:
        result["properties"] = {name: _convert(inner, definitions) for name, inner in source["properties"].items()}
    elif source.get("type") == "object":
        # A mapping whose keys have a pattern; a structural schema can only speak of the values.
        inner = next(iter(source.get("patternProperties", {}).values()), source.get("additionalProperties"))
        if isinstance(inner, Mapping):
            result["additionalProperties"] = _convert(inner, definitions)
        else:
            result["x-kubernetes-preserve-unknown-fields"] = True
    if "items" in source:
        result["items"] = _convert(source["items"], definitions)
    return _with_default(result, source)


def _with_default(result: dict[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    default = source.get("default")
    # An absent block or list means the same as an empty one; defaulting it would write into objects for nothing, and
    # make a block that only one driver understands look as if the user had said it.
    if default is None or isinstance(default, dict | list):
        return result
    if result.get(_INT_OR_STRING) and isinstance(default, int | float):
        default = format_duration(default)
    return {**result, "default": default}


def _column(column: Column) -> dict[str, Any]:
    result: dict[str, Any] = {"name": column.title, "type": column.type, "jsonPath": column.path}
    if column.wide:
        result["priority"] = 1
    return result


def crd(model: type[Kind]) -> dict[str, Any]:
    """Return the complete apiextensions.k8s.io/v1 CustomResourceDefinition of ``model``, ready for ``kubectl apply``."""
    schema = structural(model.model_json_schema(by_alias=True))
    properties = schema["properties"]
    top = {
        "type": "object",
        "description": schema["description"],
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the kind."},
            "kind": {"type": "string", "description": "The kind of this object."},
            "metadata": {"type": "object"},
            "spec": properties["spec"],
            "status": properties["status"],
        },
    }
    columns = [_column(column) for column in model.COLUMNS]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{model.PLURAL}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "isthmus"}},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": model.__name__,
                "listKind": f"{model.__name__}List",
                "plural": model.PLURAL,
                "singular": model.SINGULAR,
                "shortNames": list(model.SHORT_NAMES),
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": top},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        *columns,
                        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                    ],
                }
            ],
        },
    }


def crds() -> list[dict[str, Any]]:
    """Return the CustomResourceDefinitions of all kinds, in the order in which they depend on one another."""
    return [crd(model) for model in KINDS.values()]
