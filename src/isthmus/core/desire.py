"""What should be on a device: the union of small pure functions, each over one scope.

:func:`desire` answers for one scope and asks nothing of the past. A pass over some scopes and a pass over all of them
use this one function, which is why they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from isthmus.core import checks
from isthmus.core.ground import Desired, Ground
from isthmus.core.paths import PATHS, Path
from isthmus.core.services import Joined, for_service, is_ours
from isthmus.core.world import World, path_of
from isthmus.model.facts import DeviceFacts, NodeFacts
from isthmus.model.plan import Scope
from isthmus.model.resources import IPAddress, IPNetwork


def grounds(
    world: World, device: str, facts: DeviceFacts, before: Mapping[str, Ground] = MappingProxyType({})
) -> dict[str, Ground]:
    """Return the ground of every link on ``device``, by link; none for a device or link that is not configured.

    ``before`` is what this function returned last; where nothing but the cluster moved, the ground is used again.
    """
    kind = world.devices.get(device)
    if kind is None:
        return {}
    found: dict[str, Ground] = {}
    for link in world.links_of_device(device):
        ground = before.get(link.metadata.name)
        if ground is None or ground.link is not link or ground.device is not kind or ground.facts is not facts:
            ground = Ground(world, link, kind, facts)
        ground.found_ends.clear()
        ground.found_tunnel.clear()
        ground.found_sources.clear()
        found[link.metadata.name] = ground
    return found


def desire(scope: Scope, ground: Ground | None, joined: Joined, now: float) -> Desired:
    """Return what ``scope`` comes to on the ground's device at time ``now`` (epoch seconds).

    ``joined`` says which nodes' pods are reachable, as the node scopes left it. A scope whose link or object is gone
    wants nothing.
    """
    desired = Desired(scope)
    if ground is None:
        return desired
    name = path_of(ground.world, ground.link)
    if name is None:
        if scope.kind == "link":
            desired.refuse("NoPathYet", "no path is chosen yet", "see the link's status for what was tried")
        return desired
    path = PATHS[name]
    match scope.kind:
        case "link":
            checks.contradictions(ground, desired)
            checks.policy_routes(ground, desired)
            path.for_link(ground, desired)
        case "node":
            node = ground.cluster.nodes.get(scope.name)
            if node is not None and ground.takes_part(node) and (ground.traits.policy_routes or not ground.by_source):
                _node(path, ground, node, desired)
        case "service":
            _service(path, ground, scope, joined, now, desired)
    return desired


def _overlay_networks(ground: Ground) -> Iterable[IPNetwork]:
    """Return the networks of the overlay that the link uses, if it uses one."""
    overlay = ground.link.spec.overlay
    return overlay.networks if overlay is not None and path_of(ground.world, ground.link) == "overlay" else ()


def _node(path: Path, ground: Ground, node: NodeFacts, desired: Desired) -> None:
    desired.order = node.created
    for problem in node.problems:
        desired.refuse("BadNode", f"node {node.name}: {problem}")
    if not node.addresses:
        desired.refuse(
            "NoNodeAddress", f"node {node.name} has no InternalIP", "let the kubelet report one (--node-ip)"
        )
        return
    if not node.pod_cidrs:
        if node.whence:
            remedy = "if it has pods all the same, name their networks in the Node's annotation isthmus.dev/pod-cidrs"
            desired.refuse("NoPodCIDR", f"node {node.name} has no pod CIDR: {node.whence}", remedy)
            return
        desired.refuse(
            "NoPodCIDR",
            f"node {node.name} has no pod CIDR",
            "let the cluster allocate them (kube-controller-manager --allocate-node-cidrs)",
        )
        return
    checks.overlay_holds_pods(ground, _overlay_networks(ground), node, desired)
    clean = checks.without_own_subnets(ground, checks.within_pod_networks(ground, node, desired), desired)
    if clean.pod_cidrs:
        path.for_node(ground, clean, desired)


def _service(path: Path, ground: Ground, scope: Scope, joined: Joined, now: float, desired: Desired) -> None:
    namespace, _, name = scope.name.partition("/")
    service = ground.cluster.services.get((namespace, name))
    cluster = ground.world.cluster_kinds.get(ground.cluster.name)
    if service is None or cluster is None or not ground.link.spec.services or not is_ours(service, cluster):
        return
    desired.order = service.created
    checks.cluster_ip_clashes(ground, service, desired)
    checks.overlay_holds_cluster_ip(ground, _overlay_networks(ground), service, desired)
    source: Callable[[int], IPAddress | None] = lambda version: path.source(ground, version)  # noqa: E731
    for_service(ground, service, source, joined, now, desired)
