"""What clusters publish, and the decision that follows: each file under ``tests/cases/cni`` is a cluster.

A ``.yaml`` says what should come out. The objects are in it, or in the ``.json`` of the same name: what a real cluster
published, with its source. The keys of a case:

=============  ====================================================================================================
``about``      what should be true, in one sentence
``given``      what the source leaves out and every real object has: at (its index), name, namespace, apiVersion
``differs``    where the expectation goes less far than the source's own words, and why
``cni``        the decision; with ``certainty``, ``mode``, ``why`` (the whole sentence) and ``remarks``
``tunnels``    of the first network: how packets travel; with ``port``, ``vni``, ``mtu``
``nodes``      per node what is known of it; a field that is not named is empty, ``pod_cidrs`` null is "not told"
``objects``    the objects, where there is no ``.json``
=============  ====================================================================================================
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus.core.cni import CNIS, Decision, Finding, NodeNetwork, decide
from isthmus.kube.publishing import read

CASES = sorted((Path(__file__).parent.parent / "cases" / "cni").glob("*.yaml"))
_KNOWN = frozenset(line.split("``")[1] for line in (__doc__ or "").splitlines() if line.startswith("``")) | {
    "certainty",
    "mode",
    "why",
    "remarks",
    "port",
    "vni",
    "mtu",
}
_ADDRESSES = ("addresses", "assigned", "borrowed", "endpoints", "tunnel_addresses")


def load(path: Path) -> dict[str, Any]:
    """Return a case with its objects, completed by what is ``given``."""
    case: dict[str, Any] = yaml.safe_load(path.read_text())
    source = path.with_suffix(".json")
    if source.exists():
        case["objects"] = json.loads(source.read_text())["objects"]
    for given in case.get("given", ()):
        target = case["objects"][given["at"]]
        head = target.setdefault("metadata", {})
        head.update({key: given[key] for key in ("name", "namespace") if key in given})
        if "apiVersion" in given:
            target["apiVersion"] = given["apiVersion"]
    return case


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    """The decision is the expected one, in these words, and so is what is known of each node."""
    case = load(path)
    assert set(case) <= _KNOWN, "a key that nobody reads proves nothing"
    decision = decide(read(case["objects"]))
    assert (decision.cni, decision.certainty, decision.mode) == (case["cni"], case["certainty"], case["mode"])
    assert decision.why == case["why"]
    assert list(decision.remarks) == case.get("remarks", [])
    if decision.networks:
        first = decision.networks[0]
        assert (list(first.tunnels), first.port, first.vni, first.mtu) == (
            case["tunnels"],
            case.get("port"),
            case.get("vni"),
            case.get("mtu"),
        )
    assert {node.name: _shown(node) for node in decision.nodes} == case.get("nodes", {})


def test_every_published_file_is_a_case() -> None:
    """No file of a real cluster lies there unread."""
    folder = CASES[0].parent
    assert {path.stem for path in folder.glob("*.json")} <= {path.stem for path in CASES}


@pytest.mark.parametrize("cni", sorted(CNIS))
def test_every_cni_has_a_case_that_is_certain(cni: str) -> None:
    """Each CNI that is known is named with certainty by some case."""
    assert any(case["cni"] == cni and case["certainty"] == "certain" for case in map(load, CASES))


def test_what_could_not_be_read_is_said() -> None:
    """A cluster whose DaemonSets are forbidden to us says so beside whatever is concluded without them."""
    case = load(next(path for path in CASES if path.stem == "flannel-fake-node-upstream"))
    decision = decide(read(case["objects"], unread=["daemonsets.apps: forbidden"]))
    assert (decision.cni, decision.certainty) == ("flannel", "likely")
    assert decision.remarks == ("not read: daemonsets.apps: forbidden",)


def test_a_decision_knows_its_nodes() -> None:
    """A node is found by its name, and one that nobody told of is none."""
    decision = Decision(
        "flannel", "certain", "vxlan", "", (Finding("flannel", True, "vxlan", ()),), (NodeNetwork("a"),)
    )
    assert decision.node("a") == NodeNetwork("a")
    assert decision.node("b") is None


def _shown(node: NodeNetwork) -> dict[str, Any]:
    shown: dict[str, Any] = {key: list(map(str, getattr(node, key))) for key in _ADDRESSES if getattr(node, key)}
    shown["pod_cidrs"] = None if node.pod_cidrs is None else list(map(str, node.pod_cidrs))
    ends = [
        {
            **({"address": str(end.address)} if end.address is not None else {}),
            **({"mac": end.mac} if end.mac is not None else {}),
            **({"vni": end.vni} if end.vni is not None else {}),
        }
        for end in node.vteps
    ]
    if any(ends):
        shown["vteps"] = ends
    if node.interface:
        shown["interface"] = node.interface
    if node.mtu is not None:
        shown["mtu"] = node.mtu
    if node.oddities:
        shown["oddities"] = list(node.oddities)
    return shown
