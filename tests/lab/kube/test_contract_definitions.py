"""CustomResourceDefinitions and the resources they define."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lab.kube.definitions import definition, pool
from lab.kube.talking import Client, Json

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POOLS = "/apis/lab.dev/v1/pools"


@pytest.fixture(autouse=True)
async def defined(client: Client) -> None:
    await client.have(definition())


async def test_a_definition_is_served_and_goes_with_its_objects(client: Client) -> None:
    """A created definition is established and served; a deleted one takes its objects and its path along."""
    _, shown = await client.get(f"{CRDS}/pools.lab.dev")
    conditions = {entry["type"]: entry["status"] for entry in shown["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert shown["status"]["storedVersions"] == ["v1"]
    assert (await client.post(POOLS, pool("a")))[0] == 201
    watch = await client.watch(POOLS, resourceVersion=await client.version())
    assert (await client.delete(f"{CRDS}/pools.lab.dev"))[0] == 200
    assert await watch.names(1) == [("DELETED", "a")]
    with pytest.raises(EOFError):
        await watch.next()
    async with asyncio.timeout(10):
        while (await client.get(POOLS))[0] != 404:
            await asyncio.sleep(0.02)
        while (await client.get(f"{CRDS}/pools.lab.dev"))[0] != 404:
            await asyncio.sleep(0.02)
    assert (await client.post(CRDS, definition()))[0] == 201
    await client.served(definition())
    assert (await client.get(POOLS))[1]["items"] == []


async def test_items_of_custom_lists_have_type_meta(client: Client) -> None:
    """Unlike built-in kinds, custom resources carry kind and apiVersion inside lists."""
    await client.post(POOLS, pool("a"))
    _, listed = await client.get(POOLS)
    assert listed["kind"] == "PoolList"
    assert (listed["items"][0]["kind"], listed["items"][0]["apiVersion"]) == ("Pool", "lab.dev/v1")


async def test_defaults_and_pruning(client: Client) -> None:
    """Absent fields get their defaults, inside items and defaults too; unknown ones and stray nulls go."""
    body = pool("a", rules=[{"name": "x", "what": 1}], free={"any": {"thing": 1}}, size=None, note=None, oops=1)
    code, made = await client.post(POOLS, body)
    assert code == 201
    assert made["spec"] == {
        "ranges": ["10.0.0.0/8"],
        "rules": [{"name": "x", "weight": 1}],
        "free": {"any": {"thing": 1}},
        "note": None,
        "size": 4,
        "deep": {"enabled": True},
    }


async def test_field_validation(client: Client) -> None:
    """Unknown fields are refused when Strict, warned of by default, and silent when Ignore."""
    body = pool("a", oops=1, rules=[{"name": "x", "what": 1}])
    code, said = await client.post(POOLS, body, fieldValidation="Strict")
    assert (code, said["reason"]) == (400, "BadRequest")
    assert 'strict decoding error: unknown field "spec.oops", unknown field "spec.rules[0].what"' in said["message"]
    async with client.session.post(POOLS, json=body) as response:
        assert response.status == 201
        assert response.headers.getall("Warning") == [
            '299 - "unknown field \\"spec.oops\\""',
            '299 - "unknown field \\"spec.rules[0].what\\""',
        ]
    async with client.session.post(POOLS, json=pool("b", oops=1), params={"fieldValidation": "Ignore"}) as response:
        assert response.status == 201
        assert "Warning" not in response.headers


@pytest.mark.parametrize(
    ("spec", "reason", "field", "message"),
    [
        ({"ranges": None}, "FieldValueRequired", "spec.ranges", "Required value"),
        ({"ranges": []}, "FieldValueInvalid", "spec.ranges", "should have at least 1 items"),
        ({"ranges": ["10."] * 4}, "FieldValueTooMany", "spec.ranges", "must have at most 3 items"),
        ({"ranges": ["x"]}, "FieldValueInvalid", "spec.ranges[0]", "spec.ranges[0] in body should match '^10[.]'"),
        ({"ranges": "x"}, "FieldValueTypeInvalid", "spec.ranges", 'must be of type array: "string"'),
        ({"size": 0}, "FieldValueInvalid", "spec.size", "spec.size in body should be greater than or equal to 1"),
        ({"size": 10}, "FieldValueInvalid", "spec.size", "should be less than or equal to 9"),
        ({"size": True}, "FieldValueTypeInvalid", "spec.size", 'must be of type integer: "boolean"'),
        ({"share": 0}, "FieldValueInvalid", "spec.share", "should be greater than 0"),
        ({"port": []}, "FieldValueTypeInvalid", "spec.port", "must be of type"),
        ({"mode": "no"}, "FieldValueNotSupported", "spec.mode", 'supported values: "auto", "hand"'),
        ({"note": "123456"}, "FieldValueTooLong", "spec.note", "may not be more than 5 bytes"),
        ({"address": "::1"}, "FieldValueTypeInvalid", "spec.address", "must be of type ipv4"),
        ({"labels": {"a": 1}}, "FieldValueTypeInvalid", "spec.labels.a", 'must be of type string: "integer"'),
        ({"rules": [{}]}, "FieldValueRequired", "spec.rules[0].name", "Required value"),
        ({"rules": [{"name": "a"}, {"name": "a"}]}, "FieldValueDuplicate", "spec.rules[1]", "Duplicate value"),
    ],
)
async def test_schema_violations(client: Client, spec: Json, reason: str, field: str, message: str) -> None:
    """What the schema does not allow is 422, with the cause the real server gives."""
    code, said = await client.post(POOLS, pool("a", **spec))
    assert (code, said["reason"]) == (422, "Invalid")
    assert said["message"].startswith('Pool.lab.dev "a" is invalid: spec.')
    (cause,) = said["details"]["causes"]
    assert (cause["reason"], cause["field"]) == (reason, field)
    assert message in cause["message"]


@pytest.mark.parametrize("value", [80, "http"])
async def test_int_or_string(client: Client, value: Any) -> None:
    """An int-or-string takes both."""
    assert (await client.post(POOLS, pool("a", port=value)))[1]["spec"]["port"] == value


async def test_generation_counts_changes_of_intent(client: Client) -> None:
    """Spec changes raise the generation; metadata and status changes do not."""
    _, made = await client.post(POOLS, pool("a"))
    assert made["metadata"]["generation"] == 1
    _, told = await client.patch(f"{POOLS}/a", {"metadata": {"labels": {"x": "y"}}})
    assert told["metadata"]["generation"] == 1
    _, told = await client.patch(f"{POOLS}/a/status", {"status": {"ready": True}, "spec": {"size": 9}})
    assert (told["metadata"]["generation"], told["status"], told["spec"]["size"]) == (1, {"ready": True}, 4)
    _, told = await client.patch(f"{POOLS}/a", {"spec": {"size": 5}, "status": {"ready": False}})
    assert (told["metadata"]["generation"], told["status"]) == (2, {"ready": True})


async def test_custom_resources_differ_in_updates(client: Client) -> None:
    """A PUT must carry a version, kind and apiVersion are required, strategic merge is 415."""
    _, made = await client.post(POOLS, pool("a"))
    code, said = await client.put(f"{POOLS}/a", pool("a", size=5))
    assert (code, said["details"]["causes"][0]["field"]) == (422, "metadata.resourceVersion")
    assert (await client.put(f"{POOLS}/a", {**made, "spec": {**made["spec"], "size": 5}}))[0] == 200
    assert (await client.post(POOLS, {"metadata": {"name": "b"}, "spec": {"ranges": ["10."]}}))[0] == 400
    code, said = await client.patch(f"{POOLS}/a", {}, "strategic")
    assert code == 415
    assert "strategic" not in said["message"]


async def test_selectable_fields(client: Client) -> None:
    """A field that the definition makes selectable can be selected by."""
    await client.post(POOLS, pool("a", mode="auto"))
    await client.post(POOLS, pool("b", mode="hand"))
    _, listed = await client.get(POOLS, fieldSelector="spec.mode=hand")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["b"]


async def test_keyed_lists_of_a_schema_merge_in_apply(client: Client) -> None:
    """Lists that the schema keys are owned item by item."""
    for name in ("x", "y"):
        body = pool("a", rules=[{"name": name, "weight": 2}])
        code, told = await client.patch(f"{POOLS}/a", body, "apply", fieldManager=name)
    assert code == 200
    assert [rule["name"] for rule in told["spec"]["rules"]] == ["x", "y"]
