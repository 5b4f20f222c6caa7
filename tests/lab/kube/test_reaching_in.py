"""What a test may do to the server without HTTP, and what its few controllers do."""

from __future__ import annotations

from isthmus.lab.kube import KubeApi
from lab.kube.talking import Client, config_map, node


async def test_namespaces_take_their_content_along(client: Client) -> None:
    """A deleted namespace empties itself, finalizers permitting, and goes."""
    await client.post("/api/v1/namespaces", {"metadata": {"name": "n"}})
    maps = "/api/v1/namespaces/n/configmaps"
    await client.post(maps, config_map("plain"))
    await client.post(maps, config_map("held", finalizers=["lab.dev/x"]))
    _, going = await client.delete("/api/v1/namespaces/n")
    assert going["status"]["phase"] == "Terminating"
    assert [item["metadata"]["name"] for item in (await client.get(maps))[1]["items"]] == ["held"]
    await client.patch(f"{maps}/held", {"metadata": {"finalizers": []}})
    assert (await client.get("/api/v1/namespaces/n"))[0] == 404


async def test_the_shortcuts_go_the_same_way(api: KubeApi) -> None:
    """``put`` creates, replaces and sets the status; it validates as HTTP does and leaves its argument alone."""
    wish = {**node("a"), "status": {"addresses": []}}
    first = api.put(wish)
    assert wish == {**node("a"), "status": {"addresses": []}}
    again = api.put({**node("a", labels={"x": "y"}), "status": {"addresses": [{"type": "Hostname", "address": "a"}]}})
    assert again["metadata"]["uid"] == first["metadata"]["uid"]
    assert again["status"]["addresses"][0]["address"] == "a"
    assert [found["metadata"]["name"] for found in api.list("nodes", selector="x=y")] == ["a"]
    api.delete("Node", "a")
    assert api.list("Node") == []


def test_every_server_is_another_cluster() -> None:
    """kube-system's uid stands for the cluster."""
    one, two = (KubeApi(tls=False).get("Namespace", "kube-system")["metadata"]["uid"] for _ in range(2))
    assert one != two
