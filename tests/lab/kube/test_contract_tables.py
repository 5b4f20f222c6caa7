"""Tables, discovery and OpenAPI: what kubectl reads before and beside objects."""

from __future__ import annotations

import asyncio
from typing import Any

from lab.kube.definitions import definition, pool
from lab.kube.talking import NODES, SERVICES, Client, Json, node, service

TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


async def table(client: Client, path: str, **parameters: Any) -> Json:
    async with client.session.get(path, headers=TABLE, params=parameters) as response:
        found: Json = await response.json()
    return found


def rows(found: Json) -> list[dict[str, Any]]:
    names = [column["name"] for column in found["columnDefinitions"]]
    return [dict(zip(names, row["cells"], strict=True)) for row in found["rows"]]


async def test_nodes_and_services_as_tables(client: Client) -> None:
    """The columns are those of kubectl, and rows carry the metadata."""
    status = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
        "nodeInfo": {"kubeletVersion": "v1.32.0"},
    }
    role = {"node-role.kubernetes.io/control-plane": ""}
    await client.have({**node("a", labels=role), "spec": {"unschedulable": True}, "status": status})
    (row,) = rows(await table(client, NODES))
    assert (row["Name"], row["Status"], row["Roles"]) == ("a", "Ready,SchedulingDisabled", "control-plane")
    assert (row["Version"], row["Internal-IP"]) == ("v1.32.0", "192.0.2.1")
    waiting = service("s", type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    await client.have(waiting)
    (row,) = [row for row in rows(await table(client, SERVICES)) if row["Name"] == "s"]
    assert (row["External-IP"], row["Port(s)"]) == ("<pending>", "80/TCP")
    await client.have(
        {
            **service("s", type="LoadBalancer", allocateLoadBalancerNodePorts=False),
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}},
        }
    )
    found = await table(client, f"{SERVICES}/s")
    assert rows(found)[0]["External-IP"] == "192.0.2.7"
    assert found["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert (await table(client, SERVICES, includeObject="Object"))["rows"][0]["object"]["kind"] == "Service"
    assert (await table(client, SERVICES, includeObject="None"))["rows"][0]["object"] is None


async def test_printer_columns(client: Client) -> None:
    """A definition's columns are evaluated; what leads nowhere is empty."""
    await client.have(definition())
    await client.have(pool("a"))
    await client.have(
        {**pool("b"), "status": {"conditions": [{"type": "Other"}, {"type": "Ready", "status": "True"}]}}
    )
    shown = rows(await table(client, "/apis/lab.dev/v1/pools"))
    assert [(row["Name"], row["Size"], row["Ready"]) for row in shown] == [("a", 4, None), ("b", 4, "True")]


async def test_a_watch_as_table(client: Client) -> None:
    """Each event is a table of one row; only the first has the columns."""
    async with client.session.get(NODES, headers=TABLE, params={"watch": "1"}) as response:
        await client.have(node("a"))
        await client.have(node("b"))
        lines = [await response.content.readline() for _ in range(2)]
    assert [b'"columnDefinitions":null' in line for line in lines] == [False, True]
    assert all(b'"kind":"Table"' in line for line in lines)


async def test_plain_discovery(client: Client) -> None:
    """Versions, groups and resources are listed, custom ones and status subresources among them."""
    await client.have(definition())
    assert (await client.get("/api"))[1]["versions"] == ["v1"]
    groups = {group["name"] for group in (await client.get("/apis"))[1]["groups"]}
    assert {"apps", "discovery.k8s.io", "coordination.k8s.io", "lab.dev", "authorization.k8s.io"} <= groups
    _, core = await client.get("/api/v1")
    named = {entry["name"]: entry for entry in core["resources"]}
    assert named["nodes"]["shortNames"] == ["no"]
    assert named["nodes/status"]["verbs"] == ["get", "patch", "update"]
    assert "status" not in {name.partition("/")[2] for name in named if name.startswith("configmaps")}
    _, custom = await client.get("/apis/lab.dev/v1")
    assert custom["resources"][0]["categories"] == ["lab"]
    assert (await client.get("/apis/lab.dev"))[1]["preferredVersion"]["version"] == "v1"
    assert (await client.get("/apis/none.dev/v1"))[0] == 404


async def test_aggregated_discovery(client: Client) -> None:
    """Who accepts it gets all groups in one document, with its own media type."""
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}
    async with client.session.get("/apis", headers=accept) as response:
        found = await response.json()
    assert response.headers["Content-Type"].endswith("as=APIGroupDiscoveryList")
    assert "discovery.k8s.io" in {item["metadata"]["name"] for item in found["items"]}


async def test_openapi(client: Client) -> None:
    """Every group has a document; a custom kind is described by its own schema; v2 is empty in both forms."""
    await client.have(definition())
    async with asyncio.timeout(10):  # the real server adds it a moment later
        while "apis/lab.dev/v1" not in (index := (await client.get("/openapi/v3"))[1])["paths"]:
            await asyncio.sleep(0.02)
    _, document = await client.get(index["paths"]["apis/lab.dev/v1"]["serverRelativeURL"])
    (schema,) = (body for name, body in document["components"]["schemas"].items() if name.endswith("Pool"))
    assert schema["properties"]["spec"]["description"] == "What you want."
    patch = document["paths"]["/apis/lab.dev/v1/pools/{name}"]["patch"]
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}
    assert (await client.get("/openapi/v2"))[1]["swagger"] == "2.0"
