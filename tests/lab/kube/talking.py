"""A client that knows no more of Kubernetes than HTTP, and the smallest objects."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from isthmus.lab.kube import Endpoint

Json = dict[str, Any]


class Watch:
    """One watch stream, read event by event."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self, timeout: float = 5.0) -> tuple[str, Json]:
        """Return the next event's type and object; raise EOFError at the end of the stream."""
        async with asyncio.timeout(timeout):
            line = await self.response.content.readline()
        if not line:
            raise EOFError
        event = json.loads(line)
        return event["type"], event["object"]

    async def names(self, count: int) -> list[tuple[str, str]]:
        """Return (type, name) of the next ``count`` events."""
        events = [await self.next() for _ in range(count)]
        return [(kind, obj["metadata"].get("name", "")) for kind, obj in events]

    async def silent(self, seconds: float = 0.15) -> bool:
        """Return whether nothing comes for a while."""
        try:
            await self.next(seconds)
        except TimeoutError:
            return True
        return False


class Client:
    """An HTTP client with a token."""

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: Endpoint, compact: Callable[[], None] = lambda: None
    ) -> None:
        self.session = session
        self.endpoint = endpoint
        self.compact = compact  # has the server forget the past
        self.watches: list[aiohttp.ClientResponse] = []

    async def call(
        self, method: str, path: str, body: Any = None, *, media: str = "application/json", **parameters: Any
    ) -> tuple[int, Json]:
        """Return the status and the decoded answer of one request."""
        headers = {"Content-Type": media} if body is not None else {}
        data = json.dumps(body) if isinstance(body, dict | list) else body
        query = {name: str(value) for name, value in parameters.items()}
        async with self.session.request(method, path, data=data, headers=headers, params=query) as response:
            raw = await response.read()
            try:
                return response.status, json.loads(raw)
            except ValueError:
                return response.status, {"text": raw.decode()}

    async def get(self, path: str, **parameters: Any) -> tuple[int, Json]:
        return await self.call("GET", path, **parameters)

    async def post(self, path: str, body: Any, **parameters: Any) -> tuple[int, Json]:
        return await self.call("POST", path, body, **parameters)

    async def put(self, path: str, body: Any, **parameters: Any) -> tuple[int, Json]:
        return await self.call("PUT", path, body, **parameters)

    async def patch(self, path: str, body: Any, kind: str = "merge", **parameters: Any) -> tuple[int, Json]:
        media = {
            "merge": "application/merge-patch+json",
            "json": "application/json-patch+json",
            "strategic": "application/strategic-merge-patch+json",
            "apply": "application/apply-patch+yaml",
        }[kind]
        return await self.call("PATCH", path, body, media=media, **parameters)

    async def delete(self, path: str, body: Any = None, **parameters: Any) -> tuple[int, Json]:
        return await self.call("DELETE", path, body, **parameters)

    async def have(self, obj: Json) -> Json:
        """Create the object, or replace it, then its status if it has one; return it. A definition is served then."""
        path = path_of(obj)
        code, made = await self.post(path.rpartition("/")[0], obj)
        if code == 409:
            _, there = await self.get(path)
            meta = {**obj["metadata"], "resourceVersion": there["metadata"]["resourceVersion"]}
            code, made = await self.put(path, {**obj, "metadata": meta})
        assert code in (200, 201), made
        if "status" in obj:
            code, made = await self.patch(f"{path}/status", {"status": obj["status"]})
            assert code == 200, made
        if obj["kind"] == "CustomResourceDefinition":
            await self.served(obj)
        return made

    async def served(self, definition: Json) -> None:
        """Wait until the resources of a definition are there, in discovery too; the real server takes a moment."""
        spec = definition["spec"]
        wanted = {version["name"] for version in spec["versions"] if version["served"]}
        async with asyncio.timeout(10):
            for version in wanted:
                while True:
                    code, found = await self.get(f"/apis/{spec['group']}/{version}")
                    names = {one["name"] for one in found["resources"]} if code == 200 else set()
                    if spec["names"]["plural"] in names:
                        break
                    await asyncio.sleep(0.01)
                while (await self.get(f"/apis/{spec['group']}/{version}/{spec['names']['plural']}"))[0] != 200:
                    await asyncio.sleep(0.01)

    async def version(self) -> int:
        """Return the present resourceVersion."""
        _, listed = await self.get("/api/v1/namespaces", limit=1)
        return int(listed["metadata"]["resourceVersion"])

    async def watch(self, path: str, **parameters: Any) -> Watch:
        """Start a watch; it is closed with the client."""
        query = {"watch": "1", **{name: str(value) for name, value in parameters.items()}}
        response = await self.session.get(path, params=query)
        self.watches.append(response)
        assert response.status == 200, await response.text()
        return Watch(response)

    def close(self) -> None:
        for response in self.watches:
            response.close()


async def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    """Poll until ``true`` is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not become true in time"
        await asyncio.sleep(0.005)


def node(name: str, **metadata: Any) -> Json:
    return {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, **metadata}}


def service(name: str, **spec: Any) -> Json:
    wanted = {"ports": [{"port": 80}], **spec}
    return {"kind": "Service", "apiVersion": "v1", "metadata": {"name": name}, "spec": wanted}


def config_map(name: str, **metadata: Any) -> Json:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, **metadata}}


def path_of(obj: Json) -> str:
    """Return where an object of one of the kinds in these tests is."""
    collection = {
        "Node": NODES,
        "Service": SERVICES,
        "ConfigMap": MAPS,
        "Lease": LEASES,
        "Namespace": "/api/v1/namespaces",
        "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "Pool": "/apis/lab.dev/v1/pools",
    }[obj["kind"]]
    meta = obj["metadata"]
    return f"{collection.replace('/default/', '/' + meta.get('namespace', 'default') + '/')}/{meta['name']}"


NODES = "/api/v1/nodes"
SERVICES = "/api/v1/namespaces/default/services"
MAPS = "/api/v1/namespaces/default/configmaps"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
