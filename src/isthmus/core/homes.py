"""Where one cluster's pods are, node by node: who decides that, and what he says, kept current object by object.

Kubernetes assigns each node networks (``spec.podCIDRs``). Whether pods get addresses from them is the CNI's affair: Calico
has blocks, Cilium and OpenShift SDN have objects of their own, others write annotations. Here a Node's facts get the pod
CIDRs that count. Where nothing shows the CNI, the assigned ones do, and so they do where a person says it.

The one confusing thing: ``waits``. Until it is known which CNI there is, and while the objects by which it says where pods
are cannot be read, nobody knows where pods are: what stands stays (``World`` takes that for unread). An object that was
*read* and names no network is an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Literal, TypeAlias, cast

import msgspec

from isthmus.core.cni import CNIS, Decision, Evidence, Home, NodeNetwork, judge, network
from isthmus.core.cni.finding import UNKNOWN
from isthmus.model.facts import DEVICE_LABEL, NodeFacts
from isthmus.model.published import CalicoBlock, CiliumNode, HostSubnet, Published, PublishedNode
from isthmus.model.resources import IPAddress, IPNetwork

State: TypeAlias = Literal["unread", "absent", "forbidden", "read"]
HOMES: dict[str, type[Home]] = {"ipamblocks": CalicoBlock, "ciliumnodes": CiliumNode, "hostsubnets": HostSubnet}
"""The kinds of objects by which CNIs say where pods are, by their plural."""
_GROUPS = {"ipamblocks": "crd.projectcalico.org", "ciliumnodes": "cilium.io", "hostsubnets": "network.openshift.io"}
_IN_ASSIGNED = frozenset({"antrea", "canal", "flannel", "kindnet"})
"""CNIs whose pods are in what Kubernetes assigned their node."""
_WORDS = {"calico": "Calico's blocks", "cilium": "its CiliumNode", "openshift-sdn": "its HostSubnet"}


class Homes:
    """One cluster's CNI and where its nodes' pods are. ``decision`` is none until it was looked at."""

    def __init__(self) -> None:
        self.decision: Decision | None = None
        self.evidence = Evidence(Published())
        self.states: dict[str, State] = dict.fromkeys(HOMES, "unread")
        self.doubts: dict[str, str] = {}
        self.odd: dict[str, tuple[str, ...]] = {}
        """What is odd about nodes, by their names."""
        self.trouble = ""
        """Why it is not known yet which CNI there is."""
        self.told = ""
        self.as_assigned = False
        self._objects: dict[str, dict[str, Home]] = {kind: {} for kind in HOMES}

    # --- what is put in -----------------------------------------------------------------------------------------

    def tell(self, told: str, *, as_assigned: bool) -> bool:
        """Take what a person says: which CNI it is (or empty), and whether pods are where Kubernetes assigned them.

        Return whether that is news.
        """
        if (told, as_assigned) == (self.told, self.as_assigned):
            return False
        self.told, self.as_assigned = told, as_assigned
        self.judge()
        return True

    def take(self, published: Published) -> None:
        """Take what is published once per cluster; what ``published`` says of single nodes is passed over."""
        self.evidence.take(published)
        if self.decision is None:
            self.decision = Decision(UNKNOWN, "unknown", UNKNOWN, "")
        self.judge()

    def judge(self) -> None:
        """Decide anew, if it was looked at; what less could be read than before makes a CNI no less known."""
        before = self.decision
        if before is None:
            return
        found = judge(self.evidence, self.told)
        unread = self.evidence.published.unread
        if unread and not self.told and _RANK[found.certainty] < _RANK[before.certainty]:
            lost = f"kept as it was, for less can be read than before: {'; '.join(unread)}"
            found = replace(before, remarks=tuple(dict.fromkeys([*before.remarks, lost])))
        self.decision = found

    def put_node(self, name: str, facts: NodeFacts | None) -> None:
        """Take one Node as it came."""
        self.evidence.put_node(name, None if facts is None else published_node(facts))
        if facts is None:
            self.odd.pop(name, None)

    def put_home(self, kind: str, name: str, found: Home | None) -> set[str]:
        """Take one object of :data:`HOMES` by its name; return the nodes it is about."""
        before = self._objects[kind].pop(name, None)
        if found is not None:
            self._objects[kind][name] = found
        about: set[str] = set()
        if isinstance(found or before, CalicoBlock):
            return self.evidence.put_block(("IPAMBlock", name), cast("CalicoBlock | None", found))
        for one, now in ((before, None), (found, found)):  # a HostSubnet's host need not be its name
            if isinstance(one, CiliumNode):
                about |= self.evidence.put_cilium_node(one.name, cast("CiliumNode | None", now))
            elif isinstance(one, HostSubnet):
                about |= self.evidence.put_host_subnet(one.name, cast("HostSubnet | None", now))
        return about

    def home_names(self, kind: str) -> list[str]:
        """Return the names of the objects of that kind that are known."""
        return list(self._objects[kind])

    # --- what comes out -----------------------------------------------------------------------------------------

    def waits(self) -> str | None:
        """Return why nobody knows where pods are just now, or none."""
        if self.as_assigned:
            return None
        if self.decision is None:
            return self.trouble or "which CNI it has was not looked at yet"
        for kind in self._needed():
            name = f"{kind}.{_GROUPS[kind]}"
            if self.states[kind] == "unread":
                return f"its {name}, which say where pods are, have not been read yet"
            if self.states[kind] == "read" and self.evidence.published.unread and not self._objects[kind]:
                unread = "; ".join(self.evidence.published.unread)
                return f"none of its {name} is there, and what would say whether one should be was not read: {unread}"
            if self.states[kind] == "forbidden":
                return (
                    f"we may not read its {name}, which say where pods are: grant list and watch on them (see "
                    "deploy/base/joined), or set spec.podCIDRs of the KubeCluster to nodes"
                )
        return None

    def denied(self) -> bool:
        """Say whether that is so for lack of a right: then waiting alone changes nothing."""
        needed = list(self._needed()) if self.decision is not None and not self.as_assigned else []
        return self.waits() is not None and bool(needed) and all(self.states[kind] != "unread" for kind in needed)

    def doubt(self) -> str | None:
        """Return why what is known of where pods are is not to be believed just now, or none."""
        needed = [] if self.as_assigned else self._needed()
        return next((self.doubts[kind] for kind in needed if kind in self.doubts), None)

    def basis(self) -> object:
        """Return what :meth:`settle` rests on beside the node's own objects: while it is equal, no node has others."""
        found = self.decision
        return (
            found and (found.networks, found.traces),
            self.as_assigned,
            self.evidence.published,
            dict(self.states),
        )

    def settle(self, facts: NodeFacts) -> NodeFacts:
        """Return a Node's facts with the pod CIDRs that count; the very same facts where those are its own."""
        if self.decision is None or DEVICE_LABEL in facts.labels:
            return facts
        known = network(self.evidence, self.decision, facts.name)
        if known.oddities:
            self.odd[facts.name] = known.oddities
        else:
            self.odd.pop(facts.name, None)
        endpoints = tuple(end for end in known.endpoints if end != facts.address(end.version))
        prefixes, whence = facts.pod_cidrs, ""
        if not self.as_assigned and not self._in_assigned():
            prefixes, whence = self._housed(facts, known)
        if (prefixes, whence, endpoints) == (facts.pod_cidrs, "", ()):
            return facts
        return msgspec.structs.replace(facts, pod_cidrs=prefixes, whence=whence, endpoints=endpoints)

    def homeless(self, nodes: Mapping[str, object]) -> list[str]:
        """Return sentences about blocks whose node is none of ``nodes``: its name there is another, or it is gone."""
        strays = sorted(name for name in self.evidence.blocks_by_node if name not in nodes)
        return [f"Calico gave blocks to {name}, and there is no Node of that name" for name in strays]

    # --- within -------------------------------------------------------------------------------------------------

    def _needed(self) -> Iterable[str]:
        """Return the kinds without which nobody knows where pods are."""
        if self.decision is None:
            return ()
        if not self.decision.networks:
            # Nothing shows the CNI. A kind that is there and cannot be read could.
            return [kind for kind, state in self.states.items() if state in ("unread", "forbidden")]
        if self._in_assigned() or len(self.decision.networks) > 1:
            return []
        ask = cast("Callable[[Evidence], str | None] | None", getattr(CNIS[self.decision.cni], "needs", None))
        kind = ask(self.evidence) if ask is not None else None
        return [kind] if kind is not None else []

    def _in_assigned(self) -> bool:
        """Say whether pods are in what Kubernetes assigned, whichever of the CNIs in question it is."""
        assert self.decision is not None, "who asks has looked"
        names = [found.cni for found in self.decision.networks] or self.decision.traces
        return all(name in _IN_ASSIGNED for name in names)

    def _housed(self, facts: NodeFacts, known: NodeNetwork) -> tuple[tuple[IPNetwork, ...], str]:
        assert self.decision is not None, "who asks has looked"
        cni = self.decision.cni
        borrowed = [_alone(address) for address in known.borrowed]
        told = tuple(dict.fromkeys([*(known.pod_cidrs or ()), *borrowed, *facts.further]))
        if told:
            whence = _WORDS.get(cni, f"what {cni} says")
            if borrowed:
                whence += f"; {', '.join(map(str, known.borrowed[:5]))} borrowed from blocks of other nodes"
            if told == facts.pod_cidrs:
                return told, ""
            return told, whence
        if len(self.decision.networks) != 1:
            return (), "nobody says which CNI its pods are of; name it in spec.cni of the KubeCluster"
        if known.pod_cidrs is None and not any(self.states[kind] == "read" for kind in self._needed()):
            return (), f"{cni} does not publish where its pods are"
        return (), f"{cni} has no network of pods on it (yet)"


def _alone(address: IPAddress) -> IPNetwork:
    return ip_network(address)


_RANK = {"unknown": 0, "likely": 1, "certain": 2}


def published_node(facts: NodeFacts) -> PublishedNode:
    """Return a Node as evidence of its CNI; what a person wrote on it for us is none."""
    return PublishedNode(
        name=facts.name,
        internal=facts.addresses,
        assigned=tuple(prefix for prefix in facts.pod_cidrs if prefix not in facts.further),
        annotations=facts.annotations,
        up=facts.up,
        windows=facts.labels.get("kubernetes.io/os") == "windows",
        device=DEVICE_LABEL in facts.labels,
    )
