"""Which path ``auto`` takes: the first that works, and why the ones before it do not.

The order is that of least machinery: direct, then flannel's own peers, then our overlay. "Works" is shown by evidence, never
by a matching subnet or an annotation alone: a node answered the device on their common segment; flannel is what runs. A
choice is made once and kept by the caller; a node that does not answer later never re-paths a fleet, and neither does a CNI
that is another one later (:func:`changed` says so).

The one confusing thing: BGP. Where the cluster's CNI speaks it, a device could be its peer with no agent of ours on any
node; that is said among the paths that were not taken, because it is not built yet.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.core import policy
from isthmus.core.ground import Ground
from isthmus.core.paths import flannel
from isthmus.core.paths.overlay import refused_port
from isthmus.core.world import Choice, PathName, World
from isthmus.model.facts import NodeFacts
from isthmus.model.resources import IPAddress

ORDER: tuple[PathName, ...] = ("direct", "flannel", "overlay")
"""The order in which paths are tried; a link with several devices takes the last that any of them needs."""

Rejected = tuple[tuple[str, str], ...]
_WITH_FLANNEL = ("flannel", "canal")


def neighbors_to_prove(ground: Ground) -> list[IPAddress]:
    """Return the node addresses that must answer the device on its own segment before ``direct`` may be chosen."""
    wanted = []
    for node in _ready(ground):
        for version in sorted({prefix.version for prefix in node.pod_cidrs}):
            found = ground.hop(node, version)
            if found is not None:
                wanted.append(found[0])
    return wanted


def choose(ground: Ground, answered: Mapping[IPAddress, bool] | None) -> tuple[Choice | None, Rejected]:
    """Return the choice for the ground's link (none if nothing works or nothing is known yet) and what was rejected.

    ``answered`` is the evidence: which of :func:`neighbors_to_prove` answered the device; none where it cannot ask.
    """
    nodes, cni = _ready(ground), _known(ground)
    if not nodes:
        return None, (("auto", _nobody(ground)),)
    rejected: list[tuple[str, str]] = []
    why_not = _direct(ground, nodes, answered)
    if why_not is None:
        why = f"all {len(nodes)} nodes answer {ground.device_name} on their common segment{_taken_on_trust(ground)}"
        return Choice("direct", why, (), cni), ()
    rejected.append(("direct", why_not))
    why_not = _not_flannels(ground) or _flannel(nodes) or _out_of_reach(ground)
    if why_not is None:
        why = f"all {len(nodes)} nodes publish flannel VXLAN ends; no agent is needed on any of them"
        return Choice("flannel", why, tuple(rejected), cni), tuple(rejected)
    rejected.append(("flannel", why_not))
    if (bgp := _bgp(ground)) is not None:
        rejected.append(("bgp", bgp))
    why_not = _overlay(ground)
    if why_not is None:
        why = f"it works with any CNI; each node needs the node agent{_taken_on_trust(ground)}"
        return Choice("overlay", why, tuple(rejected), cni), tuple(rejected)
    rejected.append(("overlay", why_not))
    return None, tuple(rejected)


def changed(world: World, link: str, cluster: str) -> str | None:
    """Return the sentence that says that the cluster has another CNI than when the link's path was chosen, or none."""
    choice, found = world.choices.get(link), world.view(cluster).cni
    if choice is None or not choice.cni or found is None or found.certainty != "certain" or found.cni == choice.cni:
        return None
    return f"the CNI was {choice.cni} when this was chosen and is {found.cni} now; the path stays until the link is made anew"


def _ready(ground: Ground) -> list[NodeFacts]:
    return [node for node in ground.nodes() if node.pod_cidrs and node.not_ready_since is None]


def _known(ground: Ground) -> str:
    found = ground.cluster.cni
    return found.cni if found is not None and found.certainty == "certain" else ""


def _taken_on_trust(ground: Ground) -> str:
    """Say that pods are taken to be where Kubernetes assigned them, where no CNI says where they are."""
    found, told = ground.cluster.cni, ground.cluster.homes.as_assigned
    if found is None or found.networks or told:
        return ""
    return "; which CNI there is is not known, so pods are taken to be where Kubernetes assigned them (spec.podCIDRs)"


def _nobody(ground: Ground) -> str:
    """Say why there is no node to try a path with: of nodes that are there, the reason of the first."""
    why = next(
        (f"node {node.name}: {node.whence}" for node in ground.nodes() if node.whence and not node.pod_cidrs), ""
    )
    return f"no node with a pod CIDR is ready yet ({why})" if why else "no node with a pod CIDR is ready yet"


def _direct(ground: Ground, nodes: list[NodeFacts], answered: Mapping[IPAddress, bool] | None) -> str | None:
    device = ground.device_name
    if ground.by_source and not any(policy.sources(ground, version) for version in (4, 6)):
        return f"spec.policyRoutes names no address of {device} on a segment that no other link sends from"
    for node in nodes:
        for version in sorted({prefix.version for prefix in node.pod_cidrs}):
            ways, found = node.ways(version), ground.hop(node, version)
            if not ways:
                return f"node {node.name} has no IPv{version} InternalIP"
            if found is None:
                return f"node {node.name} ({', '.join(map(str, ways))}) is on no segment of {device}"
            if answered is None:
                return (
                    f"node {node.name} ({found[0]}) is in a subnet of {device}, which cannot ask whether it is there; "
                    "write path: direct if it is"
                )
            if answered.get(found[0], False):
                continue
            return f"node {node.name} ({found[0]}) is in a subnet of {device} but does not answer there"
    return None


def _not_flannels(ground: Ground) -> str | None:
    """Say why flannel's annotations prove nothing here, or that the link knows another flannel; none where it runs."""
    found, cluster = ground.cluster.cni, ground.cluster.name
    if found is None or not found.networks:
        return f"which CNI cluster {cluster} has is not known, and annotations of flannel may be leftovers"
    if found.certainty != "certain":
        unread = ground.cluster.homes.evidence.published.unread
        missing = f" (not read: {'; '.join(unread[:2])})" if unread else ""
        return (
            f"cluster {cluster} has traces of {found.cni}, and nothing that runs was seen{missing}; "
            f"if it runs, say spec.cni: {found.cni} in the KubeCluster"
        )
    one = found.networks[0]
    if len(found.networks) > 1 or one.cni not in _WITH_FLANNEL:
        return f"the CNI of cluster {cluster} is {found.cni}, so no flanneld answers"
    if one.tunnels and one.tunnels != ("vxlan",):
        return f"flannel's backend on cluster {cluster} is {one.mode}, not vxlan alone"
    said = ground.link.spec.flannel
    for what, published, written in (("VNI", one.vni, said.vni), ("port", one.port, said.port)):
        if published is not None and published != written:
            return f"flannel's {what} on cluster {cluster} is {published}, spec.flannel of the link says {written}"
    return None


def _flannel(nodes: list[NodeFacts]) -> str | None:
    for node in nodes:
        for version in sorted({prefix.version for prefix in node.pod_cidrs}):
            found = flannel.vtep(node, version)
            if isinstance(found, str):
                return found
    return None


def _bgp(ground: Ground) -> str | None:
    """Say that the cluster's CNI speaks BGP, if it certainly does."""
    found = ground.cluster.cni
    speaks = [one for one in found.networks if one.bgp] if found is not None and found.certainty == "certain" else []
    if not speaks:
        return None
    return f"{speaks[0].title} speaks BGP, so {ground.device_name} could be its peer; that is not built yet"


def _out_of_reach(ground: Ground) -> str | None:
    """Say why the device could not have flannel's nodes as neighbors, or none: it can, or needs not."""
    versions = {prefix.version for node in _ready(ground) for prefix in node.pod_cidrs}
    if len(versions) > 1 and not ground.traits.shares_vni:
        return f"{ground.device_name} has one tunnel per VNI, and flannel needs one for IPv4 and one for IPv6"
    if ground.traits.onlink or flannel.networks(ground):
        return None
    return (
        f"{ground.device_name} must know flannel's whole network, and neither flannel's ConfigMap nor spec.podNetworks of "
        "the link names it"
    )


def _overlay(ground: Ground) -> str | None:
    overlay = ground.link.spec.overlay
    if overlay is None:
        return "the link has no spec.overlay.networks"
    if overlay.encapsulation == "vxlan":
        return refused_port(ground)
    return None if ground.traits.policy_routes else f"IP-in-IP needs policy routes, and {ground.device_name} has none"
