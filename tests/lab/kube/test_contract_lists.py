"""Lists: selectors, pages, and versions of the past."""

from __future__ import annotations

import pytest

from lab.kube.talking import MAPS, NODES, Client, Json, config_map, node


def names(listed: Json) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("", ["a", "b", "c"]),
        ("tier=web", ["a"]),
        ("tier==web", ["a"]),
        ("tier!=web", ["b", "c"]),
        ("tier", ["a", "b"]),
        ("!tier", ["c"]),
        ("tier in (web, db)", ["a", "b"]),
        ("tier notin (web)", ["b", "c"]),
        ("tier,rank>1", ["b"]),
        ("rank<2", ["a"]),
        ("lab.dev/x=", ["c"]),
    ],
)
async def test_label_selectors(client: Client, selector: str, found: list[str]) -> None:
    """Every form of requirement selects what it says; several are all required."""
    await client.have(node("a", labels={"tier": "web", "rank": "1"}))
    await client.have(node("b", labels={"tier": "db", "rank": "2"}))
    await client.have(node("c", labels={"lab.dev/x": ""}))
    assert names((await client.get(NODES, labelSelector=selector))[1]) == found


@pytest.mark.parametrize("selector", ["a in b", "=x", "a=b=c", "a in (b", "rank>x"])
async def test_bad_label_selectors(client: Client, selector: str) -> None:
    """A selector that cannot be read is 400."""
    assert (await client.get(NODES, labelSelector=selector))[0] == 400


async def test_field_selectors(client: Client) -> None:
    """Names, and the few fields a kind offers, can be selected by; others are 400."""
    await client.have(node("a"))
    await client.have({**node("b"), "spec": {"unschedulable": True}})
    assert names((await client.get(NODES, fieldSelector="metadata.name=a"))[1]) == ["a"]
    assert names((await client.get(NODES, fieldSelector="metadata.name!=a"))[1]) == ["b"]
    assert names((await client.get(NODES, fieldSelector="spec.unschedulable=false"))[1]) == ["a"]
    code, said = await client.get(NODES, fieldSelector="spec.providerID=x")
    assert (code, said["message"]) == (400, "field label not supported: spec.providerID")


async def test_namespaces_separate_lists(client: Client) -> None:
    """A list of a namespace holds that namespace's objects, a list without one holds all."""
    for namespace in ("default", "kube-system"):
        await client.have(config_map("m", namespace=namespace))
    _, listed = await client.get("/api/v1/configmaps", fieldSelector="metadata.name=m")
    assert [item["metadata"]["namespace"] for item in listed["items"]] == ["default", "kube-system"]
    _, listed = await client.get(MAPS)
    assert [item["metadata"]["namespace"] for item in listed["items"]] == ["default"]


async def test_pages_are_of_one_moment(client: Client) -> None:
    """Pages of one list show the objects as they were at its first page, whatever happened since."""
    for name in "abcde":
        await client.have(node(name))
    _, first = await client.get(NODES, limit=2)
    assert names(first) == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 3
    await client.delete(f"{NODES}/c")
    await client.have(node("dd"))
    await client.have(node("e", labels={"new": "label"}))
    _, second = await client.get(NODES, limit=2, **{"continue": first["metadata"]["continue"]})
    _, third = await client.get(NODES, limit=2, **{"continue": second["metadata"]["continue"]})
    assert names(second) == ["c", "d"]
    assert names(third) == ["e"]
    assert "labels" not in third["items"][0]["metadata"]
    assert "continue" not in third["metadata"]
    assert {page["metadata"]["resourceVersion"] for page in (first, second, third)} == {
        first["metadata"]["resourceVersion"]
    }


async def test_a_page_of_a_selection_does_not_count_the_rest(client: Client) -> None:
    """With a selector the server does not say how much is left, and pages are full."""
    for number in range(6):
        await client.have(node(f"n{number}", labels={"odd": str(number % 2)}))
    _, page = await client.get(NODES, limit=2, labelSelector="odd=1")
    assert names(page) == ["n1", "n3"]
    assert "remainingItemCount" not in page["metadata"]
    _, page = await client.get(NODES, limit=2, labelSelector="odd=1", **{"continue": page["metadata"]["continue"]})
    assert names(page) == ["n5"]


async def test_a_continue_token_expires_with_its_version(client: Client) -> None:
    """After a compaction a token is 410 Expired, with another that goes on inconsistently; rubbish is 400."""
    for name in "abc":
        await client.have(node(name))
    _, first = await client.get(NODES, limit=1)
    await client.have(node("bb"))
    client.compact()
    code, said = await client.get(NODES, limit=1, **{"continue": first["metadata"]["continue"]})
    assert (code, said["reason"]) == (410, "Expired")
    _, rest = await client.get(NODES, **{"continue": said["metadata"]["continue"]})
    assert names(rest) == ["b", "bb", "c"]
    assert (await client.get(NODES, **{"continue": "rubbish"}))[0] == 400


async def test_versions_of_lists(client: Client) -> None:
    """Exact shows the past, NotOlderThan the present, a version to come is 504 with a reason to wait."""
    await client.have(node("a"))
    then = await client.version()
    await client.have(node("b"))
    exact = {"resourceVersion": then, "resourceVersionMatch": "Exact"}
    assert names((await client.get(NODES, **exact))[1]) == ["a"]
    assert (await client.get(NODES, **exact))[1]["metadata"]["resourceVersion"] == str(then)
    assert names((await client.get(NODES, resourceVersion=then, resourceVersionMatch="NotOlderThan"))[1]) == [
        "a",
        "b",
    ]
    code, said = await client.get(NODES, resourceVersion=await client.version() + 10)
    assert (code, said["reason"]) == (504, "Timeout")
    assert said["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    client.compact()
    assert (await client.get(NODES, **exact))[0] == 410
    code, said = await client.get(NODES, resourceVersionMatch="Exact")
    assert (code, said["details"]["kind"]) == (422, "ListOptions")
    code, said = await client.get(NODES, resourceVersion="x")
    assert (code, "reason" in said) == (500, False), "as the real server has it"


async def test_version_zero_ignores_the_limit(client: Client) -> None:
    """As from the watch cache, a list at version 0 comes whole."""
    for name in "abc":
        await client.have(node(name))
    _, listed = await client.get(NODES, resourceVersion="0", limit=1)
    assert names(listed) == ["a", "b", "c"]


async def test_metadata_only(client: Client) -> None:
    """A client that wants names and labels gets PartialObjectMetadata."""
    await client.have(node("a", labels={"x": "y"}))
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    async with client.session.get(NODES, headers=accept) as response:
        listed = await response.json()
    assert listed["kind"] == "PartialObjectMetadataList"
    assert listed["items"][0]["metadata"]["labels"] == {"x": "y"}
    assert "spec" not in listed["items"][0]
    async with client.session.get(NODES, headers={"Accept": "text/html"}) as response:
        assert response.status == 406
