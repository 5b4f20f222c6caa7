"""The verbs: what is sent, what comes back, and which exception stands for which no."""

from __future__ import annotations

import asyncio
import email.utils
import json
import socket
import time
import traceback

import msgspec
import pytest
from aiohttp import web

import isthmus
from isthmus.errors import (
    KubeConflict,
    KubeError,
    KubeExpired,
    KubeForbidden,
    KubeInvalid,
    KubeNotFound,
    KubeThrottled,
    KubeUnauthorized,
    KubeUnreachable,
)
from isthmus.kube import transport, wire
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.identity import cluster_uid
from isthmus.kube.kinds import (
    CONFIGMAPS,
    ENDPOINT_SLICES,
    NAMESPACES,
    NODES,
    SERVICES,
    KindRef,
    isthmus_kind,
)
from isthmus.kube.transport import Patience

from .stub import KUBE_SYSTEM_UID, StallingProxy, StubApi, status

SECRET = "planted-secret-7d3f-0123456789abcdef"


async def test_reading(api: StubApi, client: KubeClient) -> None:
    """An object comes as a dict, or as the type that was asked for; who asks is told by the user agent."""
    api.put("services", "web", "shop", spec={"type": "LoadBalancer"})
    assert (await client.get(SERVICES, "web", "shop"))["spec"] == {"type": "LoadBalancer"}
    found = await client.get(SERVICES, "web", "shop", type=wire.Service)
    assert found.spec is not None
    assert found.spec.type == "LoadBalancer"
    assert api.seen[0].path == "/api/v1/namespaces/shop/services/web"
    assert api.seen[0].headers["User-Agent"] == f"isthmus/{isthmus.__version__}"
    assert await client.version() == "v1.31.0-stub"
    assert await cluster_uid(client) == KUBE_SYSTEM_UID


async def test_pages(api: StubApi, client: KubeClient) -> None:
    """Pages come one by one with one version; only the last one says that the list is complete."""
    for number in range(5):
        api.put("nodes", f"n{number}")
    pages = [page async for page in client.list_pages(NODES, limit=2, type=wire.Node)]
    assert [[node.metadata.name for node in page.items] for page in pages] == [["n0", "n1"], ["n2", "n3"], ["n4"]]
    assert [page.last for page in pages] == [False, False, True]
    assert {page.resource_version for page in pages} == {str(api.version)}
    assert "resourceVersion" not in api.seen[0].query


async def test_writing(api: StubApi, client: KubeClient) -> None:
    """Create, replace, both kinds of patch, apply and delete are sent as the API wants them."""
    made = await client.create(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "x"}, "data": {"k": "1"}})
    assert made["data"] == {"k": "1"}
    await client.replace(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "x"}, "data": {"k": "2"}})
    await client.patch(CONFIGMAPS, "a", {"data": {"k": "3"}}, "x")
    await client.patch(CONFIGMAPS, "a", [{"op": "remove", "path": "/data/k"}], "x")
    await client.apply(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "x"}, "data": {"k": "4"}}, force=True)
    await client.patch_status(NODES, "n1", {"status": {}})
    await client.apply_status(NODES, {"metadata": {"name": "n1"}, "status": {}}, field_manager="isthmus-edge")
    await client.delete(CONFIGMAPS, "a", "x", uid=made["metadata"]["uid"])
    shown = [(seen.verb, seen.path, seen.headers["Content-Type"]) for seen in api.seen]
    base = "/api/v1/namespaces/x/configmaps"
    assert shown == [
        ("POST", base, "application/json"),
        ("PUT", f"{base}/a", "application/json"),
        ("PATCH", f"{base}/a", "application/merge-patch+json"),
        ("PATCH", f"{base}/a", "application/json-patch+json"),
        ("PATCH", f"{base}/a", "application/apply-patch+yaml"),
        ("PATCH", "/api/v1/nodes/n1/status", "application/merge-patch+json"),
        ("PATCH", "/api/v1/nodes/n1/status", "application/apply-patch+yaml"),
        ("DELETE", f"{base}/a", "application/json"),
    ]
    applied = api.seen[4]
    assert applied.query == {"fieldManager": "isthmus", "force": "true"}
    assert json.loads(applied.body)["apiVersion"] == "v1"
    assert json.loads(applied.body)["kind"] == "ConfigMap"
    assert api.seen[6].query == {"fieldManager": "isthmus-edge", "force": "false"}
    assert json.loads(api.seen[7].body)["preconditions"] == {"uid": made["metadata"]["uid"]}


async def test_a_delete_hits_the_very_object(api: StubApi, client: KubeClient) -> None:
    """A delete with the uid of an earlier namesake is a conflict, and the namesake lives."""
    api.put("nodes", "n1")
    with pytest.raises(KubeConflict):
        await client.delete(NODES, "n1", uid="older")
    assert ("", "n1") in api.objects["nodes"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (400, KubeInvalid),
        (401, KubeUnauthorized),
        (403, KubeForbidden),
        (404, KubeNotFound),
        (409, KubeConflict),
        (410, KubeExpired),
        (422, KubeInvalid),
        (429, KubeThrottled),
        (500, KubeError),
        (503, KubeError),
        (302, KubeError),
    ],
)
async def test_every_no_has_its_class(api: StubApi, client: KubeClient, code: int, expected: type[KubeError]) -> None:
    """The code decides the class; the message names what was asked and what the API said."""
    api.faults.append(lambda seen: status(code, "SomeReason", "because"))
    with pytest.raises(KubeError) as caught:
        await client.get(NODES, "n1")
    assert type(caught.value) is expected
    assert (caught.value.status, caught.value.reason) == (code, "SomeReason")
    assert "get nodes n1" in str(caught.value)
    assert "because" in str(caught.value)


async def test_when_to_come_back(api: StubApi, client: KubeClient) -> None:
    """Retry-After counts as seconds, as a date, and in the Status; it is bounded; 503 needs it to be throttling."""
    date = email.utils.formatdate(time.time() + 20, usegmt=True)
    cases = [
        (status(429, "TooManyRequests", headers={"Retry-After": "7"}), 7, 7),
        (status(503, "ServiceUnavailable", headers={"Retry-After": date}), 17, 21),
        (status(429, "TooManyRequests"), 1, 1),
        (status(429, "TooManyRequests", headers={"Retry-After": "86400"}), 300, 300),
        (status(429, "TooManyRequests", headers={"Retry-After": "soon"}), 1, 1),
        (status(429, "TooManyRequests", headers={"Retry-After": "9" * 400}), 300, 300),
        (status(429, "TooManyRequests", headers={"Retry-After": f"1 Jan 2030 00:00:00 +{'9' * 20}"}), 1, 1),
        (web.json_response({"kind": "Status", "code": 429, "details": {"retryAfterSeconds": 4}}, status=429), 4, 4),
    ]
    for answer, least, most in cases:
        api.faults[:] = [lambda seen, answer=answer: answer]
        with pytest.raises(KubeThrottled) as caught:
            await client.get(NODES, "n1")
        assert least <= caught.value.retry_after <= most


async def test_an_error_page_is_no_status(api: StubApi, client: KubeClient) -> None:
    """A middle box's HTML gives the class of its code and nothing of its text."""
    api.faults.append(lambda seen: web.Response(status=403, text="<h1>Blocked</h1>", content_type="text/html"))
    with pytest.raises(KubeForbidden) as caught:
        await client.get(NODES, "n1")
    assert "Blocked" not in str(caught.value)


async def test_an_answer_of_another_shape(api: StubApi, client: KubeClient) -> None:
    """A 200 that is not JSON, or not a list, is an error and never an empty answer."""
    api.faults.append(lambda seen: web.Response(text="<html>login</html>"))
    with pytest.raises(KubeError, match="not what was asked for"):
        await client.get(NODES, "n1")
    api.faults[:] = [lambda seen: web.json_response({"kind": "Status", "status": "Success"})]
    with pytest.raises(KubeError, match="no list"):
        [page async for page in client.list_pages(NODES)]
    with pytest.raises(KubeError, match="no list"):
        await client.collection_version(NODES)


@pytest.mark.parametrize("name", ["../../secrets", "a/b", "a?watch=1", "a#b", "a%2fb", "ä b"])
async def test_names_stay_one_segment(api: StubApi, client: KubeClient, name: str) -> None:
    """A name from somebody's object cannot become another path or query."""
    with pytest.raises(KubeNotFound):
        await client.get(SERVICES, name, "shop")
    (seen,) = api.seen
    assert seen.plural == "services"
    assert seen.path.count("/") == 6
    assert seen.query == {}


@pytest.mark.parametrize("name", ["", ".", "..", "a\0b"])
async def test_names_that_are_no_segment(api: StubApi, client: KubeClient, name: str) -> None:
    """What a URL would read as another path is refused before it is sent."""
    with pytest.raises(ValueError, match="URL"):
        await client.get(SERVICES, name, "shop")
    with pytest.raises(ValueError, match="namespaces"):
        await client.get(SERVICES, "web")
    assert not api.seen


async def test_a_server_below_a_path(api: StubApi) -> None:
    """An API behind a prefix (a management plane's) is reached below that prefix."""
    async with KubeClient(Connection(server=f"{api.url}/k8s/clusters/c-1/")) as client:
        api.faults.append(lambda seen: status(404, "NotFound"))
        with pytest.raises(KubeNotFound):
            await client.get(NODES, "n1")
    assert api.seen[0].path == "/k8s/clusters/c-1/api/v1/nodes/n1"


async def test_group_urls_and_names() -> None:
    """Kinds know their ``apiVersion`` and their full name; ours are cluster-scoped."""
    assert ENDPOINT_SLICES.api_version == "discovery.k8s.io/v1"
    assert str(ENDPOINT_SLICES) == "endpointslices.discovery.k8s.io"
    assert NAMESPACES.api_version == "v1"
    link = isthmus_kind("clusterlinks", "ClusterLink")
    assert link == KindRef("isthmus.dev", "v1alpha1", "clusterlinks", False, "ClusterLink")


async def test_may_i(api: StubApi, client: KubeClient) -> None:
    """A permission is asked for by a SelfSubjectAccessReview."""
    api.faults.append(lambda seen: web.json_response({"status": {"allowed": True}}, status=201))
    assert await client.can_i("patch", NODES, subresource="status")
    assert api.seen[0].path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    attributes = json.loads(api.seen[0].body)["spec"]["resourceAttributes"]
    assert attributes == {"verb": "patch", "group": "", "resource": "nodes", "subresource": "status"}
    api.faults[:] = [lambda seen: web.json_response({"status": {"allowed": False}}, status=201)]
    assert not await client.can_i("patch", SERVICES, "shop")


async def test_discovery(api: StubApi, client: KubeClient) -> None:
    """A group's kinds come in its preferred version; a group that is not served has none."""

    def answer(seen: object) -> web.StreamResponse | None:
        path = getattr(seen, "path", "")
        if path == "/apis/crd.projectcalico.org":
            return web.json_response({"preferredVersion": {"version": "v1"}})
        if path == "/apis/crd.projectcalico.org/v1":
            kinds = [
                {"name": "ipamblocks", "kind": "IPAMBlock", "namespaced": False},
                {"name": "ipamblocks/status", "kind": "IPAMBlock", "namespaced": False},
            ]
            return web.json_response({"resources": kinds})
        return status(404, "NotFound")

    api.faults.append(answer)
    assert await client.discover("crd.projectcalico.org") == (
        KindRef("crd.projectcalico.org", "v1", "ipamblocks", False, "IPAMBlock"),
    )
    assert await client.discover("cilium.io") == ()


async def test_watching_raw(api: StubApi, client: KubeClient) -> None:
    """A watch gives the object, its own JSON, and bookmarks without an object; a 410 in it is an exception."""
    api.put("nodes", "n1", spec={"podCIDR": "10.244.1.0/24"})
    async with client.watch(NODES, resource_version="1") as stream:
        (first,) = await stream.batch() or []
        assert (first.type, first.name, first.resource_version) == ("ADDED", "n1", str(api.version))
        assert first.object["spec"] == {"podCIDR": "10.244.1.0/24"}
        assert msgspec.json.decode(bytes(first.raw)) == first.object
        api.bookmark("nodes")
        (mark,) = await stream.batch() or []
        assert (mark.type, mark.object, mark.initial_end) == ("BOOKMARK", None, False)
        api.send(b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n')
        with pytest.raises(KubeExpired):
            await stream.batch()


async def test_watching_one_by_one(api: StubApi, client: KubeClient) -> None:
    """Events can be taken one by one, until the server ends the watch."""
    api.put("nodes", "n1")
    api.put("nodes", "n2")
    api.close_at_once = True
    async with client.watch(NODES, resource_version="1") as stream:
        assert [event.name async for event in stream] == ["n1", "n2"]


async def test_giving_up_on_a_batch_loses_nothing(api: StubApi, client: KubeClient) -> None:
    """A reader that stops waiting gets the event the next time, even one that arrived in two pieces."""
    line = b'{"type":"ADDED","object":{"metadata":{"name":"n1","resourceVersion":"7"}}}\n'
    async with client.watch(NODES, resource_version="1") as stream:
        while not api.watchers:
            await asyncio.sleep(0)
        for piece in (line[:20], line[20:40]):
            api.send(piece)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await stream.batch()
        api.send(line[40:])
        (event,) = await stream.batch() or []
        assert event.name == "n1"


async def test_nothing_leaks(api: StubApi) -> None:
    """A token is in no message, representation or traceback, even if the server or a proxy sends it back."""
    api.faults.append(lambda seen: status(403, "Forbidden", f"you sent {seen.headers['Authorization']}"))
    async with KubeClient(Connection(server=api.url, token=SECRET)) as client:
        with pytest.raises(KubeForbidden) as caught:
            await client.get(NODES, "n1")
        assert "[redacted]" in str(caught.value)
        told = ["".join(traceback.format_exception(caught.value)), repr(caught.value), repr(client.connection)]
    async with KubeClient(Connection(server="http://127.0.0.1:1", token=SECRET)) as client:
        with pytest.raises(KubeUnreachable) as unreachable:
            await client.get(NODES, "n1")
        told += ["".join(traceback.format_exception(unreachable.value)), repr(unreachable.value.__cause__)]
    proxied = Connection(
        server="https://192.0.2.1", token="t", proxy_url=f"http://me:{SECRET}@127.0.0.1:{api.url.rpartition(':')[2]}"
    )
    async with KubeClient(proxied) as client:
        with pytest.raises(KubeUnreachable) as refused:
            await client.get(NODES, "n1")
        told += ["".join(traceback.format_exception(refused.value)), repr(refused.value.__cause__)]
    gone = Connection(server="https://192.0.2.1", token="t", proxy_url=f"http://me:{SECRET}@127.0.0.1:1")
    async with KubeClient(gone) as client:
        with pytest.raises(KubeUnreachable) as nobody:
            await client.get(NODES, "n1")
        told += ["".join(traceback.format_exception(nobody.value)), repr(nobody.value.__cause__)]
    assert not [text for text in told if SECRET in text]


async def test_a_redirect_is_not_followed(api: StubApi) -> None:
    """A token is not carried to wherever an answer points."""
    api.faults.append(lambda seen: web.Response(status=307, headers={"Location": f"{api.url}/elsewhere"}))
    async with KubeClient(Connection(server=api.url, token=SECRET)) as client:
        with pytest.raises(KubeError):
            await client.get(NODES, "n1")
    assert len(api.seen) == 1


async def test_a_silent_server_is_given_up(api: StubApi) -> None:
    """A server that accepts and says nothing costs the time-out: requests and watches alike."""
    async with StallingProxy(int(api.url.rpartition(":")[2])).serving() as proxy:
        proxy.stalled = True
        patience = Patience(connect=0.1, request=0.2, headers=0.1)
        async with KubeClient(Connection(server=f"http://127.0.0.1:{proxy.port}"), patience=patience) as client:
            with pytest.raises(KubeUnreachable, match="no answer in time"):
                await client.get(NODES, "n1")
            with pytest.raises(KubeUnreachable, match="no answer in time"):
                async with client.watch(NODES):
                    raise AssertionError("a watch without headers is not open")


async def test_a_silent_watch_is_given_up(api: StubApi, client: KubeClient) -> None:
    """A watch without a byte for longer than its read time-out ends."""
    with pytest.raises(KubeUnreachable):
        async with client.watch(NODES, read_timeout=0.1) as stream:
            await stream.batch()


async def test_through_an_http_proxy(api: StubApi) -> None:
    """``proxy-url`` is used: for plain HTTP the proxy is asked for the whole URL."""
    port = api.url.rpartition(":")[2]
    connection = Connection(server="http://127.0.0.1:9", proxy_url=f"http://127.0.0.1:{port}")
    async with KubeClient(connection) as client:
        assert await client.version() == "v1.31.0-stub"
    assert api.seen[0].headers["Host"] == "127.0.0.1:9"


async def test_sockets_notice_a_silent_cut(api: StubApi, client: KubeClient) -> None:
    """Connections probe an idle peer, and give up on unacknowledged data, within 15 s."""
    made = transport._socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0)))
    with made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        probes = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) * made.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_KEEPCNT
        )
        assert idle + probes <= 15
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 15_000
