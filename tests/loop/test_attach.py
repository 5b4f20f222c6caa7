"""A node's place on an overlay: written once, kept, and taken back by order alone."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_interface, ip_network
from typing import Any, cast

import msgspec
import pytest

from core.rig import NOW, Rig, drive, node
from isthmus.core import attachment
from isthmus.core.ground import Ground
from isthmus.core.world import Choice
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import KindRef
from isthmus.loop.cluster import Context, Devices
from isthmus.loop.duties.attach import Attach
from isthmus.model.facts import DeviceTraits

KEY = attachment.annotation("lab")
OVERLAY = {"networks": ["10.200.0.0/29"]}


class Story:
    """One overlay link over nodes; what is applied is what the world hears next."""

    def __init__(self, path: str = "overlay") -> None:
        self.rig = Rig(path, link={"overlay": OVERLAY})
        self.rig.world.device_addresses["lab", "gw"] = (ip_interface("10.200.0.6/29"),)
        self.known = True
        self.applied: list[str] = []
        client, devices = cast(KubeClient, self), cast(Devices, self)
        self.duty = Attach(Context("east", self.rig.world, client, devices, lambda scopes: None, lambda: NOW))

    def ground(self, link: str, device: str) -> Ground | None:
        """Return where decisions stand, none while the device was not observed."""
        world = self.rig.world
        return Ground(world, world.links[link], world.devices[device], self.rig.driver.facts) if self.known else None

    async def apply(self, kind: KindRef, obj: Mapping[str, Any], **rest: Any) -> None:
        """Take what the duty writes."""
        name, annotations = obj["metadata"]["name"], obj["metadata"]["annotations"]
        self.applied.append(name)
        facts = msgspec.structs.replace(self.rig.world.view("east").nodes[name], annotations=annotations)
        self.rig.put(facts)
        self.duty.learn(name, facts)

    def look(self, name: str) -> str:
        """Look at a node and return the address that it then says it has."""
        drive(self.duty.look(name))
        found = self.rig.world.view("east").nodes.get(name)
        text = found.annotations.get(KEY) if found is not None else None
        return str(attachment.parse(text).addresses[0]) if text else ""

    def nodes(self, count: int) -> list[str]:
        """Put nodes and return their names."""
        names = [f"n{number}" for number in range(1, count + 1)]
        self.rig.put(*(node(name, f"192.0.2.1{name[1:]}", f"10.244.{name[1:]}.0/24") for name in names))
        return names


def test_each_node_has_its_own_and_keeps_it() -> None:
    """Addresses are given from below, once; who comes too late is told so, and gets what another leaves."""
    story = Story()
    names = story.nodes(6)
    assert [story.look(name) for name in names] == [*(f"10.200.0.{number}/29" for number in range(1, 6)), ""]
    assert "too small" in story.duty.waiting["lab", "n6"]
    assert [story.look(name) for name in names[:5]] == [f"10.200.0.{number}/29" for number in range(1, 6)]
    assert len(story.applied) == 5, "what stands is not written again"
    story.rig.world.put_node("east", "n2", None)
    story.duty.learn("n2", None)
    assert story.look("n2") == ""
    assert story.look("n6") == "10.200.0.2/29"
    assert not story.duty.waiting


def test_the_devices_own_mac_is_what_nodes_are_told_and_follows_it() -> None:
    """Where nobody can choose a device's MAC its nodes are told its own, and told again when it has another."""
    story = Story()
    story.nodes(1)
    story.look("n1")
    for mac in ("02:aa:00:00:00:01", "02:aa:00:00:00:02"):
        facts = story.rig.driver.facts
        story.rig.driver.facts = msgspec.structs.replace(facts, traits=DeviceTraits(tunnel_mac=mac))
        assert story.look("n1") == "10.200.0.1/29", "its own place stays"
        written = story.rig.world.view("east").nodes["n1"].annotations[KEY]
        assert [peer.mac for peer in attachment.parse(written).peers] == [mac]


def test_nodes_are_told_of_encapsulation_and_direct_return() -> None:
    """What the link says of both stands in each node's annotation; where it says nothing, so does the annotation."""
    story = Story()
    story.nodes(1)
    story.look("n1")
    text = story.rig.world.view("east").nodes["n1"].annotations[KEY]
    assert "encapsulation" not in text
    assert "direct_return" not in text
    spec = {"cluster": "east", "devices": ["gw"], "path": "overlay", "directReturn": ["203.0.113.0/24"]}
    story.rig.kind("ClusterLink", "lab", spec | {"overlay": OVERLAY | {"encapsulation": "ipip"}})
    assert story.look("n1") == "10.200.0.1/29", "its own place stays"
    told = attachment.parse(story.rig.world.view("east").nodes["n1"].annotations[KEY])
    assert (told.encapsulation, told.direct_return, told.mtu) == ("ipip", (ip_network("203.0.113.0/24"),), 1480)


def test_a_node_that_waits_and_goes_is_forgotten() -> None:
    """What is said of waiting nodes does not outlive them."""
    story = Story()
    for name in story.nodes(6):
        story.look(name)
    story.rig.world.put_node("east", "n6", None)
    story.duty.learn("n6", None)
    story.look("n6")
    assert not story.duty.waiting


@pytest.mark.parametrize("unknown", ["path", "device", "nodes"])
def test_what_is_not_known_takes_no_node_off(unknown: str) -> None:
    """A path that is not chosen (or whose choice was lost), a device not observed, nodes not read: all stays."""
    story = Story("auto")
    story.rig.world.choices["lab"] = Choice("overlay", "it works")
    story.nodes(1)
    assert story.look("n1") == "10.200.0.1/29"
    if unknown == "path":
        story.rig.world.choices.clear()
    story.known = unknown != "device"
    if unknown == "nodes":
        story.rig.world.view("east").pending.add("nodes")
    assert story.look("n1") == "10.200.0.1/29"
    story.known = True
    story.rig.world.view("east").pending.clear()
    story.rig.world.choices["lab"] = Choice("direct", "it works, too")
    assert story.look("n1") == "", "another path is an order"


def test_a_link_whose_devices_are_all_gone_keeps_its_nodes() -> None:
    """An EdgeDevice that vanished from the configuration leaves a link without devices; that alone takes nobody off."""
    story = Story()
    story.nodes(1)
    before = story.look("n1")
    link = story.rig.world.links["lab"]
    spec = link.spec.model_copy(update={"devices": ()})
    story.rig.world.links["lab"] = link.model_copy(update={"spec": spec})
    assert story.look("n1") == before == "10.200.0.1/29"


def test_the_end_of_a_link_takes_its_nodes_off() -> None:
    """A link that is being deleted gives every place back, also while its device is away."""
    story = Story()
    story.nodes(1)
    assert story.look("n1")
    story.known = False
    spec = {"cluster": "east", "devices": ["gw"], "path": "overlay", "overlay": OVERLAY}
    story.rig.kind("ClusterLink", "lab", spec, deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["isthmus.dev/x"])
    assert story.look("n1") == ""


def test_a_device_nobody_describes_any_more_keeps_its_way_back() -> None:
    """An EdgeDevice that vanished from the configuration is no order: nodes keep its entries until it is named no more."""
    story = Story()
    world = story.rig.world
    story.rig.kind("EdgeDevice", "gw2", {"driver": "memory"})
    story.rig.kind(
        "ClusterLink", "lab", {"cluster": "east", "devices": ["gw", "gw2"], "path": "overlay", "overlay": OVERLAY}
    )
    world.device_addresses["lab", "gw2"] = (ip_interface("10.200.0.5/29"),)
    story.nodes(1)
    story.look("n1")

    def peers() -> list[str]:
        text = world.view("east").nodes["n1"].annotations[KEY]
        return [peer.device for peer in attachment.parse(text).peers]

    assert peers() == ["gw", "gw2"]
    kept = world.devices.pop("gw2")
    story.rig.kind(
        "ClusterLink", "lab", {"cluster": "east", "devices": ["gw"], "path": "overlay", "overlay": OVERLAY}
    )
    story.look("n1")
    assert peers() == ["gw", "gw2"], "its absence alone takes nothing away"
    world.devices["gw2"] = kept
    story.look("n1")
    assert peers() == ["gw"], "a link that no longer names a described device is an order"
