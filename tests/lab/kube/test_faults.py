"""What a test can make go wrong, and what it can count."""

from __future__ import annotations

import time

import aiohttp

from isthmus.lab.kube import KubeApi
from lab.kube.talking import MAPS, NODES, Client, config_map, node


async def test_the_next_requests_fail(client: Client, api: KubeApi) -> None:
    """Matching requests fail as told, as often as told, and others do not."""
    api.put(node("a"))
    api.faults.fail_next(2, status=429, verb="list", resource="nodes", retry_after=3)
    assert (await client.get(f"{NODES}/a"))[0] == 200
    for _ in range(2):
        async with client.session.get(NODES) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "3")
            said = await response.json()
        assert (said["reason"], said["details"]["retryAfterSeconds"]) == ("TooManyRequests", 3)
    assert (await client.get(NODES))[0] == 200
    api.faults.fail_next(status=503)
    assert (await client.get(NODES))[0] == 503


async def test_a_denied_user_is_told_so(client: Client, api: KubeApi) -> None:
    """403 names user, verb, resource, group and scope; a review tells the same; allowing ends it."""
    api.faults.deny("admin", verb="list", resource="nodes")
    code, said = await client.get(NODES)
    assert (code, said["reason"]) == (403, "Forbidden")
    assert said["message"] == (
        'nodes is forbidden: User "admin" cannot list resource "nodes" in API group "" at the cluster scope'
    )
    assert (await client.get(f"{NODES}/a"))[0] == 404
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    for verb, allowed in (("list", False), ("get", True)):
        spec = {"resourceAttributes": {"verb": verb, "resource": "nodes"}}
        code, said = await client.post(reviews, {"spec": spec})
        assert (code, said["status"]["allowed"]) == (201, allowed)
    api.faults.deny("admin", resource="endpointslices")
    _, said = await client.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/x")
    assert said["message"] == (
        'endpointslices.discovery.k8s.io "x" is forbidden: User "admin" cannot get resource "endpointslices" in API '
        'group "discovery.k8s.io" in the namespace "default"'
    )
    api.faults.allow("admin", verb="list", resource="nodes")
    assert (await client.get(NODES))[0] == 200


async def test_tokens(client: Client, api: KubeApi) -> None:
    """No token or a wrong one is 401; tokens come and go while the server runs; health needs none."""
    async with aiohttp.ClientSession(client.endpoint.url) as session:
        async with session.get(NODES) as response:
            said = await response.json()
            assert (response.status, said["reason"], said["message"]) == (401, "Unauthorized", "Unauthorized")
        for path in ("/healthz", "/livez", "/readyz", "/version"):
            async with session.get(path) as response:
                assert response.status == 200
        other = {"Authorization": "Bearer rotated"}
        async with session.get("/version", headers=other) as response:
            assert response.status == 401
        api.access.tokens["rotated"] = "robot"
        who = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        async with session.post(who, headers=other, json={}) as response:
            assert (await response.json())["status"]["userInfo"]["username"] == "robot"
    del api.access.tokens[client.endpoint.token]
    assert (await client.get(NODES))[0] == 401


async def test_empty_lists(client: Client, api: KubeApi) -> None:
    """A list can be made to lie: success, a version, no items."""
    api.put(node("a"))
    api.faults.empty_lists("nodes")
    code, listed = await client.get(NODES)
    assert (code, listed["items"]) == (200, [])
    assert len((await client.get(NODES))[1]["items"]) == 1


async def test_streamed_lists_can_be_empty_too(client: Client, api: KubeApi) -> None:
    """A watch that begins with the list shows nothing and then the list's end."""
    api.put(node("a"))
    api.faults.empty_lists("nodes")
    how = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    watch = await client.watch(NODES, **how)
    kind, end = await watch.next()
    assert kind == "BOOKMARK"
    assert end["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_latency(client: Client, api: KubeApi) -> None:
    """Matching requests are late, others are not."""
    api.faults.delay(0.1, verb="list")
    start = time.monotonic()
    await client.get(NODES)
    assert time.monotonic() - start >= 0.1
    api.faults.clear()
    assert api.faults.latency("list", "nodes") == 0


async def test_counters(client: Client, api: KubeApi) -> None:
    """Requests are counted by verb, resource and agent; writes are those that ask for a change."""
    await client.get(NODES)
    await client.post(MAPS, config_map("a"))
    await client.post(MAPS, config_map("a"))
    await client.patch(f"{MAPS}/a", {})
    await client.delete(f"{MAPS}/a")
    api.put(node("x"))
    assert api.faults.requests == {
        ("list", "nodes"): 1,
        ("create", "configmaps"): 2,
        ("patch", "configmaps"): 1,
        ("delete", "configmaps"): 1,
    }
    assert api.faults.by_agent[("tests/1", "create", "configmaps")] == 2
    assert api.faults.writes == 4


async def test_a_bug_looks_like_a_broken_server(client: Client, api: KubeApi, monkeypatch: object) -> None:
    """An exception of ours is answered with 500 and a Status."""
    api.objects.store = None  # type: ignore[assignment]
    code, said = await client.get(f"{NODES}/a")
    assert (code, said["reason"]) == (500, "InternalError")


async def test_administration_from_another_process(api: KubeApi) -> None:
    """The faults are methods over HTTP too, for who has the token."""
    async with api.serving(admin=True) as endpoint:
        headers = {"Authorization": f"Bearer {endpoint.token}"}
        async with aiohttp.ClientSession(endpoint.admin_url, headers=headers) as session:
            failure = {"count": 1, "status": 503, "verb": "list"}
            async with session.post("/fail-next", json=failure) as response:
                assert response.status == 200
            assert api.faults.failure("list", "nodes") is not None
            async with session.post("/compact") as response:
                assert response.status == 200
            async with session.post("/fail-next", json={"nonsense": 1}) as response:
                assert response.status == 400
            async with session.post("/explode") as response:
                assert response.status == 404
            async with session.get("/") as response:
                assert (await response.json())["writes"] == 0
        async with aiohttp.ClientSession() as session, session.post(f"{endpoint.admin_url}/compact") as response:
            assert response.status == 401
