"""The CRDs say what the models say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from isthmus.model.kinds import KINDS, parse
from isthmus.model.kinds.kind import Kind
from isthmus.model.schema import crd, crds, structural

from .kinds.cases import DRIVERS, cases

GOOD = cases("good")
ALLOWED = {
    "type", "description", "enum", "pattern", "format", "minimum", "maximum", "minLength", "maxLength", "minItems",
    "maxItems", "required", "properties", "additionalProperties", "items", "nullable", "default",
    "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations",
    "x-kubernetes-preserve-unknown-fields",
}  # fmt: skip


def root(model: type[Kind]) -> dict[str, Any]:
    """Return the structural schema in the CRD of ``model``."""
    schema: dict[str, Any] = crd(model)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield ``schema`` and every schema below it."""
    yield schema
    for inner in schema.get("properties", {}).values():
        yield from nodes(inner)
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from nodes(schema[name])


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema that says what the structural ``schema`` says, unknown fields refused."""
    result = {name: value for name, value in schema.items() if not name.startswith("x-") and name != "nullable"}
    if schema.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    if "properties" in schema:
        result["properties"] = {name: plain(inner) for name, inner in schema["properties"].items()}
        result["additionalProperties"] = False
    for name in ("items", "additionalProperties"):
        if name in schema:
            result[name] = plain(schema[name])
    if schema.get("nullable"):
        result = {"anyOf": [result, {"type": "null"}]}
    return result


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)
def test_schema_is_structural(model: type[Kind]) -> None:
    """Every node has one type and a description, and nothing that an API server refuses."""
    for node in nodes(root(model)):
        assert set(node) <= ALLOWED
        assert ("type" in node) != node.get("x-kubernetes-int-or-string", False)
        if "properties" in node:
            assert "additionalProperties" not in node
            assert set(node.get("required", ())) <= set(node["properties"])
            for name, inner in node["properties"].items():
                assert inner.get("description") or name == "metadata", name


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)
def test_names_and_columns(model: type[Kind]) -> None:
    """A CRD is named for its plural, has a status subresource, and columns that lead somewhere."""
    made = crd(model)
    assert made["metadata"]["name"] == f"{model.PLURAL}.isthmus.dev"
    assert made["spec"]["scope"] == "Cluster"
    assert made["spec"]["names"]["categories"] == ["isthmus"]
    (version,) = made["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    for column in version["additionalPrinterColumns"][:-1]:
        node = root(model)
        for step in column["jsonPath"].strip(".").split("."):
            node = node["properties"][step]
    conditions = root(model)["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


@pytest.mark.parametrize(
    "written", GOOD, ids=lambda written: "/".join((written["kind"], written["metadata"]["name"]))
)
def test_good_objects_pass(written: dict[str, Any]) -> None:
    """What the models accept passes the schema, as written and as we write it."""
    model = KINDS[written["kind"]]
    schema = plain(root(model))
    schema["properties"]["metadata"] = {"type": "object"}
    validator = Draft202012Validator(schema)
    found = parse(written, drivers=DRIVERS).object
    assert found is not None
    whole = found.model_dump(mode="json", exclude_none=True)
    for document in (written, found.document(), whole):
        assert [error.message for error in validator.iter_errors(document)] == []


WORDS = (
    "must be less",
    "must be greater",
    "must be text",
    "a whole number",
    "is missing",
    "no field",
    "is not one of",
)
PLAIN = [
    case
    for case in cases("link") + cases("device") + cases("pool")
    if any(word in problem for problem in case["problems"] for word in WORDS)
]


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case["says"])
def test_schema_catches_what_a_schema_can(case: dict[str, Any]) -> None:
    """Bounds, choices, types and missing fields are refused by the API server already."""
    schema = plain(root(KINDS[case["kind"]])["properties"]["spec"])
    assert list(Draft202012Validator(schema).iter_errors(case["spec"]))


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)
def test_defaults_are_the_models(model: type[Kind]) -> None:
    """Each default in the schema is one the model takes, and means the same there as saying nothing."""
    written = next(one for one in GOOD if one["kind"] == model.__name__)
    found = parse(written).object
    assert found is not None
    filled = {**written, "spec": _defaulted(root(model)["properties"]["spec"], written["spec"])}
    assert parse(filled).object == found


def _defaulted(schema: dict[str, Any], value: Any) -> Any:
    """Fill defaults in as an API server does: only inside blocks that are there."""
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    filled = {name: inner["default"] for name, inner in schema["properties"].items() if "default" in inner}
    return filled | {name: _defaulted(schema["properties"][name], inner) for name, inner in value.items()}


def test_one_type_per_field() -> None:
    """A model with a field of two types is refused when the CRD is made, not when it is installed."""
    with pytest.raises(ValueError, match="one type per field"):
        structural({"anyOf": [{"type": "string"}, {"type": "integer"}]})


def test_all_kinds_have_a_crd() -> None:
    """There is one CRD per kind."""
    assert [made["spec"]["names"]["kind"] for made in crds()] == list(KINDS)
