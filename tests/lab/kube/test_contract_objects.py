"""Create, read, update, delete over HTTP: answers, numbers and refusals."""

from __future__ import annotations

import asyncio
import io

import pytest

from lab.kube.talking import MAPS, NODES, SERVICES, Client, config_map, node


async def test_a_new_object_gets_its_metadata(client: Client) -> None:
    """A created object has a uid, a creation time and a version, and is read back the same."""
    code, made = await client.post(NODES, node("a", labels={"x": "y"}))
    assert code == 201
    assert {"uid", "creationTimestamp", "resourceVersion"} <= made["metadata"].keys()
    assert (made["kind"], made["apiVersion"]) == ("Node", "v1")
    assert await client.get(f"{NODES}/a") == (200, made)


async def test_items_of_built_in_lists_have_no_type_meta(client: Client) -> None:
    """As on the real server, items in a NodeList come without kind and apiVersion; the list has a version."""
    await client.post(NODES, node("a"))
    _, listed = await client.get(NODES)
    assert (listed["kind"], listed["apiVersion"]) == ("NodeList", "v1")
    assert listed["items"][0].keys() & {"kind", "apiVersion"} == set()
    assert int(listed["metadata"]["resourceVersion"]) >= int(listed["items"][0]["metadata"]["resourceVersion"])


async def test_versions_count_over_all_kinds(client: Client) -> None:
    """One counter numbers the changes of every kind."""
    versions = []
    for path, body in ((NODES, node("a")), (MAPS, config_map("m")), (NODES, node("b"))):
        _, made = await client.post(path, body)
        versions.append(int(made["metadata"]["resourceVersion"]))
    assert versions == sorted(set(versions))


async def test_generate_name(client: Client) -> None:
    """A generated name begins with its prefix and is never twice the same."""
    names = set()
    for _ in range(5):
        _, made = await client.post(MAPS, {"metadata": {"generateName": "cm-"}})
        names.add(made["metadata"]["name"])
    assert len(names) == 5
    assert all(name.startswith("cm-") and len(name) == 8 for name in names)


async def test_missing_things_are_told_as_the_real_server_tells_them(client: Client) -> None:
    """404 names the object, or says that there is no such path."""
    code, said = await client.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/x")
    assert (code, said["reason"]) == (404, "NotFound")
    assert said["message"] == 'endpointslices.discovery.k8s.io "x" not found'
    assert said["details"] == {"name": "x", "group": "discovery.k8s.io", "kind": "endpointslices"}
    assert said["status"] == "Failure"
    assert said["code"] == 404
    for path in ("/api/v1/things", "/apis/apps/v1/things", f"{NODES}/a/nope", "/api/v1/services/x"):
        code, said = await client.get(path)
        assert (code, said["message"]) == (404, "the server could not find the requested resource"), path
    for path in ("/apis/nope/v1/things", "/apis/nope/v1", "/nope"):
        assert await client.get(path) == (404, {"text": "404 page not found\n"}), path


async def test_already_exists(client: Client) -> None:
    """A second create is 409 AlreadyExists."""
    await client.post(NODES, node("a"))
    code, said = await client.post(NODES, node("a"))
    assert (code, said["reason"], said["message"]) == (409, "AlreadyExists", 'nodes "a" already exists')


async def test_an_update_based_on_an_old_version_conflicts(client: Client) -> None:
    """PUT and PATCH with a version that is gone are 409 Conflict; without one they win."""
    _, old = await client.post(NODES, node("a"))
    await client.patch(f"{NODES}/a", {"metadata": {"labels": {"x": "1"}}})
    code, said = await client.put(f"{NODES}/a", old)
    assert (code, said["reason"]) == (409, "Conflict")
    assert said["message"] == (
        'Operation cannot be fulfilled on nodes "a": the object has been modified; please apply your changes to the '
        "latest version and try again"
    )
    stale = {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"], "labels": {"x": "2"}}}
    assert (await client.patch(f"{NODES}/a", stale))[0] == 409
    assert (await client.put(f"{NODES}/a", node("a", labels={"x": "3"})))[0] == 200


async def test_a_change_of_nothing_keeps_the_version(client: Client) -> None:
    """Writing what is there already makes no new version and no event."""
    _, made = await client.post(NODES, node("a", labels={"x": "1"}))
    code, same = await client.patch(f"{NODES}/a", {"metadata": {"labels": {"x": "1"}}})
    assert (code, same["metadata"]["resourceVersion"]) == (200, made["metadata"]["resourceVersion"])
    assert (await client.put(f"{NODES}/a", made))[1] == made
    assert await client.version() == int(made["metadata"]["resourceVersion"])


async def test_a_wrong_uid_or_name_is_refused(client: Client) -> None:
    """An update for another incarnation is 409; a name that differs from the path is 400."""
    await client.post(NODES, node("a"))
    code, said = await client.put(f"{NODES}/a", node("a", uid="other"))
    assert code == 409
    assert "Precondition failed: UID in precondition: other" in said["message"]
    code, said = await client.put(f"{NODES}/a", node("b"))
    assert (code, said["message"]) == (
        400,
        "the name of the object (b) does not match the name on the URL (a)",
    )


async def test_delete_answers_and_preconditions(client: Client) -> None:
    """A delete answers Success with the uid; a wrong precondition is 409; a second delete is 404."""
    _, made = await client.post(NODES, node("a"))
    code, said = await client.delete(f"{NODES}/a", {"preconditions": {"uid": "other"}})
    assert (code, said["reason"]) == (409, "Conflict")
    code, said = await client.delete(f"{NODES}/a", {"kind": "DeleteOptions", "propagationPolicy": "Background"})
    assert (code, said["status"], said["details"]["uid"]) == (200, "Success", made["metadata"]["uid"])
    assert (await client.delete(f"{NODES}/a"))[0] == 404


async def test_finalizers_keep_a_deleted_object(client: Client) -> None:
    """A deleted object with finalizers stays, marked, takes no new ones, and goes with the last."""
    await client.post(MAPS, config_map("m", finalizers=["lab.dev/one", "lab.dev/two"]))
    code, marked = await client.delete(f"{MAPS}/m")
    assert code == 200
    assert marked["metadata"]["deletionTimestamp"]
    more = {"metadata": {"finalizers": ["lab.dev/one", "lab.dev/two", "lab.dev/three"]}}
    code, said = await client.patch(f"{MAPS}/m", more)
    assert (code, said["details"]["causes"][0]["field"]) == (422, "metadata.finalizers")
    assert (await client.patch(f"{MAPS}/m", {"metadata": {"finalizers": ["lab.dev/one"]}}))[0] == 200
    assert (await client.get(f"{MAPS}/m"))[0] == 200
    assert (await client.patch(f"{MAPS}/m", {"metadata": {"finalizers": None}}))[0] == 200
    assert (await client.get(f"{MAPS}/m"))[0] == 404


async def test_delete_of_a_collection_follows_the_selector(client: Client) -> None:
    """DELETE on a collection deletes what the selector selects."""
    for name in ("a", "b", "c"):
        await client.post(MAPS, config_map(name, labels={"name": name}))
    code, said = await client.delete(MAPS, labelSelector="name in (a,b)")
    assert (code, len(said["items"])) == (200, 2)
    _, left = await client.get(MAPS)
    assert [item["metadata"]["name"] for item in left["items"]] == ["c"]


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"name": "Upper"}, "metadata.name"),
        ({"name": "a" * 254}, "metadata.name"),
        ({}, "metadata.name"),
        ({"name": "a", "labels": {"x": "white space"}}, "metadata.labels"),
        ({"name": "a", "labels": {"-x": "1"}}, "metadata.labels"),
        ({"name": "a", "annotations": {"a b": "1"}}, "metadata.annotations"),
        ({"name": "a", "annotations": {"x": "1" * (256 * 1024)}}, "metadata.annotations"),
        ({"name": "a", "ownerReferences": [{"kind": "X"}]}, "metadata.ownerReferences.apiVersion"),
    ],
)
async def test_bad_metadata_is_invalid(client: Client, metadata: dict[str, object], field: str) -> None:
    """A bad name, label, annotation or owner is 422 with the field as cause."""
    code, said = await client.post(NODES, {"kind": "Node", "apiVersion": "v1", "metadata": metadata})
    assert (code, said["reason"]) == (422, "Invalid")
    assert said["details"]["kind"] == "Node"
    assert said["details"]["causes"][0]["field"] == field


@pytest.mark.parametrize("wrong", [{"labels": {"x": 1}}, {"annotations": []}, {"finalizers": "x"}, {"uid": 5}])
async def test_metadata_of_another_type_is_not_read(client: Client, wrong: dict[str, object]) -> None:
    """What does not fit metadata's fields is 400 in a new object, and 422 as the outcome of a patch."""
    code, said = await client.post(NODES, node("a", **wrong))
    assert (code, said["reason"]) == (400, "BadRequest")
    assert said["message"].startswith('Node in version "v1" cannot be handled as a Node: json: cannot unmarshal ')
    await client.post(NODES, node("a"))
    code, said = await client.patch(f"{NODES}/a", {"metadata": wrong})
    assert (code, said["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in said["details"]["causes"]] == ["patch"]


async def test_bodies_that_cannot_be_read(client: Client) -> None:
    """Bad JSON is 400, an unknown media type 415, a wrong kind 400, a body too large 413, a wrong method 405."""
    assert (await client.post(NODES, "{"))[0] == 400
    assert (await client.post(NODES, "[]"))[0] == 400
    assert (await client.post(NODES, '{"metadata": 5}'))[0] == 400
    assert (await client.post(NODES, '{"spec": []}'))[0] == 400
    code, said = await client.post(NODES, "x", media="text/plain")
    assert (code, said["reason"]) == (415, "UnsupportedMediaType")
    code, said = await client.post(NODES, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}})
    assert (code, said["reason"]) == (400, "BadRequest")
    assert (await client.post(NODES, io.BytesIO(b" " * (3 * 1024 * 1024 + 1))))[0] == 413
    code, said = await client.call("POST", f"{NODES}/a", node("a"))
    assert (code, said["reason"]) == (405, "MethodNotAllowed")


async def test_yaml_is_read_and_its_times_stay_text(client: Client) -> None:
    """A YAML body is read; what looks like a time is a string."""
    body = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: m}\ndata: {t: 2026-01-01T00:00:00Z}\n"
    code, made = await client.post(MAPS, body, media="application/yaml")
    assert (code, made["data"]["t"]) == (201, "2026-01-01T00:00:00Z")


async def test_a_dry_run_stores_nothing(client: Client) -> None:
    """``dryRun=All`` validates and answers as if, and stores nothing."""
    before = await client.version()
    assert (await client.post(NODES, node("a"), dryRun="All"))[0] == 201
    assert (await client.post(NODES, node("A"), dryRun="All"))[0] == 422
    assert (await client.get(f"{NODES}/a"))[0] == 404
    assert await client.version() == before


async def test_status_goes_its_own_way(client: Client) -> None:
    """The main resource ignores status, the status subresource ignores spec."""
    await client.post(NODES, node("a"))
    status = {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}
    await client.patch(f"{NODES}/a", {"status": status})
    assert "addresses" not in (await client.get(f"{NODES}/a"))[1]["status"]
    both = {"status": status, "spec": {"unschedulable": True}}
    code, told = await client.patch(f"{NODES}/a/status", both)
    assert (code, told["status"]["addresses"], told["spec"]) == (200, status["addresses"], {})
    assert (await client.get(f"{NODES}/a/status"))[1]["status"] == told["status"]
    _, told = await client.patch(f"{NODES}/a", {"spec": {"unschedulable": True}})
    assert (told["status"]["addresses"], told["spec"]["unschedulable"]) == (status["addresses"], True)


async def test_a_service_comes_without_its_status(client: Client) -> None:
    """A create of a Service drops the status; a create of a Node keeps it, as kubelets need."""
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}
    body = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}, "status": status}
    assert (await client.post(SERVICES, body))[1]["status"] == {"loadBalancer": {}}
    made = (await client.post(NODES, {**node("a"), "status": {"phase": "x"}}))[1]
    assert made["status"]["phase"] == "x"
    assert made["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 0}}
    assert made["status"]["nodeInfo"]["kubeletVersion"] == ""


async def test_leases_want_a_version_and_are_made_by_an_update(client: Client) -> None:
    """A PUT of a missing Lease makes it; a PUT without resourceVersion is 422; two racing PUTs have one winner."""
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l"
    code, made = await client.put(path, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}})
    assert code == 201
    assert (await client.put(path, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "b"}}))[0] == 422
    racers = [client.put(path, {**made, "spec": {"holderIdentity": name}}) for name in ("b", "c")]
    assert sorted(code for code, _ in await asyncio.gather(*racers)) == [200, 409]


async def test_events_are_one_thing_under_two_names(client: Client) -> None:
    """An Event written to the core group is read as an events.k8s.io one, with that group's fields, and back."""
    about = {"kind": "Node", "name": "a"}
    await client.post(
        "/api/v1/namespaces/default/events",
        {"metadata": {"name": "e"}, "involvedObject": about, "message": "hello", "type": "Normal"},
    )
    _, shown = await client.get("/apis/events.k8s.io/v1/namespaces/default/events/e")
    assert (shown["regarding"], shown["note"]) == (about, "hello")
    _, found = await client.get("/api/v1/events", fieldSelector="involvedObject.name=a,type=Normal")
    assert [item["message"] for item in found["items"]] == ["hello"]
    _, found = await client.get("/api/v1/events", fieldSelector="involvedObject.name=b")
    assert found["items"] == []


async def test_the_first_namespaces(client: Client) -> None:
    """The four namespaces of a fresh cluster exist; a create in one that does not is 404."""
    _, listed = await client.get("/api/v1/namespaces")
    names = [item["metadata"]["name"] for item in listed["items"]]
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]
    code, said = await client.post("/api/v1/namespaces/nope/configmaps", config_map("m"))
    assert (code, said["message"]) == (404, 'namespaces "nope" not found')


async def test_a_namespace_that_goes_takes_nothing_new(client: Client) -> None:
    """A deleted namespace with something left in it is Terminating, and a create in it is 403 with the reason."""
    await client.post("/api/v1/namespaces", {"metadata": {"name": "n"}})
    maps = "/api/v1/namespaces/n/configmaps"
    await client.post(maps, config_map("held", finalizers=["lab.dev/x"]))
    _, going = await client.delete("/api/v1/namespaces/n")
    assert going["status"]["phase"] == "Terminating"
    code, said = await client.post(maps, config_map("new"))
    assert (code, said["reason"]) == (403, "Forbidden")
    assert "because it is being terminated" in said["message"]
    assert said["details"]["causes"] == [
        {
            "reason": "NamespaceTerminating",
            "message": "namespace n is being terminated",
            "field": "metadata.namespace",
        }
    ]
