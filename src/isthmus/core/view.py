"""One cluster as we know it: its facts, what was not read yet, what is not to be believed, and where its pods are.

The one confusing thing: "not there" has two meanings. A node that is absent from a cluster *in sync* is gone; absent
from one that was never read, or whose answer is in doubt, it is unknown, and :meth:`ClusterView.doubt` says so.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from isthmus.core.cni import Decision
from isthmus.core.homes import Homes
from isthmus.model.facts import NamespaceFacts, NodeFacts, ObjectKey, ServiceFacts, SliceFacts

Facts: TypeAlias = NodeFacts | ServiceFacts | SliceFacts | NamespaceFacts
FACTS: dict[str, type[Facts]] = {
    "nodes": NodeFacts,
    "services": ServiceFacts,
    "endpointslices": SliceFacts,
    "namespaces": NamespaceFacts,
}
WATCHED = tuple(FACTS)
KNOWLEDGE = (*WATCHED, "network", "pods")
"""All that must be known of a cluster: what is watched, which CNI it has, and where that has its pods."""


class ClusterView:
    """One cluster's facts. ``pending``: kinds not read completely yet; ``suspect``: kinds whose answer is in doubt.

    ``nodes`` have the pod CIDRs that count (see ``homes``), ``stated`` are the Nodes as they came.

    ``stranger`` says that this is not the cluster it was before a restart; then nothing it does not have counts as gone.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.uid = ""
        self.nodes: dict[str, NodeFacts] = {}
        self.stated: dict[str, NodeFacts] = {}
        self.homes = Homes()
        self.settled_on: object = None
        self.services: dict[ObjectKey, ServiceFacts] = {}
        self.namespaces: dict[str, NamespaceFacts] = {}
        self.slices: dict[ObjectKey, dict[str, SliceFacts]] = {}
        self.pending: set[str] = set(KNOWLEDGE)
        self.suspect: dict[str, str] = {}
        self.stranger: str | None = None
        self._names: list[str] = []
        self._slice_owner: dict[ObjectKey, ObjectKey] = {}
        self._on_node: dict[str, dict[ObjectKey, int]] = {}

    @property
    def cni(self) -> Decision | None:
        """Return which CNI it has, none until that was looked at."""
        return self.homes.decision

    @property
    def awaited(self) -> set[str]:
        """Return what is still to be read: all that is pending, but not what we may not read."""
        return self.pending - {"pods"} if self.homes.denied() else self.pending

    def unconfirm(self) -> None:
        """Take nothing for read any more; what is known stays."""
        self.pending.update(KNOWLEDGE)
        self.homes.states = dict.fromkeys(self.homes.states, "unread")
        self.homes.doubts.clear()

    def doubt(self, *kinds: str) -> str | None:
        """Return why absence means nothing here now, or none: the cluster is read and its answers are believed."""
        if self.stranger is not None:
            return f"cluster {self.name}: {self.stranger}"
        for kind in kinds or KNOWLEDGE:
            if kind in self.pending:
                why = self.homes.waits() if kind in ("network", "pods") else None
                return f"cluster {self.name}: {why or f'its {kind} have not been read yet'}"
            if kind in self.suspect:
                return f"cluster {self.name}: {self.suspect[kind]}"
        return None

    def put_node(self, name: str, facts: NodeFacts | None) -> None:
        """Take one Node; none is for "gone"."""
        if facts is None:
            del self.nodes[name]
            del self._names[bisect_left(self._names, name)]
            return
        if name not in self.nodes:
            insort(self._names, name)
        self.nodes[name] = facts

    def nodes_by_name(self) -> Iterator[NodeFacts]:
        """Yield the nodes by name; kept sorted, because most who ask stop at the first that will do."""
        return (self.nodes[name] for name in self._names)

    def put_slice(self, key: ObjectKey, facts: SliceFacts | None) -> set[ObjectKey]:
        """Take one EndpointSlice and return the Services it belongs or belonged to."""
        touched: set[ObjectKey] = set()
        old_owner = self._slice_owner.pop(key, None)
        if old_owner is not None:
            touched.add(old_owner)
            old = self.slices[old_owner].pop(key[1])
            self._count_nodes(old_owner, old, -1)
            if not self.slices[old_owner]:
                del self.slices[old_owner]
        if facts is not None:
            owner = (facts.namespace, facts.service)
            self._slice_owner[key] = owner
            self.slices.setdefault(owner, {})[key[1]] = facts
            self._count_nodes(owner, facts, +1)
            touched.add(owner)
        return touched

    def keys(self, kind: str) -> list[ObjectKey]:
        """Return the keys of every object of a watched ``kind`` that is known."""
        match kind:
            case "nodes":
                return [("", name) for name in self.nodes]
            case "services":
                return list(self.services)
            case "endpointslices":
                return list(self._slice_owner)
        return [("", name) for name in self.namespaces]

    def services_on(self, node: str) -> Iterable[ObjectKey]:
        """Return the Services that have a pod on ``node``."""
        return tuple(self._on_node.get(node, ()))

    def _count_nodes(self, service: ObjectKey, facts: SliceFacts, step: int) -> None:
        for endpoint in facts.endpoints:
            if endpoint.node is None:
                continue
            counts = self._on_node.setdefault(endpoint.node, {})
            counts[service] = counts.get(service, 0) + step
            if counts[service] == 0:
                del counts[service]
                if not counts:
                    del self._on_node[endpoint.node]
