"""Tables, discovery and OpenAPI: what kubectl reads before and beside objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from isthmus.lab.kube import KubeApi
from isthmus.lab.kube.columns import duration, since
from isthmus.lab.kube.jsonpaths import find
from lab.kube.definitions import definition
from lab.kube.talking import Client, Json

TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


async def table(client: Client, path: str, **parameters: Any) -> Json:
    async with client.session.get(path, headers=TABLE, params=parameters) as response:
        found: Json = await response.json()
    return found


def rows(found: Json) -> list[dict[str, Any]]:
    names = [column["name"] for column in found["columnDefinitions"]]
    return [dict(zip(names, row["cells"], strict=True)) for row in found["rows"]]


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
