"""The Nodes that stand for devices to flannel: each gets a pod CIDR of its own, also where nobody hands them out."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any, cast

import msgspec
import pytest

from core.rig import NOW, Rig, node
from isthmus.core.ground import DEVICE_LABEL, Ground
from isthmus.errors import KubeNotFound
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import KindRef
from isthmus.loop.cluster import Context, Devices
from isthmus.loop.duties.standin import StandIn
from isthmus.model.facts import NodeFacts

from .clock import virtually

NETWORK = '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}'
NAMES = ("isthmus-lab-gw", "isthmus-lab-gw2")


class Api:
    """An API without a pod CIDR allocator; its watch tells only when the test says so."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.nodes: dict[str, NodeFacts] = {}
        self.serial = 0
        self.config = NETWORK
        self.calls: list[str] = []

    async def create(self, kind: KindRef, document: dict[str, Any]) -> None:
        await asyncio.sleep(0.01)
        name = document["metadata"]["name"]
        self.serial += 1
        self.calls.append(f"create {name}")
        created = datetime.fromtimestamp(NOW - 60 + self.serial, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        labels = document["metadata"]["labels"]
        self.nodes[name] = node(name, uid=f"uid-{self.serial}", created=created, labels=labels)

    async def patch(self, kind: KindRef, name: str, patch: dict[str, Any]) -> None:
        await asyncio.sleep(0.01)
        self.calls.append(f"patch {name}")
        for text in patch.get("spec", {}).get("podCIDRs", ()):
            self.nodes[name] = msgspec.structs.replace(self.nodes[name], pod_cidrs=(ip_network(text),))
        annotations = patch.get("metadata", {}).get("annotations", {})
        self.nodes[name] = msgspec.structs.replace(self.nodes[name], annotations=annotations)

    async def delete(self, kind: KindRef, name: str, *, uid: str) -> None:
        await asyncio.sleep(0.01)
        self.calls.append(f"delete {name}")
        assert self.nodes.pop(name).uid == uid

    async def get(self, kind: KindRef, name: str, namespace: str) -> dict[str, Any]:
        await asyncio.sleep(0.01)
        if namespace != "kube-flannel":
            raise KubeNotFound("no such ConfigMap")
        return {"data": {"net-conf.json": self.config}}

    def tell(self) -> None:
        """Let the world hear how the Nodes are."""
        for name in {*self.rig.world.view("east").nodes, *self.nodes} & {*NAMES, *self.nodes}:
            self.rig.world.put_node("east", name, self.nodes.get(name))


class Story:
    """Two devices on one flannel link."""

    def __init__(self) -> None:
        self.rig = Rig("flannel")
        self.rig.kind("EdgeDevice", "gw2", {"driver": "memory"})
        self.rig.kind("ClusterLink", "lab", {"cluster": "east", "devices": ["gw", "gw2"], "path": "flannel"})
        self.rig.put(node("n1", "192.0.2.11", "10.244.1.0/24"))
        self.api = Api(self.rig)
        devices = cast(Devices, self)
        client = cast(KubeClient, self.api)
        self.now = NOW
        self.duty = StandIn(Context("east", self.rig.world, client, devices, lambda scopes: None, lambda: self.now))

    def ground(self, link: str, device: str) -> Ground:
        """Return where decisions stand; the devices are alike here."""
        world = self.rig.world
        return Ground(
            world, world.links[link], world.devices[device], self.rig.planner.facts or self.rig.driver.facts
        )

    async def round(self) -> None:
        """Look at both side by side, as the worker does, and let the watch tell afterwards."""
        await asyncio.gather(*(self.duty.look(f"lab/{device}") for device in ("gw", "gw2")))
        self.api.tell()

    def blocks(self) -> list[str]:
        """Return the pod CIDRs of the Nodes of ours."""
        return [str(prefix) for name in NAMES if name in self.api.nodes for prefix in self.api.nodes[name].pod_cidrs]


def test_two_devices_get_two_blocks() -> None:
    """Two devices that come at the same moment do not take the same free block."""

    async def tell() -> None:
        story = Story()
        for _ in range(3):
            await story.round()
        assert story.blocks() == ["10.244.255.0/24", "10.244.254.0/24"]
        assert not [call for call in story.api.calls if call.startswith("delete")]
        calls = list(story.api.calls)
        await story.round()
        assert story.api.calls == calls, "what stands is not written again"

    virtually(tell)


def test_a_device_without_a_tunnel_end_is_asked_about_again() -> None:
    """Where no node is there yet, the device is on no segment; its Node is made when the first one comes."""

    async def tell() -> None:
        story = Story()
        story.rig.world.put_node("east", "n1", None)
        assert await story.duty.look("lab/gw") == 2.0
        assert not story.api.nodes
        story.rig.put(node("n1", "192.0.2.11", "10.244.1.0/24"))
        await story.duty.look("lab/gw")
        assert set(story.api.nodes) == {"isthmus-lab-gw"}

    virtually(tell)


def test_a_clock_that_is_behind_delays_a_block_by_seconds_only() -> None:
    """A Node that seems to come from the future waits for an allocator no longer than any other."""

    async def tell() -> None:
        story = Story()
        story.now = NOW - 3600
        await story.round()
        pause = await story.duty.look("lab/gw")
        assert pause is not None
        assert 1 < pause < 10
        await asyncio.sleep(pause)
        await story.round()
        assert story.blocks()[0] == "10.244.255.0/24"

    virtually(tell)


def test_of_two_nodes_of_ours_with_one_block_the_younger_gives_way() -> None:
    """Two controllers' choices may meet; one Node stays, the other is made anew, and then all is quiet."""

    async def tell() -> None:
        story = Story()
        for _ in range(3):
            await story.round()
        same = (ip_network("10.244.255.0/24"),)
        for name in NAMES:
            story.api.nodes[name] = msgspec.structs.replace(story.api.nodes[name], pod_cidrs=same)
        story.api.tell()
        story.api.calls.clear()
        for _ in range(4):
            await story.round()
        assert [call for call in story.api.calls if call.startswith("delete")] == ["delete isthmus-lab-gw2"]
        assert story.blocks() == ["10.244.255.0/24", "10.244.254.0/24"]

    virtually(tell)


def test_a_real_node_has_its_block_whoever_was_first() -> None:
    """A block that a real node was given, too, is the node's; ours is made anew with another."""

    async def tell() -> None:
        story = Story()
        for _ in range(3):
            await story.round()
        story.rig.put(node("n2", "192.0.2.12", "10.244.255.0/24", created="2099-01-01T00:00:00Z"))
        for _ in range(4):
            await story.round()
        assert "10.244.255.0/24" not in story.blocks()
        assert len(set(story.blocks())) == 2

    virtually(tell)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{",
        "[]",
        '{"Network": "10.244.0.1/16"}',
        '{"Network": 7}',
        '{"Network": "10.244.0.0/16", "SubnetLen": "x"}',
        "[" * 100_000 + "]" * 100_000,
    ],
)
def test_a_network_that_cannot_be_read_is_waited_for(config: str) -> None:
    """Whatever stands in flannel's ConfigMap, nothing is given and nothing raises; it is read again later."""

    async def tell() -> None:
        story = Story()
        story.api.config = config
        await story.round()
        assert await story.duty.look("lab/gw") is not None
        assert story.blocks() == []

    virtually(tell)


def test_a_node_of_that_name_that_is_not_ours_is_left_alone() -> None:
    """A Node without our label is somebody's, whatever it is called."""

    async def tell() -> None:
        story = Story()
        story.api.nodes[NAMES[0]] = node(NAMES[0], "192.0.2.77", "10.244.7.0/24")
        story.api.tell()
        for _ in range(3):
            await story.round()
        assert not [call for call in story.api.calls if call.endswith(" isthmus-lab-gw")]
        assert DEVICE_LABEL not in story.rig.world.view("east").nodes[NAMES[0]].labels

    virtually(tell)
