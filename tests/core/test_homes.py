"""Where pods are: what the CNI says goes before what Kubernetes assigned, one node at a time, and never on ignorance."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from core.rig import Rig, node
from isthmus.core.homes import HOMES, State
from isthmus.kube import published_calico
from isthmus.kube.publishing import HOMES as PROJECTIONS
from isthmus.kube.publishing import read
from isthmus.model.plan import Scope
from isthmus.model.published import CalicoBlock, CiliumNode, HostSubnet, Published

CALICO = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "calico-node", "namespace": "kube-system"},
    "spec": {
        "template": {"spec": {"initContainers": [{"name": "install-cni"}], "containers": [{"name": "calico-node"}]}}
    },
}
FLANNEL = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "kube-flannel-ds", "namespace": "kube-flannel"},
    "spec": {"template": {"spec": {"containers": [{"name": "kube-flannel", "command": ["/opt/bin/flanneld"]}]}}},
}
SDN = {
    "apiVersion": "config.openshift.io/v1",
    "kind": "Network",
    "metadata": {"name": "cluster"},
    "status": {"networkType": "OpenShiftSDN", "clusterNetwork": [{"cidr": "10.128.0.0/14"}]},
}
CILIUM = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "cilium-config", "namespace": "kube-system"},
    "data": {"ipam": "cluster-pool", "routing-mode": "native"},
}


def block(prefix: str, owner: str, **borrowed: str) -> CalicoBlock:
    """Return a block of ``owner``; ``borrowed`` maps an offset (_3) to the node that has that address."""
    attributes = [{"secondary": {"node": at}} for at in borrowed.values()]
    allocations: list[int | None] = [None] * 64
    for index, offset in enumerate(borrowed):
        allocations[int(offset[1:])] = index
    spec: dict[str, Any] = {"cidr": prefix, "allocations": allocations, "attributes": attributes}
    spec |= {"affinity": f"host:{owner}"} if owner else {}
    return published_calico.calico_block({"metadata": {"name": prefix}, "spec": spec})


class Story(Rig):
    """A rig whose cluster publishes things; two nodes, for which Kubernetes assigned something."""

    def __init__(self, *objects: dict[str, Any], unread: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.publish(*objects, unread=unread)
        for number in (1, 2):
            self.put(node(f"n{number}", f"192.0.2.1{number}", f"10.244.{number}.0/24"))

    def publish(self, *objects: dict[str, Any], unread: tuple[str, ...] = ()) -> set[Scope]:
        return self.world.put_published("east", read(objects, unread))

    def state(self, kind: str, state: State, doubt: str | None = None) -> set[Scope]:
        return self.world.put_home_state("east", kind, state, doubt)

    def none_of_the_kinds(self, *but: str) -> None:
        for kind in HOMES:
            self.state(kind, "read" if kind in but else "absent")

    def home(self, kind: str, name: str, found: Any) -> set[str]:
        return {scope.name for scope in self.world.put_home("east", kind, name, found) if scope.kind == "node"}

    def pods(self, name: str) -> list[str]:
        return [str(prefix) for prefix in self.world.view("east").nodes[name].pod_cidrs]

    @property
    def unread(self) -> str:
        return self.world.view("east").doubt("network", "pods") or ""


def test_blocks_are_where_pods_are() -> None:
    """Several blocks a node, one address borrowed from another's: each is a network of the node that has the pod."""
    story = Story(CALICO)
    story.none_of_the_kinds("ipamblocks")
    assert story.home("ipamblocks", "a", block("10.42.0.0/26", "n1", _5="n2")) == {"n1", "n2"}
    assert story.home("ipamblocks", "b", block("10.42.0.64/26", "n1")) == {"n1"}
    assert story.home("ipamblocks", "c", block("10.42.1.0/26", "n2")) == {"n2"}
    assert story.pods("n1") == ["10.42.0.0/26", "10.42.0.64/26"]
    assert story.pods("n2") == ["10.42.1.0/26", "10.42.0.5/32"]
    assert "10.42.0.5 borrowed" in story.world.view("east").nodes["n2"].whence


def test_a_block_that_moves_costs_its_two_nodes() -> None:
    """The old node loses it and the new one has it, and nobody else is looked at."""
    story = Story(CALICO)
    story.none_of_the_kinds("ipamblocks")
    for number in range(3, 30):
        story.put(node(f"n{number}", f"192.0.2.{10 + number}", "10.244.99.0/24"))
    story.home("ipamblocks", "a", block("10.42.0.0/26", "n1"))
    assert story.home("ipamblocks", "a", block("10.42.0.0/26", "n2")) == {"n1", "n2"}
    assert (story.pods("n1"), story.pods("n2")) == ([], ["10.42.0.0/26"])
    assert story.home("ipamblocks", "a", None) == {"n2"}
    assert story.home("ipamblocks", "a", block("10.42.0.0/26", "", _7="n1")) == {"n1"}
    assert story.pods("n1") == ["10.42.0.7/32"], (
        "a block that was given up is nobody's, a pod's address in it is its node's"
    )


def test_a_pod_that_comes_and_goes_in_its_own_block_costs_nothing() -> None:
    """Calico writes into a block whenever a pod gets an address; routes do not follow that."""
    story = Story(CALICO)
    story.none_of_the_kinds("ipamblocks")
    story.home("ipamblocks", "a", block("10.42.0.0/26", "n1"))
    assert block("10.42.0.0/26", "n1", _5="n1") == block("10.42.0.0/26", "n1"), "so an informer tells nobody"


@pytest.mark.parametrize(
    ("published", "kind", "found", "pods"),
    [
        (CILIUM, "ciliumnodes", CiliumNode("n1", pod_cidrs=(ip_network("10.9.0.0/24"),)), ["10.9.0.0/24"]),
        (SDN, "hostsubnets", HostSubnet("n1", subnet=ip_network("10.128.2.0/23")), ["10.128.2.0/23"]),
    ],
)
def test_other_cnis_have_objects_of_their_own(
    published: dict[str, Any], kind: str, found: Any, pods: list[str]
) -> None:
    """A CiliumNode and a HostSubnet each tell of their own node alone."""
    story = Story(published)
    story.none_of_the_kinds(kind)
    assert story.home(kind, "n1", found) == {"n1"}
    assert (story.pods("n1"), story.unread) == (pods, "")
    assert story.home(kind, "n1", None) == {"n1"}
    assert story.pods("n1") == []


def test_without_a_cni_that_says_otherwise_the_assigned_ones_count() -> None:
    """flannel's pods are there; and where nothing shows any CNI, there is nothing better to go by."""
    for objects in ((FLANNEL,), ()):
        story = Story(*objects)
        story.none_of_the_kinds()
        assert (story.pods("n1"), story.unread) == (["10.244.1.0/24"], "")


def test_until_it_was_looked_at_nothing_is_known() -> None:
    """Neither the CNI nor where pods are: a restart judges no route before."""
    rig = Rig()
    rig.world.view("east").unconfirm()
    assert rig.world.view("east").doubt("network") == "cluster east: which CNI it has was not looked at yet"
    rig.world.put_published("east", Published())
    assert rig.world.view("east").doubt("network") is None
    assert "ipamblocks.crd.projectcalico.org, which say where pods are, have not been read yet" in (
        rig.world.view("east").doubt("pods") or ""
    )


@pytest.mark.parametrize("objects", [(CALICO,), ()])
def test_blocks_that_we_may_not_read_leave_everything_as_it_stands(objects: tuple[dict[str, Any], ...]) -> None:
    """The missing rule is named; that holds for an unknown CNI, too, for it might be Calico."""
    story = Story(*objects)
    story.none_of_the_kinds()
    story.state("ipamblocks", "forbidden")
    assert "we may not read its ipamblocks.crd.projectcalico.org" in story.unread
    assert "grant list and watch" in story.unread
    story.state("ipamblocks", "read")
    assert story.unread == ""


def test_no_block_at_all_is_no_answer_while_something_could_not_be_read() -> None:
    """With host-local IPAM there are none; whether it is so would be in a ConfigMap that we may not read."""
    story = Story(CALICO, unread=("configmaps kube-system/calico-config: we may not get it",))
    story.none_of_the_kinds("ipamblocks")
    assert "none of its ipamblocks" in story.unread
    assert "calico-config" in story.unread
    story.home("ipamblocks", "a", block("10.42.0.0/26", "n1"))
    story.state("ipamblocks", "read")
    assert story.unread == ""


def test_blocks_in_doubt_are_said() -> None:
    """An empty list after a full one deletes nothing, and says so of the pods."""
    story = Story(CALICO)
    story.none_of_the_kinds("ipamblocks")
    story.state("ipamblocks", "read", "the list is empty")
    assert "the list is empty" in story.unread
    story.state("ipamblocks", "read")
    assert story.unread == ""


def test_one_that_several_could_have_is_nobodys() -> None:
    """Where two run, nobody says which has the node's pods; a person can."""
    story = Story(CALICO, FLANNEL)
    story.none_of_the_kinds("ipamblocks")
    story.home("ipamblocks", "a", block("10.42.0.0/26", "n1"))
    assert story.pods("n1") == []
    assert "spec.cni" in story.world.view("east").nodes["n1"].whence
    tell(story, cni="flannel")
    assert story.pods("n1") == ["10.244.1.0/24"]
    tell(story, cni="calico")
    assert story.pods("n1") == ["10.42.0.0/26"]
    tell(story, podCIDRs="nodes")
    assert (story.pods("n1"), story.pods("n2")) == (["10.244.1.0/24"], ["10.244.2.0/24"])


def tell(story: Story, **spec: str) -> None:
    """Have the user's KubeCluster say something of the CNI."""
    story.kind("KubeCluster", "east", {"inCluster": True, **spec})
    story.world.tell_network("east")


def test_what_a_person_wrote_on_a_node_counts_too() -> None:
    """The annotation adds to what the CNI says, as it adds to what Kubernetes assigned."""
    story = Story(CALICO)
    story.none_of_the_kinds("ipamblocks")
    story.home("ipamblocks", "a", block("10.42.0.0/26", "n1"))
    further = (ip_network("10.77.0.0/24"),)
    story.put(node("n1", "192.0.2.11", ("10.244.1.0/24", "10.77.0.0/24"), further=further))
    assert story.pods("n1") == ["10.42.0.0/26", "10.77.0.0/24"]


def test_every_kind_is_known_to_both_sides() -> None:
    """What core knows as homes is what is watched, and is read into the very facts it expects."""
    assert set(PROJECTIONS) == set(HOMES)
    for kind, facts in HOMES.items():
        assert isinstance(PROJECTIONS[kind].facts({"metadata": {"name": "x"}}), facts)
