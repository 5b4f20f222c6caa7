"""Watches: what is told, from when and to whom."""

from __future__ import annotations

import pytest

from lab.kube.talking import MAPS, NODES, Client, Json, config_map, node


async def test_changes_arrive_in_order(client: Client) -> None:
    """A watch from a version tells every change after it, with type meta, in order."""
    await client.have(node("before"))
    watch = await client.watch(NODES, resourceVersion=await client.version())
    await client.have(node("a"))
    await client.have(node("a", labels={"x": "y"}))
    await client.delete(f"{NODES}/a")
    kinds, versions = [], []
    for _ in range(3):
        kind, obj = await watch.next()
        assert (obj["kind"], obj["apiVersion"], obj["metadata"]["name"]) == ("Node", "v1", "a")
        kinds.append(kind)
        versions.append(int(obj["metadata"]["resourceVersion"]))
    assert kinds == ["ADDED", "MODIFIED", "DELETED"]
    assert versions == sorted(set(versions))
    assert versions[-1] <= await client.version()


@pytest.mark.parametrize("version", [{}, {"resourceVersion": "0"}])
async def test_a_watch_from_nowhere_begins_with_what_is_there(client: Client, version: Json) -> None:
    """Without a version, or from 0, the objects that exist come first as ADDED."""
    await client.have(node("a"))
    await client.have(node("b"))
    watch = await client.watch(NODES, **version)
    await client.have(node("c"))
    assert await watch.names(3) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]


async def test_a_watch_goes_on_from_a_version_of_the_past(client: Client) -> None:
    """What happened since the version is told first, then what happens."""
    start = await client.version()
    await client.have(node("a"))
    await client.delete(f"{NODES}/a")
    watch = await client.watch(NODES, resourceVersion=start)
    await client.have(node("b"))
    assert await watch.names(3) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b")]


async def test_selectors_translate_changes(client: Client) -> None:
    """An object that starts to match is ADDED, one that stops is DELETED as it was last, with the new version."""
    await client.have(node("a"))
    watch = await client.watch(NODES, resourceVersion=await client.version(), labelSelector="on=1")
    await client.have(node("a", labels={"on": "1"}))
    await client.have(node("a", labels={"on": "1", "more": "1"}))
    await client.have(node("a", labels={"on": "0"}))
    await client.have(node("a", labels={"on": "0", "more": "1"}))
    await client.have(node("a", labels={"on": "1"}))
    await client.delete(f"{NODES}/a")
    events = [await watch.next() for _ in range(5)]
    assert [kind for kind, _ in events] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    gone = events[2][1]["metadata"]
    assert gone["labels"] == {"on": "1", "more": "1"}
    assert int(gone["resourceVersion"]) > int(events[1][1]["metadata"]["resourceVersion"])


async def test_the_same_translation_holds_for_the_past(client: Client) -> None:
    """Changes replayed from the history are translated as live ones are."""
    start = await client.version()
    await client.have(node("a", labels={"on": "1"}))
    await client.have(node("a"))
    watch = await client.watch(NODES, resourceVersion=start, labelSelector="on=1")
    assert await watch.names(2) == [("ADDED", "a"), ("DELETED", "a")]


async def test_watches_of_a_name_and_of_a_namespace(client: Client) -> None:
    """A watch is told only of its namespace, and with metadata.name only of that object."""
    one = await client.watch(MAPS, fieldSelector="metadata.name=b")
    space = await client.watch(MAPS)
    await client.have(config_map("b", namespace="kube-system"))
    await client.have(config_map("a"))
    await client.have(config_map("b"))
    assert await one.names(1) == [("ADDED", "b")]
    assert (await client.get(f"{MAPS}/b", watch=1))[1]["kind"] == "ConfigMap", (
        "a path with a name is read, not watched"
    )
    assert await space.names(2) == [("ADDED", "a"), ("ADDED", "b")]
    assert await one.silent()


async def test_the_time_of_a_watch_is_told(client: Client) -> None:
    """After timeoutSeconds the stream ends cleanly, with no event that was none."""
    version = await client.version()
    watch = await client.watch(NODES, timeoutSeconds=1, allowWatchBookmarks="1", resourceVersion=version)
    kinds = set()
    try:
        while True:
            kinds.add((await watch.next())[0])
    except EOFError:
        assert kinds <= {"BOOKMARK"}


async def test_streaming_lists(client: Client) -> None:
    """sendInitialEvents sends the objects, then the annotated bookmark, then changes."""
    await client.have(node("a"))
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    watch = await client.watch(NODES, **asked)
    assert await watch.names(1) == [("ADDED", "a")]
    kind, mark = await watch.next()
    assert kind == "BOOKMARK"
    assert mark["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
    assert mark["metadata"]["resourceVersion"] == str(await client.version())
    code, said = await client.get(NODES, watch=1, **{**asked, "resourceVersionMatch": ""})
    assert (code, said["details"]["causes"][0]["field"]) == (422, "resourceVersionMatch")
