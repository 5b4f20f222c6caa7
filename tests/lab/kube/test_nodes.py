"""Nodes: pod CIDRs once set, and the allocator that sets them."""

from __future__ import annotations

import pytest

from isthmus.lab.kube import ApiError, KubeApi
from lab.kube.talking import NODES, Client, Json, node


def with_cidrs(name: str, *cidrs: str) -> Json:
    return {**node(name), "spec": {"podCIDRs": list(cidrs)}}


async def test_a_pod_cidr_stays(client: Client) -> None:
    """A pod CIDR can be set once; after that any change is refused in the real words."""
    await client.post(NODES, node("a"))
    code, changed = await client.patch(f"{NODES}/a", {"spec": {"podCIDR": "10.244.1.0/24"}})
    assert (code, changed["spec"]["podCIDRs"]) == (200, ["10.244.1.0/24"])
    code, said = await client.put(f"{NODES}/a", with_cidrs("a", "10.244.2.0/24"))
    assert code == 422
    assert said["message"] == (
        'Node "a" is invalid: spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'
    )
    assert (await client.put(f"{NODES}/a", node("a")))[0] == 422


@pytest.mark.parametrize(
    ("cidrs", "field"),
    [
        (("nonsense",), "spec.podCIDRs[0]"),
        (("10.0.0.1",), "spec.podCIDRs[0]"),
        (("10.0.0.0/24", "10.0.1.0/24"), "spec.podCIDRs"),
    ],
)
async def test_bad_pod_cidrs(client: Client, cidrs: tuple[str, ...], field: str) -> None:
    """What is no CIDR, or two of one family, is invalid."""
    code, said = await client.post(NODES, with_cidrs("a", *cidrs))
    assert (code, said["details"]["causes"][0]["field"]) == (422, field)


def test_the_allocator_gives_each_node_its_own() -> None:
    """A node without a pod CIDR gets the next free one of each family, by an update after its creation."""
    api = KubeApi(cluster_cidrs=("10.244.0.0/16", "fd00:10:244::/56"), node_masks=(24, 64), tls=False)
    before = api.store.rv
    assert api.put(node("a"))["spec"]["podCIDRs"] == ["10.244.0.0/24", "fd00:10:244::/64"]
    assert api.store.rv == before + 2
    assert api.put(node("b"))["spec"]["podCIDR"] == "10.244.1.0/24"


def test_the_allocator_avoids_what_is_used() -> None:
    """Blocks set by hand, of any size, are not given again; a freed one is, once the rest has been given."""
    api = KubeApi(cluster_cidrs=("10.244.0.0/22",), tls=False)
    api.put(with_cidrs("hand", "10.244.0.0/25"))
    api.put(with_cidrs("other", "10.244.2.0/24"))
    assert api.put(node("a"))["spec"]["podCIDR"] == "10.244.1.0/24"
    assert api.put(node("b"))["spec"]["podCIDR"] == "10.244.3.0/24"
    assert "podCIDR" not in api.put(node("none"))["spec"]
    api.delete("Node", "a")
    assert api.put(node("c"))["spec"]["podCIDR"] == "10.244.1.0/24"


def test_without_cluster_cidrs_nothing_is_given() -> None:
    """The allocator is off by default."""
    assert KubeApi(tls=False).put(node("a"))["spec"] == {}


def test_a_restore_gives_blocks_free_again() -> None:
    """After a restore, blocks of nodes that never were can be given again, and those in use are not."""
    api = KubeApi(cluster_cidrs=("10.244.0.0/23",), tls=False)
    api.put(node("a"))
    backup = api.backup()
    api.put(node("b"))
    api.restore(backup)
    assert api.put(node("c"))["spec"]["podCIDR"] == "10.244.1.0/24"


def test_the_providers_id_stays() -> None:
    """A provider's id may be set once."""
    api = KubeApi(tls=False)
    api.put({**node("a"), "spec": {"providerID": "lab://1"}})
    with pytest.raises(ApiError, match="may not change providerID"):
        api.put({**node("a"), "spec": {"providerID": "lab://2"}})
