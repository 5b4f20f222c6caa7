"""The three ways to patch, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from lab.kube.talking import NODES, Client, node, service


async def test_patches_over_http(client: Client) -> None:
    """Each media type is understood; a patch of nothing there is 404, an unknown type 415."""
    await client.post(NODES, {**node("a"), "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}})
    taint = {"spec": {"taints": [{"key": "b", "effect": "NoExecute"}]}}
    _, told = await client.patch(f"{NODES}/a", taint, "strategic")
    assert [entry["key"] for entry in told["spec"]["taints"]] == ["b"], "taints are replaced as a whole"
    _, told = await client.patch(f"{NODES}/a", taint, "merge")
    assert [entry["key"] for entry in told["spec"]["taints"]] == ["b"]
    _, told = await client.patch(f"{NODES}/a", [{"op": "remove", "path": "/spec/taints"}], "json")
    assert told["spec"] == {}
    assert (await client.patch(f"{NODES}/b", {}))[0] == 404
    assert (await client.call("PATCH", f"{NODES}/a", {}, media="application/json"))[0] == 415
    assert (await client.patch(f"{NODES}/a", "[]"))[0] == 400
    address = {"status": {"addresses": [{"type": "Hostname", "address": "a"}]}}
    await client.patch(f"{NODES}/a/status", address, "strategic")
    more = {"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}
    _, told = await client.patch(f"{NODES}/a/status", more, "strategic")
    assert sorted(entry["type"] for entry in told["status"]["addresses"]) == ["Hostname", "InternalIP"]


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "spill", "path": "/spec"}],
        [{"op": "add", "path": "spec", "value": 1}],
        [{"op": "test", "path": "/metadata/name", "value": "b"}],
        [{"op": "remove", "path": "/spec/nothing"}],
        [{"op": "add", "path": "/spec/no/thing", "value": 1}],
    ],
)
async def test_json_patches_that_do_not_fit(client: Client, operations: Any) -> None:
    """What cannot be done to the object is 422, in few words; what is no list of operations is 400."""
    await client.have(node("a"))
    code, said = await client.patch(f"{NODES}/a", operations, "json")
    assert (code, said["reason"], said["details"]) == (422, "Invalid", {})
    assert said["message"] == "the server rejected our request due to an error in our request"
    assert (await client.patch(f"{NODES}/a", {}, "json"))[0] == 400


async def test_a_patch_cannot_change_who_an_object_is(client: Client) -> None:
    """Name, uid and creation time survive a patch that says otherwise, or refuse it."""
    _, made = await client.post("/api/v1/namespaces/default/services", service("s"))
    path = "/api/v1/namespaces/default/services/s"
    _, told = await client.patch(path, {"metadata": {"creationTimestamp": None, "generation": 7}})
    assert told["metadata"] == made["metadata"]
    assert (await client.patch(path, {"metadata": {"name": "t"}}))[0] == 400
    code, said = await client.patch(path, {"metadata": {"uid": "x"}})
    assert (code, said["message"]) == (
        422,
        'Service "s" is invalid: metadata.uid: Invalid value: "x": field is immutable',
    )
