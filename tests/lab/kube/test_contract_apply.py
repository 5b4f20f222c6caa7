"""Server-side apply: who owns what, conflicts, and what goes when it is no longer applied."""

from __future__ import annotations

from typing import Any

from isthmus.lab.kube.fieldsets import from_fields_v1, to_fields_v1
from lab.kube.definitions import definition, pool
from lab.kube.talking import NODES, SERVICES, Client, Json, node


def labels(**wanted: str) -> Json:
    return node("a", labels=wanted)


async def apply(client: Client, body: Any, manager: str, path: str = f"{NODES}/a", **more: Any) -> tuple[int, Json]:
    return await client.patch(path, body, "apply", fieldManager=manager, **more)


def owners(obj: Json) -> dict[tuple[str, str], Json]:
    return {(entry["manager"], entry["operation"]): entry["fieldsV1"] for entry in obj["metadata"]["managedFields"]}


async def test_apply_creates_and_owns(client: Client) -> None:
    """Applying what is not there creates it, and notes who owns which field; applying it again changes nothing."""
    code, made = await apply(client, labels(x="1"), "one")
    assert code == 201
    assert owners(made) == {("one", "Apply"): {"f:metadata": {"f:labels": {"f:x": {}}}}}
    code, again = await apply(client, labels(x="1"), "one")
    assert (code, again) == (200, made)


async def test_a_dropped_field_goes_unless_somebody_else_owns_it(client: Client) -> None:
    """What a manager no longer applies is removed if it was theirs alone."""
    await apply(client, labels(x="1", y="1", z="1"), "one")
    await apply(client, labels(y="1"), "two")
    _, told = await apply(client, labels(x="1"), "one")
    assert told["metadata"]["labels"] == {"x": "1", "y": "1"}
    _, told = await apply(client, node("a"), "two")
    assert told["metadata"]["labels"] == {"x": "1"}
    _, told = await apply(client, node("a"), "one")
    assert "labels" not in told["metadata"]


async def test_conflicts_and_force(client: Client) -> None:
    """Another value for another's field is 409 with causes; force takes it over; the same value is shared."""
    await apply(client, labels(x="1", y="1"), "one")
    code, said = await apply(client, labels(x="2", y="2"), "two")
    assert (code, said["reason"]) == (409, "Conflict")
    assert [cause["field"] for cause in said["details"]["causes"]] == [".metadata.labels.x", ".metadata.labels.y"]
    assert {cause["reason"] for cause in said["details"]["causes"]} == {"FieldManagerConflict"}
    code, said = await apply(client, labels(x="2"), "two")
    assert said["message"] == 'Apply failed with 1 conflict: conflict with "one": .metadata.labels.x'
    code, told = await apply(client, labels(x="2"), "two", force="true")
    assert (code, told["metadata"]["labels"]) == (200, {"x": "2", "y": "1"})
    assert owners(told)[("one", "Apply")] == {"f:metadata": {"f:labels": {"f:y": {}}}}
    code, told = await apply(client, labels(x="2", y="1"), "one")
    assert code == 200
    assert owners(told)[("one", "Apply")] == owners(told)[("two", "Apply")] | {
        "f:metadata": {"f:labels": {"f:x": {}, "f:y": {}}}
    }


async def test_an_update_takes_fields_over(client: Client) -> None:
    """Who changes a field by an update owns it; the next apply of the old value conflicts with them."""
    await apply(client, labels(x="1"), "one")
    _, told = await client.patch(f"{NODES}/a", {"metadata": {"labels": {"x": "2"}}}, fieldManager="hand")
    assert owners(told)[("hand", "Update")] == {"f:metadata": {"f:labels": {"f:x": {}}}}
    assert ("one", "Apply") not in owners(told)
    code, said = await apply(client, labels(x="1"), "one")
    assert code == 409
    assert said["message"] == 'Apply failed with 1 conflict: conflict with "hand" using v1: .metadata.labels.x'


async def test_keyed_lists_merge_by_item(client: Client) -> None:
    """Ports of a Service belong, one by one, to who applies them; a default protocol is part of the key."""

    def ports(*numbers: int) -> Json:
        spec = {"ports": [{"name": f"p{number}", "port": number} for number in numbers]}
        return {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "s"}, "spec": spec}

    path = f"{SERVICES}/s"
    await apply(client, ports(80, 81), "one", path)
    _, told = await apply(client, ports(82), "two", path)
    assert [port["port"] for port in told["spec"]["ports"]] == [80, 81, 82]
    assert owners(told)[("two", "Apply")]["f:spec"]["f:ports"] == {
        'k:{"port":82,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}}
    }
    _, told = await apply(client, ports(80), "one", path)
    assert [port["port"] for port in told["spec"]["ports"]] == [80, 82]
    assert told["spec"]["ports"][0]["protocol"] == "TCP"


async def test_conditions_of_several_writers(client: Client) -> None:
    """Conditions are keyed by type, so two writers of status do not disturb one another."""
    await client.post(NODES, node("a"))

    def condition(kind: str) -> Json:
        return {**node("a"), "status": {"conditions": [{"type": kind, "status": "True"}]}}

    await apply(client, condition("One"), "one", f"{NODES}/a/status")
    _, told = await apply(client, condition("Two"), "two", f"{NODES}/a/status")
    assert [entry["type"] for entry in told["status"]["conditions"]] == ["One", "Two"]
    entry = told["metadata"]["managedFields"][-1]
    assert (entry["manager"], entry["subresource"]) == ("two", "status")
    _, told = await apply(client, node("a"), "one", f"{NODES}/a/status")
    assert [entry["type"] for entry in told["status"]["conditions"]] == ["Two"]


async def test_one_piece_and_sets(client: Client) -> None:
    """A selector is owned as a whole; finalizers are members of a set."""

    def wish(selector: Json, *finalizers: str) -> Json:
        meta = {"name": "s", "finalizers": list(finalizers)}
        spec = {"selector": selector, "ports": [{"port": 80}]}
        return {"kind": "Service", "apiVersion": "v1", "metadata": meta, "spec": spec}

    path = f"{SERVICES}/s"
    await apply(client, wish({"a": "1"}, "lab.dev/a"), "one", path)
    _, said = await apply(client, wish({"b": "1"}, "lab.dev/b"), "two", path)
    assert [cause["field"] for cause in said["details"]["causes"]] == [".spec.selector"]
    _, told = await apply(client, wish({"a": "1"}, "lab.dev/b"), "two", path)
    assert told["metadata"]["finalizers"] == ["lab.dev/a", "lab.dev/b"]
    _, told = await apply(client, wish({"a": "1"}), "one", path)
    assert told["metadata"]["finalizers"] == ["lab.dev/b"]


async def test_a_version_in_the_configuration_is_held(client: Client) -> None:
    """An applied resourceVersion must be the present one."""
    _, made = await apply(client, labels(x="1"), "one")
    await apply(client, labels(x="2"), "one")
    stale = node("a", resourceVersion=made["metadata"]["resourceVersion"])
    assert (await apply(client, stale, "one"))[0] == 409


async def test_what_cannot_be_applied(client: Client) -> None:
    """Without a manager 422; without kind, with managedFields, or for another name 400."""
    code, said = await client.patch(f"{NODES}/a", labels(), "apply")
    assert (code, said["details"]["causes"][0]["field"]) == (422, "fieldManager")
    assert (await apply(client, {"metadata": {"name": "a"}}, "one"))[0] == 400
    assert (await apply(client, node("b"), "one"))[0] == 400
    assert (await apply(client, node("a", managedFields=[{"manager": "x"}]), "one"))[0] == 400
    assert (await client.patch(f"{NODES}/a", {}, force="true", fieldManager="x"))[0] == 422


async def test_items_without_their_key(client: Client) -> None:
    """An item of a built-in kind has its key, if only the empty one; one of a custom kind must name it, or it is 500."""
    await client.have(node("a"))
    keyless = {**node("a"), "status": {"conditions": [{"status": "True"}]}}
    code, told = await apply(client, keyless, "one", f"{NODES}/a/status")
    assert (code, told["status"]["conditions"][0]["type"]) == (200, "")
    await client.have(definition())
    for rules, why in (
        ([{"weight": 2}], 'element 0: associative list with keys has an element that omits key field "name" '
         "(and doesn't have default value)"),
        ([{"name": "q"}, {"name": "q"}], 'duplicate entries for key [name="q"]'),
    ):  # fmt: skip
        code, said = await apply(client, pool("a", rules=rules), "one", "/apis/lab.dev/v1/pools/a")
        assert (code, "reason" in said) == (500, False)
        assert said["message"] == (
            f"failed to create typed patch object (/a; lab.dev/v1, Kind=Pool): .spec.rules: {why}"
        )


async def test_apply_reads_yaml_and_dry_runs(client: Client) -> None:
    """The body may be YAML; a dry run stores nothing."""
    body = "kind: Node\napiVersion: v1\nmetadata:\n  name: a\n  labels: {x: '1'}\n"
    code, _ = await apply(client, body, "one", dryRun="All")
    assert code == 201
    assert (await client.get(f"{NODES}/a"))[0] == 404
    code, told = await apply(client, body, "one")
    assert (code, told["metadata"]["labels"]) == (201, {"x": "1"})


async def test_managed_fields_can_be_rewritten(client: Client) -> None:
    """A client may hand its fields to another manager, as kubectl does when it changes to server-side apply."""
    await apply(client, labels(x="1"), "one")
    handed = [{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "two"}]
    _, told = await client.patch(f"{NODES}/a", handed, "json")
    assert list(owners(told)) == [("two", "Apply")]
    reset = [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
    _, told = await client.patch(f"{NODES}/a", reset, "json")
    assert "managedFields" not in told["metadata"]
    assert (await client.patch(f"{NODES}/a", {"metadata": {"managedFields": "x"}}))[0] == 422


def test_field_sets_survive_their_written_form() -> None:
    """A set of paths and its FieldsV1 form say the same."""
    paths = {("f:a",), ("f:b", "f:c"), ("f:l", 'k:{"x":1}'), ("f:l", 'k:{"x":1}', "f:x"), ("f:s", 'v:"m"')}
    tree = to_fields_v1(paths)
    assert tree["f:l"] == {'k:{"x":1}': {".": {}, "f:x": {}}}
    assert from_fields_v1(tree) == paths
