"""Tables, discovery and OpenAPI: what kubectl reads before and beside objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from isthmus.lab.kube import KubeApi
from isthmus.lab.kube.columns import duration, since
from isthmus.lab.kube.jsonpaths import find
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


async def test_nodes_and_services_as_tables(client: Client, api: KubeApi) -> None:
    """The columns are those of kubectl, and rows carry the metadata."""
    status = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
        "nodeInfo": {"kubeletVersion": "v1.32.0"},
    }
    role = {"node-role.kubernetes.io/control-plane": ""}
    api.put({**node("a", labels=role), "spec": {"unschedulable": True}, "status": status})
    (row,) = rows(await table(client, NODES))
    assert (row["Name"], row["Status"], row["Roles"]) == ("a", "Ready,SchedulingDisabled", "control-plane")
    assert (row["Version"], row["Internal-IP"]) == ("v1.32.0", "192.0.2.1")
    api.put(service("s", type="LoadBalancer"))
    (row,) = rows(await table(client, SERVICES))
    assert (row["External-IP"], row["Port(s)"]) == ("<pending>", "80/TCP")
    api.put({**service("s", type="LoadBalancer"), "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}})
    found = await table(client, f"{SERVICES}/s")
    assert rows(found)[0]["External-IP"] == "192.0.2.7"
    assert found["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert (await table(client, SERVICES, includeObject="Object"))["rows"][0]["object"]["kind"] == "Service"
    assert "object" not in (await table(client, SERVICES, includeObject="None"))["rows"][0]


async def test_every_kind_can_be_shown(client: Client, api: KubeApi) -> None:
    """No kind's columns and cells disagree in number, however bare the object."""
    api.put(definition())
    for resource in api.kinds:
        body: Json = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": {"name": "bare"}}
        template = {"metadata": {"labels": {"a": "b"}}}
        body |= {
            "DaemonSet": {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}},
            "Deployment": {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}},
            "EndpointSlice": {
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["192.0.2.1"]}],
                "ports": [{"port": 1}],
            },
            "Pod": {"spec": {"containers": [{"name": "c"}]}},
            "Service": {"spec": {"ports": [{"port": 80}]}},
            "Pool": {"spec": {"ranges": ["10."]}},
        }.get(resource.kind, {})
        if resource.kind != "CustomResourceDefinition":
            api.put(body)
        root = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"
        found = await table(client, f"{root}/{resource.plural}")
        assert found["kind"] == "Table"
        assert rows(found), resource.plural


async def test_printer_columns(client: Client, api: KubeApi) -> None:
    """A definition's columns are evaluated; what leads nowhere is empty."""
    api.put(definition())
    api.put(pool("a"))
    api.put({**pool("b"), "status": {"conditions": [{"type": "Other"}, {"type": "Ready", "status": "True"}]}})
    shown = rows(await table(client, "/apis/lab.dev/v1/pools"))
    assert [(row["Name"], row["Size"], row["Ready"]) for row in shown] == [("a", 4, None), ("b", 4, "True")]


async def test_a_watch_as_table(client: Client, api: KubeApi) -> None:
    """Each event is a table of one row; only the first has the columns."""
    async with client.session.get(NODES, headers=TABLE, params={"watch": "1"}) as response:
        api.put(node("a"))
        api.put(node("b"))
        lines = [await response.content.readline() for _ in range(2)]
    assert [b'"columnDefinitions":[]' in line for line in lines] == [False, True]
    assert all(b'"kind":"Table"' in line for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (121, "2m1s"), (600, "10m"), (10800, "3h"), (11000, "3h3m"),
     (30000, "8h"), (180000, "2d2h"), (8 * 86400, "8d"), (800 * 86400, "2y70d"), (-5, "<invalid>")],
)  # fmt: skip
def test_durations(seconds: int, text: str) -> None:
    """Ages are written as kubectl writes them."""
    assert duration(seconds) == text


def test_times_that_are_none() -> None:
    """No time is unknown, rubbish is invalid."""
    now = datetime.now(UTC)
    assert since(None, now) == "<unknown>"
    assert since("yesterday", now) == "<invalid>"
    assert since((now - timedelta(seconds=5)).isoformat(), now) == "5s"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        ("{.a.b}", [1]),
        (".l[0].n", ["x"]),
        (".l[-1].n", ["y"]),
        (".l[*].n", ["x", "y"]),
        (".l[?(@.n=='y')].v", [2]),
        (".m['k.x/y']", ["dots"]),
        (r".m.k\.z", ["escaped"]),
        (".nothing.here", []),
        (".l[9]", []),
        (".(broken", []),
    ],
)
def test_json_paths(path: str, found: list[Any]) -> None:
    """The paths of printer columns lead where they lead in kubectl."""
    document = {
        "a": {"b": 1},
        "l": [{"n": "x", "v": 1}, {"n": "y", "v": 2}],
        "m": {"k.x/y": "dots", "k.z": "escaped"},
    }
    assert find(document, path) == found


async def test_plain_discovery(client: Client, api: KubeApi) -> None:
    """Versions, groups and resources are listed, custom ones and status subresources among them."""
    api.put(definition())
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


async def test_openapi(client: Client, api: KubeApi) -> None:
    """Every group has a document; a custom kind is described by its own schema; v2 is empty in both forms."""
    api.put(definition())
    _, index = await client.get("/openapi/v3")
    _, document = await client.get(index["paths"]["apis/lab.dev/v1"]["serverRelativeURL"])
    (schema,) = (body for name, body in document["components"]["schemas"].items() if name.endswith("Pool"))
    assert schema["properties"]["spec"]["description"] == "What you want."
    patch = document["paths"]["/apis/lab.dev/v1/pools/{name}"]["patch"]
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}
    assert (await client.get("/openapi/v2"))[1]["swagger"] == "2.0"
