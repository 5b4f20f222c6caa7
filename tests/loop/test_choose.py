"""Choosing a path: with evidence, once, by every device, and kept before it counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from core.rig import NOW, Rig, drive, node
from isthmus.core.choose import changed
from isthmus.core.cni import Certainty, Decision, Finding
from isthmus.core.ground import Ground
from isthmus.core.world import Choice
from isthmus.drivers.base import ProbeResult, ProbeTarget
from isthmus.errors import DeviceUnsupported
from isthmus.kube.client import KubeClient
from isthmus.loop.cluster import Context, Devices
from isthmus.loop.duties.choose import AGAIN, Choose
from isthmus.model.facts import DeviceFacts


class Story:
    """One auto link with an overlay on two devices."""

    def __init__(self) -> None:
        self.rig = Rig("auto", link={"overlay": {"networks": ["10.200.0.0/24"]}, "devices": ["gw", "gw2"]})
        self.rig.kind("EdgeDevice", "gw2", {"driver": "memory"})
        self.rig.put(node("n1", "192.0.2.11", "10.244.1.0/24"))
        self.facts: dict[str, DeviceFacts | None] = dict.fromkeys(("gw", "gw2"), self.rig.driver.facts)
        self.kept: list[tuple[str, Choice]] = []
        self.silent: set[str] = set()
        self.mute: set[str] = set()
        devices = cast(Devices, self)
        context = Context("east", self.rig.world, cast(KubeClient, None), devices, lambda scopes: None, lambda: NOW)
        self.duty = Choose(context, self.probe, self.keep)

    def ground(self, link: str, device: str) -> Ground | None:
        """Return where decisions stand, none while the device was not observed."""
        world, facts = self.rig.world, self.facts[device]
        return Ground(world, world.links[link], world.devices[device], facts) if facts is not None else None

    async def probe(self, device: str, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        """Answer for every address, unless the device is one that hears nothing, or cannot ask."""
        if device in self.mute:
            raise DeviceUnsupported("cannot ask")
        return [ProbeResult(target, reached=device not in self.silent) for target in targets]

    async def keep(self, link: str, choice: Choice) -> None:
        """Keep a choice."""
        self.kept.append((link, choice))
        self.rig.world.choices[link] = choice

    def look(self) -> float | None:
        """Look at the link."""
        return drive(self.duty.look("lab"))

    def paths(self) -> list[str]:
        """Return what was kept."""
        return [choice.path for _, choice in self.kept]


def test_the_first_path_that_works_is_kept() -> None:
    """Neighbors that answer every device are reached directly; once kept, a blip changes nothing."""
    story = Story()
    assert story.look() is None
    assert story.paths() == ["direct"]
    story.silent = {"gw", "gw2"}
    assert story.look() is None
    assert story.paths() == ["direct"]


def test_a_path_must_work_for_every_device() -> None:
    """What works for one device only is not taken for the link."""
    story = Story()
    story.silent = {"gw2"}
    assert story.look() is None
    assert story.paths() == ["overlay"]


def test_nothing_is_chosen_in_ignorance() -> None:
    """A device that was not observed, nodes that were not read, and no node at all: later."""
    story = Story()
    story.facts["gw2"] = None
    assert story.look() == AGAIN
    story.facts["gw2"] = story.facts["gw"]
    story.rig.world.view("east").pending.add("nodes")
    assert story.look() == AGAIN
    story.rig.world.view("east").pending.clear()
    story.rig.world.put_node("east", "n1", None)
    assert story.look() == AGAIN
    assert story.paths() == []


def test_a_link_without_devices_chooses_nothing() -> None:
    """A link whose devices are all gone from the configuration has nobody to choose for."""
    story = Story()
    link = story.rig.world.links["lab"]
    spec = link.spec.model_copy(update={"devices": ()})
    story.rig.world.links["lab"] = link.model_copy(update={"spec": spec})
    assert story.look() is None
    assert story.paths() == []


def decided(cni: str, certainty: Certainty = "certain", **finding: Any) -> Decision:
    """Return a decision for one CNI."""
    found = Finding(cni, certainty == "certain", finding.pop("mode", ""), (), **finding)
    return Decision(cni, certainty, found.mode, "", () if cni == "unknown" else (found,))


def with_flannel(story: Story) -> None:
    """Have nobody answer, and the node bear flannel's annotations."""
    story.silent = {"gw", "gw2"}
    annotations = {
        "flannel.alpha.coreos.com/backend-type": "vxlan",
        "flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}',
        "flannel.alpha.coreos.com/public-ip": "192.0.2.11",
    }
    story.rig.put(node("n1", "192.0.2.11", "10.244.1.0/24", annotations=annotations))


@pytest.mark.parametrize(
    ("found", "why_not"),
    [
        (decided("flannel", tunnels=("vxlan",), port=8472, vni=1), None),
        (decided("canal", tunnels=("vxlan",)), None),
        (
            decided("unknown", "unknown"),
            "which CNI cluster east has is not known, and annotations of flannel may be leftovers",
        ),
        (
            decided("flannel", "likely", tunnels=("vxlan",)),
            "cluster east has traces of flannel, and nothing that runs was seen; if it runs, say spec.cni: flannel in the "
            "KubeCluster",
        ),
        (decided("calico"), "the CNI of cluster east is calico, so no flanneld answers"),
        (
            decided("flannel", tunnels=("none",), mode="host-gw"),
            "flannel's backend on cluster east is host-gw, not vxlan alone",
        ),
        (
            decided("flannel", tunnels=("vxlan",), vni=4096),
            "flannel's VNI on cluster east is 4096, spec.flannel of the link says 1",
        ),
        (
            decided("flannel", tunnels=("vxlan",), port=4789),
            "flannel's port on cluster east is 4789, spec.flannel of the link says 8472",
        ),
    ],
)
def test_flannel_is_taken_only_where_it_runs(found: Decision, why_not: str | None) -> None:
    """Annotations stay on nodes for years: it is what runs that counts, and that the link knows the same flannel."""
    story = Story()
    with_flannel(story)
    story.rig.world.view("east").homes.decision = found
    assert story.look() is None
    assert story.paths() == ["flannel" if why_not is None else "overlay"]
    if why_not is not None:
        assert ("flannel", why_not) in story.kept[0][1].rejected


def test_bgp_is_named_where_it_would_do() -> None:
    """A CNI that speaks BGP could have the device as its peer; that this is not built is said, once it is the choice."""
    story = Story()
    story.silent = {"gw", "gw2"}
    story.rig.world.view("east").homes.decision = decided("calico", mode="ipip Always, BGP", bgp=True)
    assert story.look() is None
    assert dict(story.kept[0][1].rejected)["bgp"] == (
        "calico (ipip Always, BGP) speaks BGP, so gw could be its peer; that is not built yet"
    )


def test_the_cnis_own_port_is_refused_by_its_name() -> None:
    """An overlay on the very port of the CNI, however unusual, is no way out; nothing is chosen, and it is said why."""
    story = Story()
    story.silent = {"gw", "gw2"}
    story.rig.world.view("east").homes.decision = decided("calico", mode="vxlan Always", port=7700)
    assert story.look() == AGAIN
    assert dict(story.duty.rejected["lab"])["overlay"] == (
        "UDP port 7700 is that of calico (vxlan Always) on the nodes of cluster east"
    )


def test_a_device_that_cannot_ask_is_no_neighbor_by_its_subnet() -> None:
    """Where a device cannot probe, a subnet alone is no evidence; the way out is said, and other paths are tried."""
    story = Story()
    story.mute = {"gw2"}
    assert story.look() is None
    assert story.paths() == ["overlay"]
    assert dict(story.kept[0][1].rejected)["direct"] == (
        "node n1 (192.0.2.11) is in a subnet of gw2, which cannot ask whether it is there; write path: direct if it is"
    )


def test_another_cni_is_said_and_paths_stay() -> None:
    """A cluster that gets another CNI keeps its path, and the status says what has changed."""
    story = Story()
    with_flannel(story)
    view = story.rig.world.view("east")
    view.homes.decision = decided("flannel", tunnels=("vxlan",))
    assert story.look() is None
    view.homes.decision = decided("cilium")
    assert story.look() is None
    assert story.paths() == ["flannel"]
    assert changed(story.rig.world, "lab", "east") == (
        "the CNI was flannel when this was chosen and is cilium now; the path stays until the link is made anew"
    )
    view.homes.decision = decided("cilium", "likely")
    assert changed(story.rig.world, "lab", "east") is None


def test_nothing_is_chosen_while_pods_cannot_be_told() -> None:
    """Blocks that we may not read: the choice waits, and says for what."""
    story = Story()
    story.rig.world.view("east").pending.add("pods")
    story.rig.world.view("east").homes.trouble = "we may not read its blocks"
    assert story.look() == AGAIN
    assert story.duty.rejected["lab"] == (("auto", "cluster east: we may not read its blocks"),)
