"""What is said of claims: each is said once, again when it moves, and taken back when it goes."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

from isthmus.app.vip_status import VipStatuses
from isthmus.core.world import World
from isthmus.model.kinds import ClusterLink, KubeCluster, VirtualIP, parse, vip_name
from isthmus.model.resources import VirtualAddress

HOLDER = {"cluster": "east", "namespace": "shop", "service": "web"}


def _object(kind: str, name: str, spec: dict[str, Any]) -> Any:
    head = {"apiVersion": "isthmus.dev/v1alpha1", "kind": kind, "metadata": {"name": name}}
    return parse({**head, "spec": spec}).object


def _claim(text: str, **more: Any) -> VirtualIP:
    found = _object("VirtualIP", vip_name(ip_address(text)), {"address": text, **(more or {"holder": HOLDER})})
    assert isinstance(found, VirtualIP)
    return found


def _world() -> tuple[World, dict[str, Any], Any]:
    world, observed = World(), dict[str, Any]()
    cluster = _object("KubeCluster", "east", {"inCluster": True})
    link = _object("ClusterLink", "lab", {"cluster": "east", "devices": ["gw1"], "path": "direct"})
    assert isinstance(cluster, KubeCluster)
    assert isinstance(link, ClusterLink)
    world.cluster_kinds["east"], world.links["lab"] = cluster, link
    worker = SimpleNamespace(planner=SimpleNamespace(observed=observed), status=SimpleNamespace(reachable=True))
    return world, observed, SimpleNamespace(workers={"gw1": worker})


async def test_only_what_moved_is_said_again() -> None:
    world, observed, fleet = _world()
    statuses = VipStatuses(world, fleet)
    for number in range(1, 500):
        claim = _claim(f"198.51.{number // 250}.{number % 250}")
        world.put_vip(claim.name, claim)
    await statuses.look({})
    assert len(statuses.new) == 499
    statuses.written()
    await statuses.look({})
    assert not statuses.new, "nothing moved"

    observed["vip 198.51.0.7"] = VirtualAddress(ip_address("198.51.0.7"), "lo")
    world.put_vip("198.51.0.8", None)
    kept = _claim("198.51.0.9", reservation=True)
    world.put_vip(kept.name, kept)
    await statuses.look({})
    assert {name: words["served"] for (_, name), words in statuses.new.items()} == {
        "198.51.0.7": ["gw1"],
        "198.51.0.9": [],
    }
    assert statuses.new["VirtualIP", "198.51.0.9"]["holder"] == "reserved"
    assert statuses.gone == {("VirtualIP", "198.51.0.8")}
    assert len(statuses.everything()) == 498


async def test_what_an_earlier_process_said_is_neither_repeated_nor_left_behind() -> None:
    world, _, fleet = _world()
    claim = _claim("198.51.100.1")
    world.put_vip(claim.name, claim)
    first = VipStatuses(world, fleet)
    await first.look({})
    said = {name: words for (_, name), words in first.new.items()}

    second = VipStatuses(world, fleet)
    second.remember({**said, "198.51.100.2": {"holder": "somebody who is gone"}})
    await second.look({})
    assert not second.new
    assert second.gone == {("VirtualIP", "198.51.100.2")}


async def test_an_address_that_comes_back_is_not_gone() -> None:
    world, _, fleet = _world()
    statuses, claim = VipStatuses(world, fleet), _claim("198.51.100.1")
    world.put_vip(claim.name, claim)
    await statuses.look({})
    world.put_vip(claim.name, None)
    await statuses.look({})
    assert statuses.gone
    assert not statuses.new
    world.put_vip(claim.name, claim)
    await statuses.look({})
    assert not statuses.gone
    assert statuses.new.keys() == {("VirtualIP", claim.name)}
