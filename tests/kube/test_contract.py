"""The client and the informer against the lab's API server and a real one: the same assertions over both.

What can only be brought about in a server that is ours (faults, frozen watches, restored backups) is in
``test_against_lab.py``; here is what any API must do, with lists streamed and in pages.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from isthmus.errors import KubeConflict, KubeExpired, KubeInvalid, KubeNotFound, KubeUnauthorized
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.events import EventWriter, Regarding
from isthmus.kube.identity import cluster_uid
from isthmus.kube.kinds import CONFIGMAPS, ENDPOINT_SLICES, LEASES, NODES, SERVICES
from isthmus.kube.kubeconfig import load
from isthmus.kube.parse import SERVICE, SLICE
from isthmus.kube.transport import Patience
from isthmus.lab.kube import KubeApi
from realapi import RealApi
from realapi.reaching import Reach
from realapi.wiping import wipe

from .conftest import Watched
from .stub import StallingProxy, eventually

Start = Callable[..., Watched]


@dataclass
class Both:
    """One of the two servers."""

    api: Any  # KubeApi or Reach: put, get, list, delete
    client: KubeClient
    endpoint: Any
    compact: Callable[[], None]

    def node(self, name: str, **spec: Any) -> None:
        self.api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec})


@pytest.fixture(params=["lab", "real"])
async def real(request: pytest.FixtureRequest) -> AsyncIterator[Both]:
    patience = Patience(connect=2.0, request=10.0, headers=5.0)
    if request.param == "lab":
        server = KubeApi(bookmark_every=0.2)
        async with (
            server.serving() as endpoint,
            KubeClient(load(Path(endpoint.kubeconfig_path)), patience=patience) as client,
        ):
            yield Both(server, client, endpoint, server.compact)
        return
    real_api: RealApi = request.getfixturevalue("real_api")
    endpoint = real_api.endpoint
    reach = Reach(endpoint)
    async with KubeClient(load(endpoint.kubeconfig_path), patience=patience) as client:
        yield Both(reach, client, endpoint, real_api.compact)
    reach.close()
    async with aiohttp.ClientSession(
        endpoint.url,
        headers={"Authorization": f"Bearer {endpoint.token}"},
        connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=endpoint.ca_path)),
    ) as session:
        await wipe(session)


@pytest.mark.parametrize("streams", [True, False], ids=["streamed", "paged"])
async def test_follows_what_happens(real: Both, watching: Start, streams: bool) -> None:
    """What is there, what comes, what changes and what goes is known, and nothing is doubted."""
    for number in range(7):
        real.node(f"n{number}", podCIDR=f"10.244.{number}.0/24")
    watched = watching(via=real.client, identity=lambda: cluster_uid(real.client))
    watched.informer._streams = streams
    await eventually(watched.informer.synced.is_set)
    assert watched.names == {f"n{number}" for number in range(7)}
    real.api.delete("Node", "n0")
    real.node("n7", podCIDR="10.244.7.0/24")
    real.api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n8"}})
    real.node("n8", podCIDR="10.244.8.0/24")
    await eventually(lambda: watched.names == {f"n{number}" for number in range(1, 9)})
    await eventually(lambda: [str(one) for one in watched.informer.get(("", "n8")).pod_cidrs] == ["10.244.8.0/24"])
    assert watched.informer.suspect is None
    assert watched.informer.failing is None


async def test_pages_are_one_list(real: Both) -> None:
    """A list in pages holds everything once; after a compaction half-way it is no list, and says so."""
    for number in range(5):
        real.node(f"n{number}")
    pages = [page async for page in real.client.list_pages(NODES, limit=2)]
    assert [len(page.items) for page in pages] == [2, 2, 1]
    version, anything = await real.client.collection_version(NODES)
    assert anything
    assert int(version) >= int(pages[0].resource_version)


async def test_who_lists_too_slowly_starts_anew(real: Both) -> None:
    """A list whose version was compacted away between two pages is expired."""
    for number in range(3):
        real.node(f"n{number}")
    pages = real.client.list_pages(NODES, limit=2)
    await anext(pages)
    real.node("n9")
    real.compact()
    with pytest.raises(KubeExpired):
        await anext(pages)
    await pages.aclose()


async def test_a_wrong_token_and_a_renewed_one(real: Both, tmp_path: Path) -> None:
    """Who comes with nothing or with a wrong token is told so by its own error."""
    wrong = Connection(server=real.endpoint.url, ca_file=real.endpoint.ca_path, token="wrong")
    async with KubeClient(wrong) as client:
        with pytest.raises(KubeUnauthorized):
            await client.get(NODES, "n1")
    token = tmp_path / "token"
    token.write_text("wrong")
    by_file = Connection(server=real.endpoint.url, ca_file=real.endpoint.ca_path, token_file=token)
    real.node("n1")
    async with KubeClient(by_file) as client:
        with pytest.raises(KubeUnauthorized):
            await client.get(NODES, "n1")
        token.write_text(real.endpoint.token)  # as a kubelet renews it
        assert (await client.get(NODES, "n1"))["metadata"]["name"] == "n1"


async def test_a_stalled_proxy_is_found_out(real: Both, watching: Start) -> None:
    """Over TLS through a middle box that goes silent, too."""
    real.node("old")
    async with StallingProxy(real.endpoint.port).serving() as proxy:
        connection = Connection(
            server=f"https://127.0.0.1:{proxy.port}", ca_file=real.endpoint.ca_path, token=real.endpoint.token
        )
        patience = Patience(connect=0.3, request=0.5, headers=0.3)
        async with KubeClient(connection, patience=patience) as client:
            watched = watching(via=client)
            await eventually(watched.informer.synced.is_set)
            proxy.stalled = True
            real.node("unseen")
            await eventually(lambda: watched.informer.failing)
            proxy.stalled = False
            await eventually(lambda: "unseen" in watched.names)


async def test_services_and_slices(real: Both, watching: Start) -> None:
    """A Service as the API defaults it, and its slices by index."""
    await real.client.create(
        SERVICES,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": "web"}},
        },
    )
    await real.client.create(
        ENDPOINT_SLICES,
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "web-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
            "endpoints": [{"addresses": ["10.244.1.5"], "nodeName": "n1", "conditions": {"ready": True}}],
        },
    )
    services = watching(SERVICE, via=real.client)
    slices = watching(SLICE, via=real.client, indexes={"by_service": lambda one: [(one.namespace, one.service)]})
    await eventually(lambda: services.informer.synced.is_set() and slices.informer.synced.is_set())
    facts = services.informer.get(("default", "web"))
    assert (facts.type, facts.families, facts.ports[0].protocol) == ("LoadBalancer", (4,), "tcp")
    (found,) = slices.informer.by("by_service", ("default", "web"))
    assert found.ports == (("", "tcp", 8080),)


async def test_writing_as_the_real_one_takes_it(real: Both) -> None:
    """Apply owns fields and meets conflicts; a stale replace and a wrong uid are conflicts; status is apart."""
    client = real.client
    await client.apply(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "default"}, "data": {"k": "1", "l": "1"}})
    with pytest.raises(KubeConflict, match="k"):
        await client.apply(
            CONFIGMAPS, {"metadata": {"name": "a", "namespace": "default"}, "data": {"k": "2"}}, field_manager="other"
        )
    after = await client.apply(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "default"}, "data": {"k": "1"}})
    assert after["data"] == {"k": "1"}, "what we leave out, we give up"
    await client.patch(CONFIGMAPS, "a", {"data": {"k": "9"}}, "default")
    with pytest.raises(KubeConflict):
        await client.replace(CONFIGMAPS, after)
    with pytest.raises(KubeConflict):
        await client.delete(CONFIGMAPS, "a", "default", uid="00000000-0000-0000-0000-000000000000")
    await client.delete(CONFIGMAPS, "a", "default")
    with pytest.raises(KubeNotFound):
        await client.get(CONFIGMAPS, "a", "default")
    with pytest.raises(KubeInvalid):
        await client.create(CONFIGMAPS, {"metadata": {"name": "Not Valid", "namespace": "default"}})
    real.node("n1")
    await client.apply_status(
        NODES, {"metadata": {"name": "n1"}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}
    )
    assert (await client.get(NODES, "n1"))["status"]["addresses"][0]["address"] == "192.0.2.1"


async def test_old_words_about_a_service_come_to_nothing(real: Both) -> None:
    """A status that names the version it was decided for is refused over a later one, though its fields are forced."""
    spec = {"type": "LoadBalancer", "loadBalancerClass": "isthmus.dev/load-balancer", "ports": [{"port": 80}]}
    made = await real.client.create(SERVICES, {"metadata": {"name": "late", "namespace": "default"}, "spec": spec})

    async def say(address: str, version: str) -> dict[str, Any]:
        meta = {"name": "late", "namespace": "default", "uid": made["metadata"]["uid"], "resourceVersion": version}
        status = {"loadBalancer": {"ingress": [{"ip": address}]}}
        return await real.client.apply_status(SERVICES, {"metadata": meta, "status": status}, force=True)

    said = await say("198.51.100.1", made["metadata"]["resourceVersion"])
    with pytest.raises(KubeConflict):
        await say("198.51.100.2", made["metadata"]["resourceVersion"])
    again = await say("198.51.100.3", said["metadata"]["resourceVersion"])
    assert [one["ip"] for one in again["status"]["loadBalancer"]["ingress"]] == ["198.51.100.3"]


async def test_discovery_and_version(real: Both) -> None:
    """What the API serves is found in its own words."""
    assert LEASES in await real.client.discover("coordination.k8s.io")
    assert NODES in await real.client.discover("")
    assert await real.client.discover("cilium.io") == ()
    assert (await real.client.version()).startswith("v1.")


async def test_events_are_accepted(real: Both) -> None:
    """An Event of ours passes the API's own validation, and so does its count."""
    writer = EventWriter(real.client)
    task = asyncio.create_task(writer.run())
    for _ in range(2):
        writer.tell(
            Regarding("v1", "Service", "web", "default", "u"), "NoAddress", "pool edge is used up", warning=True
        )
        await writer.drained()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert writer.dropped == 0
    (event,) = real.api.list("events.events.k8s.io", "default")
    assert event["series"]["count"] == 2
