"""What keeps writers from harming one another: versions, uids, dry runs, finalizers, and versions that are too old."""

from __future__ import annotations

from typing import Any

import pytest

from lab.kube.definitions import definition, pool
from lab.kube.talking import LEASES, MAPS, NODES, Client, config_map

POOLS = "/apis/lab.dev/v1/pools"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


async def test_a_version_from_before_is_gone(client: Client) -> None:
    """A watch from a version that is forgotten is told 410 Expired, in an ERROR event and then the end."""
    await client.have(definition())
    await client.have(pool("a"))
    client.compact()
    watch = await client.watch(POOLS, resourceVersion="1")
    kind, said = await watch.next()
    assert (kind, said["kind"], said["code"], said["reason"]) == ("ERROR", "Status", 410, "Expired")
    assert said["message"].startswith("too old resource version: 1 (")
    with pytest.raises(EOFError):
        await watch.next()


async def test_a_delete_with_preconditions(client: Client) -> None:
    """A delete for a version or a uid that is no longer so is 409 in the words of a failed precondition."""
    _, made = await client.post(MAPS, config_map("m"))
    old = made["metadata"]["resourceVersion"]
    await client.patch(f"{MAPS}/m", {"data": {"a": "b"}})
    for precondition, word in (({"resourceVersion": old}, "ResourceVersion"), ({"uid": "other"}, "UID")):
        code, said = await client.delete(f"{MAPS}/m", {"preconditions": precondition})
        assert (code, said["reason"]) == (409, "Conflict")
        (asked,) = precondition.values()
        assert said["message"].startswith(
            f'Operation cannot be fulfilled on ConfigMap "m": the {word} in the precondition ({asked}) does not match '
        )
        assert said["details"] == {"name": "m", "kind": "ConfigMap"}
    _, now = await client.get(f"{MAPS}/m")
    right = {"uid": now["metadata"]["uid"], "resourceVersion": now["metadata"]["resourceVersion"]}
    assert (await client.delete(f"{MAPS}/m", {"preconditions": right}))[0] == 200


async def test_dry_runs_of_every_verb(client: Client) -> None:
    """An update, a patch, an apply and a delete as dry runs answer as if, and change nothing."""
    _, made = await client.post(MAPS, config_map("m"))
    changed = {**made, "data": {"a": "b"}}
    assert (await client.put(f"{MAPS}/m", changed, dryRun="All"))[1]["data"] == {"a": "b"}
    assert (await client.patch(f"{MAPS}/m", {"data": {"a": "b"}}, dryRun="All"))[1]["data"] == {"a": "b"}
    applied = {**config_map("m"), "data": {"a": "c"}}
    _, told = await client.patch(f"{MAPS}/m", applied, "apply", dryRun="All", fieldManager="x")
    assert told["data"] == {"a": "c"}
    assert (await client.delete(f"{MAPS}/m", dryRun="All"))[0] == 200
    assert (await client.delete(f"{MAPS}/m", {"dryRun": ["All"]}))[0] == 200
    assert (await client.get(f"{MAPS}/m"))[1] == made


async def test_an_apply_for_another_incarnation(client: Client) -> None:
    """An apply that names a uid is refused where the object is another or is gone."""
    await client.have(config_map("m"))
    body = config_map("m", uid="00000000-0000-0000-0000-000000000000")
    code, said = await client.patch(f"{MAPS}/m", body, "apply", fieldManager="x")
    assert (code, said["reason"]) == (422, "Invalid")
    assert {cause["field"] for cause in said["details"]["causes"]} == {"metadata.uid"}
    await client.delete(f"{MAPS}/m")
    code, said = await client.patch(f"{MAPS}/m", body, "apply", fieldManager="x")
    assert (code, said["reason"]) == (409, "Conflict")
    assert said["message"].endswith("and no existing object was found")
    assert (await client.get(f"{MAPS}/m"))[0] == 404


async def test_a_custom_object_with_a_finalizer(client: Client) -> None:
    """It is marked with a time and a new generation, can still be written, and goes with its last finalizer."""
    await client.have(definition())
    body = pool("a")
    body["metadata"]["finalizers"] = ["lab.dev/held"]
    _, made = await client.post(POOLS, body)
    code, marked = await client.delete(f"{POOLS}/a")
    assert code == 200
    meta = marked["metadata"]
    assert (meta["generation"], meta["deletionGracePeriodSeconds"]) == (2, 0)
    assert int(meta["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    _, told = await client.patch(f"{POOLS}/a/status", {"status": {"left": 1}})
    assert told["status"] == {"left": 1}
    again = await client.delete(f"{POOLS}/a")
    assert again[1]["metadata"]["deletionTimestamp"] == meta["deletionTimestamp"]
    watch = await client.watch(POOLS, resourceVersion=told["metadata"]["resourceVersion"])
    await client.patch(f"{POOLS}/a", {"metadata": {"finalizers": []}})
    kind, gone = await watch.next()
    assert (kind, gone["metadata"]["name"]) == ("DELETED", "a")
    assert (await client.get(f"{POOLS}/a"))[0] == 404


async def test_an_object_made_to_be_deleted_cannot_be(client: Client) -> None:
    """A new object cannot bring its own deletion along."""
    _, made = await client.post(MAPS, config_map("m", deletionTimestamp="2026-01-01T00:00:00Z"))
    assert "deletionTimestamp" not in made["metadata"]


async def test_one_of_two_lease_holders_wins(client: Client) -> None:
    """An update based on what both have read is taken once."""
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 0}
    times = {"acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.000000Z"}
    lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "l"}}
    code, made = await client.post(LEASES, {**lease, "spec": {**spec, **times}})
    assert (code, made["spec"]) == (201, {**spec, **times})
    first = await client.put(f"{LEASES}/l", {**made, "spec": {**made["spec"], "holderIdentity": "b"}})
    second = await client.put(f"{LEASES}/l", {**made, "spec": {**made["spec"], "holderIdentity": "c"}})
    assert (first[0], second[0], second[1]["reason"]) == (200, 409, "Conflict")


@pytest.mark.parametrize(
    "attributes", [{"verb": "list", "resource": "nodes"}, {"verb": "*", "resource": "*", "group": "*"}]
)
async def test_what_an_administrator_may(client: Client, attributes: dict[str, Any]) -> None:
    """Everybody can ask what they may do."""
    code, said = await client.post(
        REVIEWS,
        {
            "kind": "SelfSubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "spec": {"resourceAttributes": attributes},
        },
    )
    assert (code, said["status"]["allowed"], said["spec"]["resourceAttributes"]) == (201, True, attributes)


async def test_who_is_nobody(client: Client) -> None:
    """A wrong token is 401 with a Status, wherever it knocks."""
    for path in (NODES, "/apis", "/nope"):
        async with client.session.get(path, headers={"Authorization": "Bearer wrong"}) as response:
            said = await response.json()
        assert (response.status, said["reason"], said["message"]) == (401, "Unauthorized", "Unauthorized")
