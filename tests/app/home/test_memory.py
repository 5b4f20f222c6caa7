"""The small memory is one ConfigMap, written with care and never larger than the configuration."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from ipaddress import ip_interface
from typing import Any

import pytest

from isthmus.app.home.memory import HomeMemory
from isthmus.core.world import Choice
from isthmus.errors import StateError
from isthmus.kube.client import KubeClient
from isthmus.kube.kubeconfig import load
from isthmus.model.kinds import VirtualIP, parse
from isthmus.registry.state import StateDirectory

from .rig import Place, node, service, thing, until

NAMESPACE = "isthmus-system"
DIRECT = Choice("direct", "all nodes answer", (("flannel", "no annotations"),))


@pytest.fixture
async def client(home: Place) -> AsyncIterator[KubeClient]:
    async with KubeClient(load(home.endpoint.kubeconfig_path)) as made:
        yield made


def data(home: Place) -> dict[str, Any]:
    """Return what the ConfigMap says."""
    found = home.api.get("ConfigMap", "isthmus-memory", NAMESPACE)["data"]
    return {key: json.loads(text) for key, text in found.items()}


async def test_what_is_kept_is_read_again(home: Place, client: KubeClient) -> None:
    """Choices, addresses and identities come back as they went in, in another process."""
    memory = HomeMemory(client, NAMESPACE)
    await memory.read()
    own = (ip_interface("172.31.0.254/24"), ip_interface("fd00:31::ffff/64"))
    await memory.keep_choice("main", DIRECT)
    await memory.keep_addresses("main", {"gw1": own})
    await memory.keep_uid("prod", "0a1b")
    again = HomeMemory(client, NAMESPACE)
    await again.read()
    assert await again.choices() == {"main": DIRECT}
    assert await again.addresses("main") == {"gw1": own}
    assert await again.uids() == {"prod": "0a1b"}
    await again.forget_link("main")
    assert data(home) == {"choices": {}, "device-addresses": {}, "cluster-uids": {"prod": "0a1b"}}


async def test_equal_values_are_not_written(home: Place, client: KubeClient) -> None:
    """Keeping what is kept already writes nothing."""
    memory = HomeMemory(client, NAMESPACE)
    await memory.keep_choice("main", DIRECT)
    writes = home.api.faults.writes
    await memory.keep_choice("main", DIRECT)
    await memory.forget_link("other")
    assert home.api.faults.writes == writes


async def test_two_who_write_lose_nothing(home: Place, client: KubeClient) -> None:
    """A write that rests on an old version keeps what the other wrote meanwhile; of one entry, the earlier write stands."""
    one, other = HomeMemory(client, NAMESPACE), HomeMemory(client, NAMESPACE)
    await one.read()
    await other.read()
    await one.keep_choice("main", DIRECT)
    await other.keep_choice("main", Choice("overlay", "asked for"))
    await other.keep_choice("second", Choice("overlay", "asked for"))
    assert {link: choice["path"] for link, choice in data(home)["choices"].items()} == {
        "main": "direct",
        "second": "overlay",
    }
    assert (await other.choices())["main"] == DIRECT
    await one.keep_choice("main", Choice("flannel", "anew"))  # what it changes is as it knows it
    assert {link: choice["path"] for link, choice in data(home)["choices"].items()} == {
        "main": "flannel",
        "second": "overlay",
    }


async def test_a_deleted_map_is_written_anew(home: Place, client: KubeClient) -> None:
    """Somebody deletes the ConfigMap: the next write brings back everything that is known."""
    memory = HomeMemory(client, NAMESPACE)
    await memory.keep_choice("main", DIRECT)
    home.api.delete("ConfigMap", "isthmus-memory", NAMESPACE)
    await memory.keep_uid("prod", "0a1b")
    assert data(home)["choices"]["main"]["path"] == "direct"
    assert data(home)["cluster-uids"] == {"prod": "0a1b"}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("choices", "{"),
        ("choices", "[]"),
        ("choices", '{"main": 1}'),
        ("choices", '{"main": {"path": "warp", "why": ""}}'),
        ("choices", '{"main": {"why": ""}}'),
        ("device-addresses", '{"main": 1}'),
        ("device-addresses", '{"main": {"gw1": ["x"]}}'),
    ],
)
async def test_what_does_not_parse_is_an_error(home: Place, client: KubeClient, key: str, text: str) -> None:
    """A map that a person broke is never taken for an empty one; the message says which key and what to do."""
    head = {"name": "isthmus-memory", "namespace": NAMESPACE}
    home.api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": {key: text}})
    with pytest.raises(StateError, match=rf"isthmus-system/isthmus-memory, key {key}: does not parse .* mend it"):
        await HomeMemory(client, NAMESPACE).read()


async def test_a_missing_namespace_is_named(home: Place, client: KubeClient) -> None:
    """Without its namespace nothing can be remembered, and the message says what to create."""
    with pytest.raises(StateError, match=r"namespace nowhere .* create it, or name another with --namespace"):
        await HomeMemory(client, "nowhere").keep_choice("main", DIRECT)


async def test_it_does_not_grow_with_nodes_or_services(home: Place) -> None:
    """What is remembered is as large for many nodes and Services as for few."""
    home.join(path="overlay", overlay={"networks": ["172.31.0.0/24"]})
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/26"]})
    async with home.controller():
        await until(lambda: home.status("ClusterLink", "main").get("nodesJoined") == 3)
        size = len(json.dumps(data(home)))
        for number in range(4, 24):
            home.api.put(node(number))
            home.api.put(service(f"s{number}"))
        await until(lambda: home.status("ClusterLink", "main").get("nodesJoined") == 23)
        await until(lambda: len(home.api.list("VirtualIP")) == 20)
        assert len(json.dumps(data(home))) == size


async def test_a_state_directory_is_carried_over(home: Place) -> None:
    """Who begins to use a home cluster keeps the addresses and paths that the state directory remembers."""
    home.join(path="auto")
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    home.api.put(service("web"))
    holder = {"cluster": "prod", "namespace": "default", "service": "web"}
    claim = parse(
        thing("VirtualIP", "198.51.100.7", {"address": "198.51.100.7", "pool": "pool", "holder": holder})
    ).object
    assert isinstance(claim, VirtualIP)
    async with StateDirectory(home.directory / "state") as state:
        await state.create_claim(claim)
        await state.choose("main", {"path": "direct", "why": "as before", "rejected": []})
    async with home.controller(state=True):
        await until(lambda: home.is_so("VirtualIP", "198.51.100.7", "Ready"))
        await until(lambda: home.status("ClusterLink", "main").get("why") == "as before")
        assert len(home.api.list("VirtualIP")) == 1
    with StateDirectory.read(home.directory / "state") as left:
        assert (left.claims(), left.choices()) == ((), {})
