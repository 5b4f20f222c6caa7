"""Everything we know, in one place: the clusters' facts, the user's kinds, and what was assigned and chosen before.

Each ``put_...`` takes a whole new value (or none for "gone") and returns the scopes that must be looked at again; it
never says what happened, only where to look. The cost of a change is that of its own scope.

The one confusing thing: where pods are. A Node says what Kubernetes assigned it; what counts may be elsewhere, so one block
of Calico's can move two nodes, and news of the CNI all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias, cast

import msgspec

from isthmus.core.adopt import Adoptions
from isthmus.core.cni import Home
from isthmus.core.homes import State
from isthmus.core.pool_use import PoolUse
from isthmus.core.sights import Sights
from isthmus.core.view import FACTS, ClusterView, Facts
from isthmus.model.claims import VipFacts, vip_facts
from isthmus.model.facts import NamespaceFacts, NodeFacts, ObjectKey, ServiceFacts, SliceFacts
from isthmus.model.kinds import AddressPool, ClusterLink, EdgeDevice, KubeCluster, VirtualIP
from isthmus.model.plan import Scope
from isthmus.model.published import Published
from isthmus.model.resources import IPAddress, IPInterface

PathName: TypeAlias = Literal["direct", "flannel", "overlay"]
Holder = tuple[str, str, str]
"""Cluster, namespace and name of a Service that holds addresses."""


class Choice(msgspec.Struct, frozen=True):
    """Which path ``auto`` took for a link, why, and why it did not take the others; kept once made.

    ``cni`` is the CNI that the cluster had then, empty where it was not known.
    """

    path: PathName
    why: str
    rejected: tuple[tuple[str, str], ...] = ()
    cni: str = ""


def path_of(world: World, link: ClusterLink) -> PathName | None:
    """Return the path a link uses: the one the user wrote, else the one chosen and kept, else none yet."""
    if link.spec.path != "auto":
        return link.spec.path
    choice = world.choices.get(link.metadata.name)
    return choice.path if choice is not None else None


class World:
    """All clusters, kinds, choices and assignments that decisions rest on."""

    def __init__(self) -> None:
        self.clusters: dict[str, ClusterView] = {}
        self.cluster_kinds: dict[str, KubeCluster] = {}
        self.devices: dict[str, EdgeDevice] = {}
        self.links: dict[str, ClusterLink] = {}
        self.pools: dict[str, AddressPool] = {}
        self.vips: dict[str, VipFacts] = {}
        self.choices: dict[str, Choice] = {}
        self.device_addresses: dict[tuple[str, str], tuple[IPInterface, ...]] = {}
        self.adoptions: dict[str, Adoptions] = {}
        self.sights = Sights()
        self.pool_use = PoolUse()
        self.unexported: set[str] = set()
        self.config_doubt: str | None = "the configuration has not been read yet"
        self.releases = 0
        self._held: dict[Holder, tuple[str, ...]] = {}

    # --- the user's kinds ---------------------------------------------------------------------------------------

    def links_of_cluster(self, cluster: str) -> list[ClusterLink]:
        """Return the links that join ``cluster``, by name."""
        return [link for _, link in sorted(self.links.items()) if link.spec.cluster == cluster]

    def links_of_device(self, device: str) -> list[ClusterLink]:
        """Return the links that use ``device``, by name."""
        return [link for _, link in sorted(self.links.items()) if device in link.spec.devices]

    def view(self, cluster: str) -> ClusterView:
        """Return the facts of ``cluster``, an empty and unread view when it is new."""
        view = self.clusters.get(cluster)
        if view is None:
            view = self.clusters[cluster] = ClusterView(cluster)
        return view

    def put_vip(self, name: str, vip: VirtualIP | VipFacts | None) -> set[Scope]:
        """Take one claim; return the scopes of the Services that held or hold it."""
        facts = vip_facts(vip) if isinstance(vip, VirtualIP) else vip
        before = self.vips.get(name)
        self.pool_use.moved(before, facts)
        touched: set[Scope] = set()
        for holder in {one.holder for one in (before, facts) if one is not None}:
            if holder is not None:
                touched |= self._service_scopes(holder[0], [(holder[1], holder[2])])
        if before is not None and before.holder is not None:
            left = tuple(held for held in self._held[before.holder] if held != name)
            if left:
                self._held[before.holder] = left
            else:
                del self._held[before.holder]
        if facts is None:
            self.releases += 1
            if self.vips.pop(name, None) is not None and before is not None:
                self.sights.released(before.address)
        else:
            self.vips[name] = facts
            if facts.holder is not None:
                self._held[facts.holder] = (*self._held.get(facts.holder, ()), name)
        return touched

    def addresses_of(self, holder: Holder) -> list[IPAddress]:
        """Return the addresses a Service holds, IPv4 first, ascending."""
        addresses = [self.vips[name].address for name in self._held.get(holder, ())]
        return sorted(addresses, key=lambda address: (address.version, int(address)))

    # --- the clusters' facts ------------------------------------------------------------------------------------

    def put(self, cluster: str, kind: str, key: ObjectKey, facts: Facts | None) -> set[Scope]:
        """Take one object of a watched ``kind`` (its plural); see the methods below for what is returned."""
        assert facts is None or isinstance(facts, FACTS[kind]), f"{kind} become {FACTS[kind].__name__}"
        if kind == "nodes":
            return self.put_node(cluster, key[1], cast("NodeFacts | None", facts))
        if kind == "services":
            return self.put_service(cluster, key, cast("ServiceFacts | None", facts))
        if kind == "endpointslices":
            return self.put_slice(cluster, key, cast("SliceFacts | None", facts))
        self.put_namespace(cluster, key[1], cast("NamespaceFacts | None", facts))
        return set()

    def put_node(self, cluster: str, name: str, facts: NodeFacts | None) -> set[Scope]:
        """Take one Node; return its scope on every link, the links' own, and those of Services with pods on it."""
        view = self.view(cluster)
        if view.stated.get(name) == facts:
            return set()
        view.homes.put_node(name, facts)
        if facts is None:
            del view.stated[name]
            return self._put_settled(cluster, name, None)
        view.stated[name] = facts
        return self._put_settled(cluster, name, view.homes.settle(facts))

    def put_home(self, cluster: str, kind: str, name: str, found: Home | None) -> set[Scope]:
        """Take one object by which a CNI says where pods are; return what that of each node it is about touches."""
        view = self.view(cluster)
        about = view.homes.put_home(kind, name, found)
        if "pods" in view.pending:
            view.settled_on = None
            return set()  # all nodes are gone through once it is known where pods are
        return self._settle(cluster, about & view.stated.keys())

    def put_published(self, cluster: str, published: Published) -> set[Scope]:
        """Take what is published once per cluster, decide which CNI it has, and return what that touches."""
        view = self.view(cluster)
        view.homes.take(published)
        return self._look_at_homes(view)

    def judge_network(self, cluster: str) -> set[Scope]:
        """Decide anew which CNI a cluster has, from what is known of it now; return what that touches."""
        view = self.view(cluster)
        view.homes.judge()
        return self._look_at_homes(view)

    def put_home_state(self, cluster: str, kind: str, state: State, doubt: str | None = None) -> set[Scope]:
        """Take how it stands with reading a kind of :data:`homes.HOMES`; return what that touches."""
        view = self.view(cluster)
        view.homes.states[kind] = state
        if doubt is None:
            view.homes.doubts.pop(kind, None)
        else:
            view.homes.doubts[kind] = doubt
        view.homes.judge()
        return self._look_at_homes(view)

    def tell_network(self, cluster: str) -> set[Scope]:
        """Take what the user's KubeCluster says of the CNI; return what that touches."""
        view, kind = self.view(cluster), self.cluster_kinds.get(cluster)
        if kind is None:
            return set()
        told = "" if kind.spec.cni == "auto" else kind.spec.cni
        if not view.homes.tell(told, as_assigned=kind.spec.pod_cidrs == "nodes"):
            return set()
        return self._look_at_homes(view)

    def _look_at_homes(self, view: ClusterView) -> set[Scope]:
        waits, doubt = view.homes.waits(), view.homes.doubt()
        if view.homes.decision is not None:
            view.pending.discard("network")
        if waits is None:
            view.pending.discard("pods")
        else:
            view.pending.add("pods")
        if doubt is None:
            view.suspect.pop("pods", None)
        else:
            view.suspect["pods"] = doubt
        # While nobody knows where pods are, what is known stays as it is.
        basis = view.homes.basis() if waits is None else None
        if basis == view.settled_on:
            return set()
        view.settled_on = basis
        return self._settle(view.name, view.stated) if waits is None else set()

    def _settle(self, cluster: str, names: Iterable[str]) -> set[Scope]:
        view = self.view(cluster)
        touched: set[Scope] = set()
        for name in names:
            touched |= self._put_settled(cluster, name, view.homes.settle(view.stated[name]))
        return touched

    def _put_settled(self, cluster: str, name: str, facts: NodeFacts | None) -> set[Scope]:
        view = self.view(cluster)
        old = view.nodes.get(name)
        if old == facts:
            return set()
        view.put_node(name, facts)
        touched: set[Scope] = set()
        for link in self.links_of_cluster(cluster):
            touched.add(Scope("node", link.metadata.name, name))
            touched.add(Scope("link", link.metadata.name))
        readiness = (old.not_ready_since if old else None) != (facts.not_ready_since if facts else None)
        if readiness or old is None or facts is None or old.pod_cidrs != facts.pod_cidrs:
            touched |= self._service_scopes(cluster, view.services_on(name))
        return touched

    def put_service(self, cluster: str, key: ObjectKey, facts: ServiceFacts | None) -> set[Scope]:
        """Take one Service; return its scope on every link of the cluster."""
        view = self.view(cluster)
        if view.services.get(key) == facts:
            return set()
        if facts is None:
            del view.services[key]
        else:
            view.services[key] = facts
        return self._service_scopes(cluster, [key])

    def put_slice(self, cluster: str, key: ObjectKey, facts: SliceFacts | None) -> set[Scope]:
        """Take one EndpointSlice; return the scopes of the Services it belongs or belonged to."""
        return self._service_scopes(cluster, self.view(cluster).put_slice(key, facts))

    def put_namespace(self, cluster: str, name: str, facts: NamespaceFacts | None) -> None:
        """Take one Namespace; nothing on a device depends on it, allocation does."""
        view = self.view(cluster)
        if facts is None:
            view.namespaces.pop(name, None)
        else:
            view.namespaces[name] = facts
            if name == "kube-system":
                view.uid = facts.uid

    # --- scopes -------------------------------------------------------------------------------------------------

    def scopes_of_link(self, link: ClusterLink) -> set[Scope]:
        """Return every scope a link has now: itself, its nodes, its cluster's LoadBalancer Services."""
        name = link.metadata.name
        view = self.view(link.spec.cluster)
        scopes = {Scope("link", name)}
        scopes |= {Scope("node", name, node) for node in view.nodes}
        scopes |= {
            Scope("service", name, "/".join(key))
            for key, facts in view.services.items()
            if facts.type == "LoadBalancer"
        }
        return scopes

    def scopes_of_device(self, device: str) -> set[Scope]:
        """Return every scope that concerns ``device`` now."""
        return {scope for link in self.links_of_device(device) for scope in self.scopes_of_link(link)}

    def devices_of(self, scope: Scope) -> tuple[str, ...]:
        """Return the devices a scope concerns; none when its link is gone."""
        link = self.links.get(scope.link)
        return tuple(link.spec.devices) if link is not None else ()

    def _service_scopes(self, cluster: str, keys: Iterable[ObjectKey]) -> set[Scope]:
        return {
            Scope("service", link.metadata.name, "/".join(key))
            for link in self.links_of_cluster(cluster)
            for key in keys
        }
