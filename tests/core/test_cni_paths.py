"""What ``auto`` makes of every cluster under ``tests/cases/cni``: the table ``tests/cases/cni_paths.yaml``, row by row.

=============  ====================================================================================================
``beside``     the path of a Linux gateway on the nodes' segment, where every node answers it
``appliance``  that of a NetScaler in the nodes' subnet, which cannot ask who is there
``apart``      that of a Linux gateway elsewhere; none where no node's pods are told
``flannel``    why not flannel, where the device is apart
``bgp``        what is said of BGP there
``nobody``     why no path is tried at all
=============  ====================================================================================================

Clusters whose source shows no Node get two, as Kubernetes makes them; what is empty in a row is not said.
"""

from __future__ import annotations

from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from core.rig import FACTS, Rig, node
from core.test_cni import CASES, load
from isthmus.core.choose import choose, neighbors_to_prove
from isthmus.core.ground import Ground
from isthmus.core.homes import HOMES
from isthmus.kube import wire
from isthmus.kube.parse import parse_node
from isthmus.kube.publishing import read
from isthmus.model.facts import DeviceFacts, Interface, NodeFacts

TABLE = Path(__file__).parent.parent / "cases" / "cni_paths.yaml"
ROWS: dict[str, dict[str, str]] = yaml.safe_load(TABLE.read_text()) if TABLE.exists() else {}


def rig_of(case: dict[str, Any]) -> Rig:
    """Return a rig whose cluster publishes the case's objects, all of them read."""
    rig = Rig("auto", link={"overlay": {"networks": ["10.200.0.0/16", "fd00:200::/64"]}})
    nodes = [found for one in case["objects"] if (found := as_node(one)) is not None]
    for facts in nodes or [node(f"n{n}", f"192.0.2.1{n}", f"10.244.{n}.0/24") for n in (1, 2)]:
        rig.put(msgspec.structs.replace(facts, not_ready_since=None))
    published = read(case["objects"])
    for kind, homes in zip(HOMES, (published.blocks, published.cilium_nodes, published.host_subnets), strict=True):
        for one in homes:
            rig.world.put_home("east", kind, f"{getattr(one, 'source', '')}/{one.name}", one)
    rig.world.put_published("east", published)
    for kind in HOMES:
        rig.world.put_home_state("east", kind, "read")
    return rig


def as_node(one: Any) -> NodeFacts | None:
    """Return the facts of a Node as a client gets them; none for anything else, and for what no API server would store."""
    if not isinstance(one, dict) or (one.get("kind"), one.get("apiVersion")) != ("Node", "v1"):
        return None
    try:
        return parse_node(msgspec.convert(one, wire.Node))
    except msgspec.ValidationError:
        return None


def device(rig: Rig, *, beside: bool) -> DeviceFacts:
    """Return a device that has an address in each node's subnet, or in none."""
    owns = []
    for facts in rig.world.view("east").nodes.values() if beside else ():
        for version, length in ((4, 24), (6, 64)):
            owns += [ip_interface(f"{address + 1}/{length}") for address in facts.ways(version)]
    front = Interface("eth0", "02:00:00:00:00:01", 1500, tuple(dict.fromkeys(owns)) or FACTS.interfaces[0].addresses)
    return DeviceFacts((front,))


def row(case: dict[str, Any]) -> dict[str, str]:
    """Return what ``auto`` makes of a case, in the table's words."""
    rig, found = rig_of(case), dict[str, str]()
    for word, beside, probes in (("beside", True, True), ("appliance", True, False), ("apart", False, True)):
        world = rig.world
        ground = Ground(world, world.links["lab"], world.devices["gw"], device(rig, beside=beside))
        choice, rejected = choose(ground, dict.fromkeys(neighbors_to_prove(ground), True) if probes else None)
        found[word] = choice.path if choice is not None else "none"
    said = dict(rejected)
    found |= {
        word: said[key] for word, key in (("flannel", "flannel"), ("bgp", "bgp"), ("nobody", "auto")) if key in said
    }
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_row(path: Path) -> None:
    """Every cluster has its row, and the row is what comes out."""
    assert row(load(path)) == ROWS[path.stem]


def test_no_row_is_left_over() -> None:
    """A row without its cluster proves nothing."""
    assert set(ROWS) == {path.stem for path in CASES}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_what_is_not_certain_is_no_peer(path: Path) -> None:
    """The device poses as flannel's peer only where flannel certainly runs; a subnet alone is never a segment."""
    case, found = load(path), ROWS[path.stem]
    if "flannel" in (found["apart"], found["appliance"]):
        assert (case["certainty"], case["cni"] in ("flannel", "canal")) == ("certain", True)
    assert found["appliance"] != "direct"
