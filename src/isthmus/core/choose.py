"""Which path ``auto`` takes: the first that works, and why the ones before it do not.

The order is that of least machinery: direct, then flannel's own peers, then our overlay. "Works" is shown by evidence (a
node answered the device on their common segment), never by a matching subnet alone. A choice is made once and kept by the
caller; a node that does not answer later never re-paths a fleet.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.core.ground import Ground
from isthmus.core.paths import flannel
from isthmus.core.world import Choice, PathName
from isthmus.model.facts import NodeFacts
from isthmus.model.resources import IPAddress

ORDER: tuple[PathName, ...] = ("direct", "flannel", "overlay")
"""The order in which paths are tried; a link with several devices takes the last that any of them needs."""

_WITH_FLANNEL = ("flannel", "canal")


def neighbors_to_prove(ground: Ground) -> list[IPAddress]:
    """Return the node addresses that must answer the device on its own segment before ``direct`` may be chosen."""
    wanted = []
    for node in _ready(ground):
        for version in sorted({prefix.version for prefix in node.pod_cidrs}):
            address = node.address(version)
            if address is not None and ground.segment_address(address) is not None:
                wanted.append(address)
    return wanted


def choose(ground: Ground, answered: Mapping[IPAddress, bool]) -> tuple[Choice | None, tuple[tuple[str, str], ...]]:
    """Return the choice for the ground's link (none if nothing works or nothing is known yet) and what was rejected.

    ``answered`` is the evidence: which of :func:`neighbors_to_prove` answered a probe from the device.
    """
    nodes = _ready(ground)
    if not nodes:
        return None, (("auto", "no node with a pod CIDR is ready yet"),)
    rejected: list[tuple[str, str]] = []
    why_not = _direct(ground, nodes, answered)
    if why_not is None:
        return Choice("direct", f"all {len(nodes)} nodes answer {ground.device_name} on their common segment"), ()
    rejected.append(("direct", why_not))
    why_not = _leftover(ground) or _flannel(nodes)
    if why_not is None:
        why = f"all {len(nodes)} nodes publish flannel VXLAN ends; no agent is needed on any of them"
        return Choice("flannel", why, tuple(rejected)), tuple(rejected)
    rejected.append(("flannel", why_not))
    if ground.link.spec.overlay is not None:
        why = "it works with any CNI; each node needs the node agent"
        return Choice("overlay", why, tuple(rejected)), tuple(rejected)
    rejected.append(("overlay", "the link has no spec.overlay.networks"))
    return None, tuple(rejected)


def _ready(ground: Ground) -> list[NodeFacts]:
    return [node for node in ground.nodes() if node.pod_cidrs and node.not_ready_since is None]


def _direct(ground: Ground, nodes: list[NodeFacts], answered: Mapping[IPAddress, bool]) -> str | None:
    for node in nodes:
        for version in sorted({prefix.version for prefix in node.pod_cidrs}):
            address = node.address(version)
            if address is None:
                return f"node {node.name} has no IPv{version} InternalIP"
            if ground.segment_address(address) is None:
                return f"node {node.name} ({address}) is on no segment of {ground.device_name}"
            if not answered.get(address, False):
                return (
                    f"node {node.name} ({address}) is in a subnet of {ground.device_name} but does not answer there"
                )
    return None


def _leftover(ground: Ground) -> str | None:
    """Say why flannel's annotations prove nothing here: the network is certainly another's."""
    found = ground.cluster.cni
    if found is None or found.certainty != "certain" or any(one.cni in _WITH_FLANNEL for one in found.networks):
        return None
    return f"the CNI of cluster {ground.cluster.name} is {found.cni}, so no flanneld answers"


def _flannel(nodes: list[NodeFacts]) -> str | None:
    for node in nodes:
        for version in sorted({prefix.version for prefix in node.pod_cidrs}):
            found = flannel.vtep(node, version)
            if isinstance(found, str):
                return found
    return None
