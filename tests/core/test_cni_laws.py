"""Laws of the CNI decision, over the objects of all cases: order, subsets, strangers, and objects that are nonsense."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.cni import Decision, decide
from isthmus.kube.publishing import read

from .test_cni import CASES, load

Objects = list[dict[str, Any]]
WORLDS: list[Objects] = [load(path)["objects"] for path in CASES]

STRANGERS: Objects = [
    {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "fluentd", "namespace": "logging"},
        "spec": {"template": {"spec": {"containers": [{"name": "fluentd", "image": "fluent/fluentd:v1.16"}]}}},
    },
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "coredns", "namespace": "kube-system"},
        "data": {},
    },
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {}},
    {"apiVersion": "config.openshift.io/v1", "kind": "Ingress", "metadata": {"name": "cluster"}, "spec": {}},
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**33)
    | st.text(max_size=8)
    | st.sampled_from(["10.1.0.0/24", "::/0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def identity(one: dict[str, Any]) -> tuple[str, str, str]:
    head = one["metadata"]
    return (f"{one['apiVersion']} {one['kind']}", head.get("namespace", ""), head["name"])


def certain(decision: Decision) -> set[str]:
    """Return the CNIs of which the decision is certain."""
    return {found.cni for found in decision.networks if found.sure}


@st.composite
def mixed(draw: st.DrawFn) -> Objects:
    """Draw the objects of one or two clusters in one, as a cluster in the middle of a migration has them."""
    objects: dict[tuple[str, str, str], dict[str, Any]] = {}
    for world in draw(st.lists(st.sampled_from(WORLDS), min_size=1, max_size=2)):
        for one in world:
            objects.setdefault(identity(one), one)
    return list(objects.values())


@given(mixed(), st.randoms(use_true_random=False))
def test_order_changes_nothing(objects: Objects, chance: Any) -> None:
    """The same objects in another order give the same decision, word for word."""
    shuffled = list(objects)
    chance.shuffle(shuffled)
    assert decide(read(shuffled)) == decide(read(objects))


@given(mixed(), st.data())
def test_less_evidence_makes_no_other_cni_certain(objects: Objects, data: st.DataObject) -> None:
    """Whatever is taken away, no CNI becomes certain that was not; at most, certainty goes."""
    kept = [one for one in objects if data.draw(st.booleans())]
    assert certain(decide(read(kept))) <= certain(decide(read(objects)))


@given(mixed(), st.data())
def test_less_said_on_nodes_makes_no_other_cni_certain(objects: Objects, data: st.DataObject) -> None:
    """The same for single annotations of nodes."""
    poorer = copy.deepcopy(objects)
    for one in poorer:
        annotations = one["metadata"].get("annotations") or {}
        for key in sorted(annotations):
            if data.draw(st.booleans()):
                del annotations[key]
    assert certain(decide(read(poorer))) <= certain(decide(read(objects)))


@given(st.sampled_from(WORLDS), st.lists(st.sampled_from(STRANGERS), max_size=4, unique_by=identity))
def test_strangers_change_nothing(objects: Objects, strangers: Objects) -> None:
    """Objects that have nothing to do with a CNI leave the decision as it is, but for how many DaemonSets were seen."""
    alone, among = decide(read(objects)), decide(read([*strangers, *objects]))
    assert (among.cni, among.certainty, among.mode) == (alone.cni, alone.certainty, alone.mode)
    assert (among.networks, among.nodes, among.remarks) == (alone.networks, alone.nodes, alone.remarks)


@given(mixed(), st.data())
def test_nonsense_raises_nothing(objects: Objects, data: st.DataObject) -> None:
    """Any field of any object may be anything: a decision comes out, and nodes that are well keep what is theirs."""
    victim = data.draw(st.integers(0, len(objects) - 1))
    spoiled = copy.deepcopy(objects)
    where: Any = spoiled[victim]
    for _ in range(data.draw(st.integers(1, 5))):
        keys = sorted(where) if isinstance(where, dict) else range(len(where)) if isinstance(where, list) else ()
        if not keys:
            break
        step = data.draw(st.sampled_from(keys))
        if not isinstance(where[step], dict | list) or data.draw(st.booleans()):
            where[step] = data.draw(JSON)
            break
        where = where[step]
    decision = decide(read(spoiled))
    assert decision.why
    assert len({node.name for node in decision.nodes}) == len(decision.nodes)


@given(st.lists(JSON, max_size=4))
def test_what_is_no_object_is_said(objects: list[Any]) -> None:
    """A list that holds no objects at all gives an unknown CNI, and each of them is a remark."""
    decision = decide(read(objects))
    assert (decision.cni, decision.certainty) == ("unknown", "unknown")
    assert bool(decision.remarks) == bool(objects)
