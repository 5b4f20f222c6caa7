"""What we hand out for a cluster asks for little and says so: every overlay keeps every rule, and each rule can be broken."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.manifests import DEPLOY, OVERLAYS, PARTS, ROOT, WORKLOADS, only, pod_of, render, rendered
from deploy.policy import RULES, broken, named
from isthmus import __version__

SEEDED = yaml.safe_load(Path(__file__).with_name("seeded.yaml").read_text("utf-8"))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_we_hand_out_keeps_all_rules(overlay: str) -> None:
    """Rights, pods and namespaces of each overlay are as narrow as they can be."""
    assert broken(rendered(overlay)) == {}


@pytest.mark.parametrize("seed", SEEDED, ids=lambda seed: f"{seed['breaks']}-{'.'.join(map(str, seed['at']))}")
def test_a_rule_sees_what_breaks_it(seed: dict[str, Any]) -> None:
    """One edit for the worse is seen by the rule that is meant, and by no other."""
    objects = rendered("netscaler")
    (target,) = (one for one in objects if named(one) == seed["of"])
    *path, last = seed["at"]
    for step in path:
        target = target[step]
    if seed.get("remove"):
        del target[last]
    else:
        target[last] = seed["to"]
    assert set(broken(objects)) == {seed["breaks"]}


def test_every_rule_can_be_broken() -> None:
    """No rule is there for show."""
    assert {seed["breaks"] for seed in SEEDED} == RULES.keys()


def test_every_part_is_handed_out() -> None:
    """Each base and component is in some overlay, but for those that an option asks for."""
    used = set()
    for overlay in OVERLAYS:
        said = yaml.safe_load((DEPLOY / "overlays" / overlay / "kustomization.yaml").read_text("utf-8"))
        for name in (*said.get("resources", ()), *said.get("components", ())):
            used.add(str((DEPLOY / "overlays" / overlay / name).resolve().relative_to(DEPLOY)))
    assert set(PARTS) - used == {"components/share-devices", "components/encapsulation-ipip"}


def test_an_overlay_of_ones_own(tmp_path: Path) -> None:
    """The kustomization that the guide shows renders on top of ours, and changes what it says."""
    guide = (ROOT / "docs" / "how-to" / "install-in-a-cluster.md").read_text("utf-8")
    (shown,) = re.findall(r"```yaml\n(apiVersion: kustomize.*?)```", guide, re.DOTALL)
    own = tmp_path / "own"
    own.mkdir()
    (own / "kustomization.yaml").write_text(shown)
    shutil.copytree(DEPLOY, own / "isthmus" / "deploy")
    objects = render(own)
    assert broken(objects) == {}
    assert only(objects, "Role", "isthmus-device-credentials")["rules"][0]["resourceNames"] == ["adc1", "adc2"]
    images = {pod_of(one)["containers"][0]["image"] for one in objects if one["kind"] in WORKLOADS}
    assert images == {f"registry.example.org/isthmus:{__version__}"}
