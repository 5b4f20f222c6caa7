"""Choosing a path: with evidence, once, by every device, and kept before it counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from core.rig import NOW, Rig, drive, node
from isthmus.core.cni import Certainty, Decision, Finding
from isthmus.core.ground import Ground
from isthmus.core.world import Choice
from isthmus.drivers.base import ProbeResult, ProbeTarget
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
        devices = cast(Devices, self)
        context = Context("east", self.rig.world, cast(KubeClient, None), devices, lambda scopes: None, lambda: NOW)
        self.duty = Choose(context, self.probe, self.keep)

    def ground(self, link: str, device: str) -> Ground | None:
        """Return where decisions stand, none while the device was not observed."""
        world, facts = self.rig.world, self.facts[device]
        return Ground(world, world.links[link], world.devices[device], facts) if facts is not None else None

    async def probe(self, device: str, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        """Answer for every address, unless the device is one that hears nothing."""
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


@pytest.mark.parametrize(
    ("cni", "certainty", "path"),
    [
        (None, "unknown", "flannel"),
        ("unknown", "unknown", "flannel"),
        ("flannel", "certain", "flannel"),
        ("canal", "certain", "flannel"),
        ("calico", "likely", "flannel"),
        ("calico", "certain", "overlay"),
    ],
)
def test_leftover_annotations_are_no_flannel(cni: str | None, certainty: Certainty, path: str) -> None:
    """Where another CNI certainly runs, flannel's annotations on nodes prove nothing; a guess does not count."""
    story = Story()
    story.silent = {"gw", "gw2"}
    annotations = {
        "flannel.alpha.coreos.com/backend-type": "vxlan",
        "flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}',
        "flannel.alpha.coreos.com/public-ip": "192.0.2.11",
    }
    story.rig.put(node("n1", "192.0.2.11", "10.244.1.0/24", annotations=annotations))
    if cni is not None:
        found = (Finding(cni, certainty == "certain", "", ()),)
        story.rig.world.view("east").homes.decision = Decision(cni, certainty, "", "", found)
    assert story.look() is None
    assert story.paths() == [path]
    if path == "overlay":
        assert ("flannel", "the CNI of cluster east is calico, so no flanneld answers") in story.kept[0][1].rejected
