"""Which objects tell of a cluster's network: one table, for listing them, for the rights it takes, and for reading them.

``core.cni`` decides from what is read here. What there is once per cluster is read now and then: a CNI changes in months.
What there is per node moves with every node and some pods, so it is watched (``HOMES``). ConfigMaps are asked for by name
only, never listed: most of them are none of our business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.kube import published, published_calico
from isthmus.kube.kinds import CONFIGMAPS, DAEMONSETS, NODES, KindRef
from isthmus.kube.parse import Projection
from isthmus.model.published import Published

_CALICO = "crd.projectcalico.org"
_CONFIG_MAPS = (
    "antrea-config",
    "calico-config",
    "canal-config",
    "cilium-config",
    "kube-flannel-cfg",
    "rke2-canal-config",
)


@dataclass(frozen=True, slots=True)
class Source:
    """One kind of object to read: ``field`` of ``Published`` gets what ``read`` makes of each.

    ``names`` restricts it to objects of those names (in kube-system and wherever a DaemonSet mounts one). ``optional`` kinds
    come from custom resource definitions that most clusters do not have. Of ``per_node`` kinds there are as many as nodes, or
    more: they are never listed again and again.
    """

    kind: KindRef
    field: str
    read: Callable[[Any], Any]
    tells: str
    names: tuple[str, ...] = ()
    optional: bool = False
    per_node: bool = False

    def wants(self, name: str) -> bool:
        """Say whether an object of that name is read; some are named after their contents (antrea-config-9ct2f7ff96)."""
        return bool(name) and (not self.names or any(name == one or name.startswith(f"{one}-") for one in self.names))


SOURCES: tuple[Source, ...] = (
    Source(
        NODES,
        "nodes",
        published.node,
        "annotations, podCIDRs, addresses, the condition NetworkUnavailable",
        per_node=True,
    ),
    Source(DAEMONSETS, "daemon_sets", published.daemon_set, "what runs: containers, arguments, variables"),
    Source(CONFIGMAPS, "config_maps", published.config_map, "modes and ranges", names=_CONFIG_MAPS),
    Source(
        KindRef(_CALICO, "v1", "ippools", False, "IPPool"),
        "pools",
        published_calico.calico_pool,
        "Calico: encapsulation, per range",
        optional=True,
    ),
    Source(
        KindRef(_CALICO, "v1", "ipamblocks", False, "IPAMBlock"),
        "blocks",
        published_calico.calico_block,
        "Calico: where pods are, and borrowed addresses",
        optional=True,
        per_node=True,
    ),
    Source(
        KindRef(_CALICO, "v1", "blockaffinities", False, "BlockAffinity"),
        "blocks",
        published_calico.calico_affinity,
        "Calico: which block is whose",
        optional=True,
        per_node=True,
    ),
    Source(
        KindRef(_CALICO, "v1", "felixconfigurations", False, "FelixConfiguration"),
        "felix",
        published_calico.calico_felix,
        "Calico: its tunnels' ports",
        names=("default",),
        optional=True,
    ),
    Source(
        KindRef("operator.tigera.io", "v1", "installations", False, "Installation"),
        "installations",
        published_calico.calico_installation,
        "Calico's operator: what is wished",
        names=("default",),
        optional=True,
    ),
    Source(
        KindRef("cilium.io", "v2", "ciliumnodes", False, "CiliumNode"),
        "cilium_nodes",
        published.cilium_node,
        "Cilium: where pods are",
        optional=True,
        per_node=True,
    ),
    Source(
        KindRef("network.openshift.io", "v1", "hostsubnets", False, "HostSubnet"),
        "host_subnets",
        published.host_subnet,
        "OpenShift SDN: where pods are",
        optional=True,
        per_node=True,
    ),
    Source(
        KindRef("config.openshift.io", "v1", "networks", False, "Network"),
        "openshift",
        published.openshift_network,
        "OpenShift: which network runs",
        names=("cluster",),
        optional=True,
    ),
)
"""What is read, in the order in which it is."""

HOMES: Mapping[str, Projection[Any]] = {
    source.kind.plural: Projection(source.kind, dict[str, Any], source.read)
    for source in SOURCES
    if source.kind.plural in ("ipamblocks", "ciliumnodes", "hostsubnets")
}
"""How the objects by which CNIs say where pods are become facts, by their plural. They are watched."""

_ALIASES: Mapping[tuple[str, str], str] = {
    ("projectcalico.org", "IPPool"): _CALICO,
    ("projectcalico.org", "BlockAffinity"): _CALICO,
    ("projectcalico.org", "IPAMBlock"): _CALICO,
    ("projectcalico.org", "FelixConfiguration"): _CALICO,
}
"""The same kinds under the name by which ``calicoctl`` shows them."""


def read(objects: Iterable[Any], unread: Iterable[str] = ()) -> Published:
    """Return the published facts of objects of any of these kinds, in any order; others are passed over.

    ``unread`` are sentences about what could not be listed. An object that is no object at all is a problem, no more.
    """
    by_kind = {(source.kind.group, source.kind.kind): source for source in SOURCES}
    found: dict[str, list[Any]] = {}
    problems: list[str] = []
    for one in objects:
        if not isinstance(one, dict):
            problems.append(f"something is no object: {type(one).__name__}")
            continue
        api, kind = one.get("apiVersion"), one.get("kind")
        if not isinstance(api, str) or not isinstance(kind, str):
            problems.append("an object has no apiVersion and kind")
            continue
        group = api.rpartition("/")[0]
        if (group, kind) == ("projectcalico.org", "Node") and _name(one):
            found.setdefault("calico_nodes", []).append(published_calico.calico_node(one))
            continue
        source = by_kind.get((_ALIASES.get((group, kind), group), kind))
        if source is not None:
            found.setdefault(source.field, []).extend(facts(source, [one]))
    return Published(
        **{field: tuple(made) for field, made in found.items()},
        unread=tuple(sorted(unread)),
        problems=tuple(sorted(problems)),
    )


def facts(source: Source, objects: Iterable[Any]) -> list[Any]:
    """Return the facts of objects that are of that kind already (a list's items do not say what they are)."""
    return [source.read(one) for one in objects if isinstance(one, dict) and source.wants(_name(one))]


def _name(one: dict[str, Any]) -> str:
    head = one.get("metadata")
    name = head.get("name") if isinstance(head, dict) else None
    return name if isinstance(name, str) else ""
