"""The router's ConfigMap: exactly its keys, the marker never without the rest, foreign keys left alone, 0 writes in sync."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.compat.exported import MOST
from isthmus.compat.publishing import EXPORT, Publish, asked_for
from isthmus.core.ground import Ground
from isthmus.errors import KubeError
from isthmus.kube.client import KubeClient

from .overlays import CLUSTER, DEVICE, LINK, WHERE, Maps, Yard


class Rig:
    """A duty with its own clock, between a yard and an API in memory."""

    def __init__(
        self, yard: Yard | None = None, maps: Maps | None = None, *, cni: str = "", most: int = MOST
    ) -> None:
        self.yard, self.maps, self.time = yard or Yard(), maps or Maps(), itertools.count(0, 10)
        self.cni, self.most = cni, most
        self.restart()

    def restart(self) -> None:
        """Begin as a new process does: knowing nothing."""
        self.duty = Publish(
            self.yard.world,
            CLUSTER,
            cast(KubeClient, self.maps),
            self.yard,
            cni=lambda: self.cni,
            clock=lambda: next(self.time),
            most=self.most,
        )

    async def look(self) -> None:
        """Look until there is nothing to be done soon, as the worker of a cluster does."""
        for _ in range(20):
            try:
                again = await self.duty.look(LINK)
            except KubeError:
                continue
            if again is None or again > 5:
                return
        raise AssertionError("never settles")


async def test_the_keys_are_the_routers() -> None:
    """A node has its five keys, the device and the type have theirs, and nothing else stands there but the document."""
    rig = Rig(cni="flannel")
    rig.yard.node(11)
    await rig.look()
    data = rig.maps.data()
    attached = json.loads(data.pop("overlay.json"))
    mac = attached["nodes"][0]["mac"]
    assert data == {
        "EndpointIP": "192.168.254.254",
        "Type": "VXLAN",
        "VTEP": "flannelcni0",
        "Host-n11": "192.0.2.12",
        "Node-192.0.2.12": "192.0.2.12",
        "Interface-192.0.2.12": "192.168.254.1",
        "Mac-192.0.2.12": mac,
        "CNI-192.0.2.12": "10.0.11.0/24",
    }
    assert attached == {
        "version": 1,
        "type": "VXLAN",
        "vni": 7700,
        "port": 7700,
        "mtu": 1450,
        "networks": ["192.168.254.0/24"],
        "endpoints": [
            {"name": DEVICE, "vtep": "192.0.2.60", "overlay": ["192.168.254.254/24"], "mac": None},
        ],
        "parts": [],
        "nodes": [
            {
                "name": "n11",
                "addresses": ["192.0.2.12"],
                "vtep": "192.0.2.12",
                "overlay": ["192.168.254.1/24"],
                "mac": mac,
                "podCIDRs": ["10.0.11.0/24"],
            }
        ],
    }


async def test_a_cni_that_nobody_knows_is_not_named() -> None:
    """Without a known CNI there is no key VTEP: a wrong word is worse than none."""
    rig = Rig()
    rig.yard.node(1)
    await rig.look()
    assert "VTEP" not in rig.maps.data()


async def test_an_old_routers_node_id_is_kept() -> None:
    """A node that bears the old router's label is found under its old id."""
    rig = Rig()
    rig.yard.node(1, labels={"NodeID": "Node-cb716e61"})
    await rig.look()
    assert rig.maps.data()["Host-cb716e61"] == "192.0.2.2"


async def test_both_families_and_several_pod_cidrs() -> None:
    """Several pod CIDRs are one value with commas; IPv6 stands in the document, whose keys may hold colons."""
    yard = Yard(["192.168.254.0/24", "fd00:254::/64"])
    yard.node(1, pods=["10.244.1.0/24", "10.250.1.0/24", "fd00:1::/64"])
    rig = Rig(yard)
    await rig.look()
    data = rig.maps.data()
    assert data["CNI-192.0.2.2"] == "10.244.1.0/24,10.250.1.0/24"
    (node,) = json.loads(data["overlay.json"])["nodes"]
    assert node["podCIDRs"] == ["10.244.1.0/24", "10.250.1.0/24", "fd00:1::/64"]
    assert node["overlay"] == ["192.168.254.1/24", "fd00:254::1/64"]
    assert not [key for key in data if ":" in key]


async def test_changed_values_are_changed() -> None:
    """A node that gets another pod CIDR or address has the new ones, and nothing of the old ones is left."""
    rig = Rig()
    rig.yard.node(1)
    rig.yard.node(2)
    await rig.look()
    rig.yard.node(1, address="192.0.2.99", pods=["10.77.0.0/24"])
    await rig.look()
    data = rig.maps.data()
    assert data["CNI-192.0.2.99"] == "10.77.0.0/24"
    assert not [key for key in data if key.endswith("192.0.2.2")]
    assert data["Node-192.0.2.3"] == "192.0.2.3"


async def test_a_node_that_leaves_leaves_nothing() -> None:
    """All keys of a node that is gone go with it, in one write."""
    rig = Rig()
    rig.yard.node(1)
    rig.yard.node(2)
    await rig.look()
    before = rig.maps.writes
    rig.yard.gone(2)
    await rig.look()
    assert rig.maps.writes == before + 1
    assert not [key for key, text in rig.maps.data().items() if "n2" in text or "192.0.2.3" in key]


async def test_a_restart_in_sync_writes_nothing() -> None:
    """A new process finds what it would write, and writes nothing; nothing is wiped meanwhile."""
    rig = Rig()
    for number in range(1, 6):
        rig.yard.node(number)
    await rig.look()
    states = len(rig.maps.states)
    rig.restart()
    await rig.look()
    assert len(rig.maps.states) == states


async def test_a_cluster_in_doubt_changes_nothing() -> None:
    """While the nodes are not known whole, what is published stays, also where nodes seem to be gone."""
    rig = Rig()
    rig.yard.node(1)
    await rig.look()
    rig.yard.world.view(CLUSTER).pending.add("nodes")
    rig.yard.gone(1)
    rig.restart()
    states = len(rig.maps.states)
    await rig.look()
    assert len(rig.maps.states) == states


async def test_somebody_elses_keys_stay() -> None:
    """Keys that are not the router's are never written nor removed, also not when the whole export goes."""
    rig = Rig()
    rig.maps.put(WHERE[1], {"owner": "team-net", "Node-10.9.9.9": "10.9.9.9", "Host-old": "10.9.9.9"})
    rig.yard.node(1)
    await rig.look()
    data = rig.maps.data()
    assert data["owner"] == "team-net"
    assert "Node-10.9.9.9" not in data, (
        "a node of the old router's that is not there any more is believed by no reader"
    )
    rig.yard.end()
    await rig.look()
    assert rig.maps.data() == {"owner": "team-net"}


async def test_it_goes_with_the_link_and_with_nothing_else() -> None:
    """An order to delete the link takes the ConfigMaps away, numbered ones too; the annotation gone leaves them."""
    rig = Rig(most=3_000)
    for number in range(1, 9):
        rig.yard.node(number)
    await rig.look()
    assert len(rig.maps.now) > 1
    rig.yard.world.links[LINK].metadata.annotations.pop(EXPORT)  # type: ignore[attr-defined]
    await rig.look()
    assert len(rig.maps.now) > 1
    rig.yard.end()
    rig.restart()
    await rig.look()
    assert rig.maps.now == {}


async def test_somebody_who_writes_meanwhile_is_not_written_over() -> None:
    """A change of somebody else's between our look and our write is looked at before anything is written."""
    rig = Rig()
    rig.yard.node(1)
    await rig.look()
    rig.maps.put(WHERE[1], {**rig.maps.data(), "note": "theirs", "Mac-192.0.2.2": "00:00:00:00:00:01"})
    rig.yard.node(2)
    await rig.look()
    data = rig.maps.data()
    assert data["note"] == "theirs"
    assert data["Mac-192.0.2.2"] != "00:00:00:00:00:01"
    assert data["Node-192.0.2.3"] == "192.0.2.3"


async def test_many_nodes_take_several_maps() -> None:
    """What does not fit goes into numbered ConfigMaps that the first one names; nobody moves when others come."""
    rig = Rig(most=4_000)
    for number in range(1, 31):
        rig.yard.node(number)
    await rig.look()
    first = json.loads(rig.maps.data()["overlay.json"])
    assert first["parts"] == [f"{WHERE[1]}-{number}" for number in range(1, len(rig.maps.now))]
    assert len(first["parts"]) > 2
    where = {key: name for (_, name), one in rig.maps.now.items() for key in one["data"] if key.startswith("Node-")}
    assert len(where) == 30
    for one in rig.maps.now.values():
        assert sum(len(key) + len(text) for key, text in one["data"].items()) <= 4_000
    for number in range(31, 41):
        rig.yard.node(number)
    rig.yard.gone(3)
    await rig.look()
    after = {key: name for (_, name), one in rig.maps.now.items() for key in one["data"] if key.startswith("Node-")}
    assert len(after) == 39
    assert all(after[key] == name for key, name in where.items() if key in after)


async def test_three_thousand_nodes_fit_into_two() -> None:
    """The real limit: the API refuses a ConfigMap above one MiB, and a large cluster is split before that."""
    rig = Rig(Yard(["10.200.0.0/16"]))
    for number in range(1, 3001):
        rig.yard.node(number)
    await rig.look()
    sizes = [sum(len(key) + len(text) for key, text in one["data"].items()) for one in rig.maps.now.values()]
    assert max(sizes) <= MOST
    assert 1 <= len(sizes) <= 2


async def test_a_mac_that_is_known_is_told() -> None:
    """The endpoint's MAC stands in the document when it is known, so that nobody has to ask for it."""
    rig = Rig(Yard(mac="02:00:5e:10:00:02"))
    rig.yard.node(1)
    await rig.look()
    assert json.loads(rig.maps.data()["overlay.json"])["endpoints"][0]["mac"] == "02:00:5e:10:00:02"


@pytest.mark.parametrize("text", ["", "kube-chorus-router", "a/b/c", "/x", "kube-system/"])
async def test_a_place_that_is_none_is_no_place(text: str) -> None:
    """An annotation that names no ConfigMap publishes nothing and breaks nothing."""
    rig = Rig()
    rig.yard.node(1)
    rig.yard.link(rig.yard.world.links[LINK].document()["spec"], annotations={EXPORT: text})
    assert asked_for(rig.yard.world.links[LINK]) is None
    await rig.look()
    assert rig.maps.now == {}


async def test_a_device_that_was_not_observed_yet() -> None:
    """Nothing is published before it is known what the device is."""
    rig = Rig()
    rig.yard.node(1)
    seen = rig.yard.ground
    rig.yard.ground = lambda link, device: cast(Ground, None)  # type: ignore[method-assign]
    await rig.look()
    assert rig.maps.now == {}
    rig.yard.ground = seen  # type: ignore[method-assign]
    await rig.look()
    assert "Node-192.0.2.2" in rig.maps.data()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("node"), st.integers(1, 12), st.integers(0, 3)),
        st.tuples(st.just("gone"), st.integers(1, 12), st.just(0)),
        st.tuples(st.just("look"), st.just(0), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
        st.tuples(st.just("theirs"), st.integers(0, 3), st.just(0)),
    ),
    max_size=30,
)


@given(STEPS, st.sets(st.integers(1, 20), max_size=6), st.sampled_from([2_600, 4_000, MOST]))
def test_who_sees_the_marker_sees_all(steps: list[tuple[str, int, int]], lost: set[int], most: int) -> None:
    """In every state that a reader may see, whatever happened and got lost, a marked node is there as a whole."""
    rig = Rig(most=most)
    rig.maps.lose = lost
    truths: dict[str, set[tuple[Any, ...]]] = {}

    def note() -> None:
        for node in rig.yard.world.view(CLUSTER).nodes.values():
            truths.setdefault(str(node.addresses[0]), set()).add((node.name, ",".join(map(str, node.pod_cidrs))))

    async def run() -> None:
        for verb, number, variant in steps:
            if verb == "node":
                address = f"192.0.2.{100 + number}" if variant & 1 else ""
                rig.yard.node(number, address=address, pods=[f"10.{7 + variant}.{number}.0/24"])
            elif verb == "gone" and f"n{number}" in rig.yard.world.view(CLUSTER).nodes:
                rig.yard.gone(number)
            elif verb == "look":
                await rig.look()
            elif verb == "restart":
                rig.restart()
            elif verb == "theirs" and (WHERE[0], WHERE[1]) in rig.maps.now:
                rig.maps.put(WHERE[1], {**rig.maps.data(), f"note-{number}": "x" * 100})
            note()
        await rig.look()

    asyncio.run(run())
    for state in rig.maps.states:
        for data in state.values():
            document = {node["vtep"]: node for node in json.loads(data.get("overlay.json", '{"nodes": []}'))["nodes"]}
            for key in data:
                if not key.startswith("Node-"):
                    continue
                address = data[key]
                host = next(name for name, text in data.items() if name.startswith("Host-") and text == address)
                assert (host.removeprefix("Host-"), data[f"CNI-{address}"]) in truths[address]
                assert data[f"Mac-{address}"] == document[address]["mac"]
                assert data[f"Interface-{address}"] == document[address]["overlay"][0].split("/")[0]
    final = {key for one in rig.maps.now.values() for key in one.get("data", {}) if key.startswith("Node-")}
    assert final == {f"Node-{node.addresses[0]}" for node in rig.yard.world.view(CLUSTER).nodes.values()}


async def test_ip_in_ip_has_no_macs() -> None:
    """An overlay of IP in IP is exported as such; nodes have no MAC in it."""
    yard = Yard()
    spec = yard.world.links[LINK].document()["spec"]
    yard.link({**spec, "overlay": {**spec["overlay"], "encapsulation": "ipip"}})
    yard.node(1)
    rig = Rig(yard)
    await rig.look()
    data = rig.maps.data()
    assert data["Type"] == "IPIP"
    assert data["Node-192.0.2.2"] == "192.0.2.2"
    assert not [key for key in data if key.startswith("Mac-")]
    document = json.loads(data["overlay.json"])
    assert (document["type"], document["nodes"][0]["mac"], document["mtu"]) == ("IPIP", None, 1480)
