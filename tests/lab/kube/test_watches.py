"""Watches: what is told, from when, to whom, and how they end."""

from __future__ import annotations

import aiohttp
import pytest

from isthmus.lab.kube import KubeApi
from lab.kube.talking import NODES, Client, Json, config_map, node, until


@pytest.fixture
def options() -> Json:
    return {"tls": False, "bookmark_every": 0.05}


async def test_bookmarks_move_the_version_on(client: Client, api: KubeApi) -> None:
    """Bookmarks come now and then to who allows them, name the present version and no object."""
    watch = await client.watch(NODES, resourceVersion=api.store.rv, allowWatchBookmarks="true")
    other = await client.watch(NODES, resourceVersion=api.store.rv)
    api.put(config_map("elsewhere"))
    kind, obj = await watch.next()
    assert kind == "BOOKMARK"
    assert obj["kind"] == "Node"
    assert obj["metadata"]["resourceVersion"] == str(api.store.rv)
    assert "name" not in obj["metadata"]
    assert await other.silent()


async def test_the_time_of_a_watch_ends_with_a_bookmark(client: Client, api: KubeApi) -> None:
    """Before a watch ends in time, who allows bookmarks is told how far it has got."""
    watch = await client.watch(NODES, timeoutSeconds="0.2", allowWatchBookmarks="1", resourceVersion=api.store.rv)
    kinds = []
    try:
        while True:
            kinds.append((await watch.next())[0])
    except EOFError:
        assert set(kinds) == {"BOOKMARK"}


async def test_a_server_without_streaming_lists() -> None:
    """An older server says 422, in the words that clients fall back on."""
    async with (
        KubeApi(tls=False, streaming_lists=False).serving() as endpoint,
        aiohttp.ClientSession(endpoint.url, headers={"Authorization": f"Bearer {endpoint.token}"}) as session,
    ):
        asked = {"watch": "1", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        async with session.get(NODES, params=asked) as response:
            said = await response.json()
    assert (response.status, said["reason"]) == (422, "Invalid")
    assert said["message"] == (
        'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch '
        "unless the WatchList feature gate is enabled"
    )


async def test_a_version_too_old_is_gone_in_both_forms(client: Client, api: KubeApi) -> None:
    """After a compaction a watch gets 410 as an ERROR event, or as the HTTP status."""
    old = api.store.rv
    api.put(node("a"))
    api.compact()
    watch = await client.watch(NODES, resourceVersion=old)
    kind, said = await watch.next()
    assert (kind, said["code"], said["reason"]) == ("ERROR", 410, "Expired")
    assert said["message"].startswith(f"too old resource version: {old} (")
    with pytest.raises(EOFError):
        await watch.next()
    api.faults.expired_as_http = True
    code, said = await client.get(NODES, watch=1, resourceVersion=old)
    assert (code, said["code"], said["reason"]) == (410, 410, "Expired")
    api.put(node("b"))
    watch = await client.watch(NODES, resourceVersion=api.store.rv - 1)
    assert await watch.names(1) == [("ADDED", "b")]


async def test_a_short_history_forgets() -> None:
    """Only as many changes as the history holds can be caught up with."""
    api = KubeApi(tls=False, history=2)
    for number in range(4):
        api.put(node(f"n{number}"))
    bucket = api.store.bucket("nodes")
    assert (bucket.floor, len(bucket.history)) == (api.store.rv - 2, 2)


async def test_closed_watches(client: Client, api: KubeApi) -> None:
    """Watches end cleanly, or by a reset, when a test says so; the server forgets both."""
    clean = await client.watch(NODES)
    await until(lambda: api.watches("Node") == 1)
    assert api.close_watches("nodes") == 1
    with pytest.raises(EOFError):
        await clean.next()
    reset = await client.watch(NODES)
    await until(lambda: api.watches() == 1)
    api.close_watches(abrupt=True)
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await reset.next()
    await until(lambda: api.watches() == 0)


async def test_a_client_that_goes_is_forgotten(client: Client, api: KubeApi) -> None:
    """A quiet watch whose client hangs up does not stay."""
    watch = await client.watch(NODES)
    await until(lambda: api.watches() == 1)
    watch.response.close()
    await until(lambda: api.watches() == 0)


async def test_frozen_watches_are_silent_until_thawed(client: Client, api: KubeApi) -> None:
    """A half-open watch sends nothing, not even bookmarks or its end; new ones freeze too when asked."""
    watch = await client.watch(NODES, allowWatchBookmarks="1", resourceVersion=api.store.rv, timeoutSeconds="0.3")
    await until(lambda: api.watches() == 1)
    while not await watch.silent(0.01):
        pass
    assert api.freeze_watches(new=True) == 1
    while not await watch.silent():
        pass  # what was on its way before
    later = await client.watch(NODES, resourceVersion=api.store.rv)
    api.put(node("a"))
    assert await watch.silent(0.4)
    assert await later.silent()
    api.thaw_watches()
    assert ("ADDED", "a") in await watch.names(1)
    assert await later.names(1) == [("ADDED", "a")]


async def test_a_slow_watcher_is_closed_not_kept() -> None:
    """What waits for a watcher is bounded; beyond that it is closed."""
    from isthmus.lab.kube.objects import JsonForm
    from isthmus.lab.kube.watching import Watcher

    api = KubeApi(tls=False)
    aborted: list[bool] = []
    watcher = Watcher(JsonForm(api.resource("nodes")), limit=3)
    watcher.abort = lambda: aborted.append(True)
    api.store.bucket("nodes").watchers.add(watcher)
    for number in range(5):
        api.put(node(f"n{number}"))
    assert watcher.closed
    assert aborted == [True]
    assert len(watcher.waiting) == 0


async def test_a_restore_from_backup_goes_back(client: Client, api: KubeApi) -> None:
    """Objects and versions go back, watches end, and a watch from the lost future waits in silence."""
    api.put(node("a"))
    backup = api.backup()
    api.put(node("b"))
    lost = api.store.rv
    watch = await client.watch(NODES, resourceVersion=lost)
    uid = api.get("Namespace", "kube-system")["metadata"]["uid"]
    api.restore(backup)
    with pytest.raises(EOFError):
        await watch.next()
    _, listed = await client.get(NODES)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["a"]
    assert int(listed["metadata"]["resourceVersion"]) < lost
    assert api.get("Namespace", "kube-system")["metadata"]["uid"] == uid
    future = await client.watch(NODES, resourceVersion=lost + 5, allowWatchBookmarks="1")
    api.put(node("c"))
    assert await future.silent()


async def test_the_end_of_a_streamed_list_is_of_its_own_version(api: KubeApi) -> None:
    """A change between the list and its end mark comes after the mark and with a higher version: nothing can be lost."""
    from isthmus.lab.kube.listing import read_query, start_watch
    from isthmus.lab.kube.objects import JsonForm

    api.put(node("a"))
    then = api.store.rv
    resource = api.resource("nodes")
    asked = {
        "watch": "1",
        "sendInitialEvents": "1",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "1",
    }
    start = start_watch(api.store, resource, "", read_query(resource, asked), JsonForm(resource), streaming=True)
    api.put(node("b"))
    assert start.initial_end == then
    assert b'"name":"b"' not in b"".join(start.opening)
    assert b'"name":"b"' in start.watcher.take()


async def test_compaction_reaches_kinds_without_objects(client: Client, api: KubeApi) -> None:
    """A version that was compacted is gone for a kind that nothing was ever stored of, too."""
    old = api.store.rv
    api.put(node("a"))
    api.compact()
    api.faults.expired_as_http = True
    assert (await client.get("/api/v1/pods", watch=1, resourceVersion=old))[0] == 410


def test_a_backup_can_move_to_another_server() -> None:
    """A new server takes an old one's backup over, uid of the cluster and versions included."""
    first, second = KubeApi(tls=False), KubeApi(tls=False)
    first.put(config_map("m"))
    second.restore(first.backup())
    assert second.get("ConfigMap", "m") == first.get("ConfigMap", "m")
    assert second.get("Namespace", "kube-system") == first.get("Namespace", "kube-system")
    assert second.store.rv == first.store.rv
