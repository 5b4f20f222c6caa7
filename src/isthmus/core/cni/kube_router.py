"""kube-router: three jobs in one program, and only with ``--run-router`` (its default) does it make the pod network."""

from __future__ import annotations

from isthmus.core.cni.evidence import Evidence, number, prefix
from isthmus.core.cni.finding import Finding, NodeNetwork
from isthmus.model.published import Container, DaemonSet, PublishedNode
from isthmus.model.resources import IPNetwork

NAME = "kube-router"
_POD_CIDRS = ("kube-router.io/pod-cidrs", "kube-router.io/pod-cidr")
_FOU_PORT = 5555


def find(evidence: Evidence) -> Finding | None:
    """Return what tells of kube-router."""
    running = [(one, found) for one in evidence.daemon_sets if one.runs and (found := _container(one)) is not None]
    if not running:
        return None
    daemon_set, container = next((pair for pair in running if _yes(pair[1], "run-router")), running[0])
    routes = _yes(container, "run-router")
    said = container.flag("run-router")
    seen = (f"{daemon_set.place} runs kube-router with --run-router {said or 'unset, which is true'}",)
    if not routes:
        return Finding(NAME, sure=True, mode="service proxy or policy only", seen=seen, network=False)
    overlay, kind = _yes(container, "enable-overlay"), container.flag("overlay-type") or "subnet"
    tunnel = "fou" if container.flag("overlay-encap") == "fou" else "ipip"
    tunnels: tuple[str, ...]
    if not overlay:
        mode, tunnels = "BGP, no tunnel", ("none",)
    elif kind == "full":
        mode, tunnels = f"BGP, {tunnel} everywhere", (tunnel,)
    else:
        mode, tunnels = f"BGP, {tunnel} between subnets only", (tunnel, "none")
    port = number(container.flag("overlay-encap-port")) or _FOU_PORT
    return Finding(
        NAME,
        sure=True,
        mode=mode,
        seen=(*seen, f"--enable-overlay {container.flag('enable-overlay') or 'unset, which is true'}"),
        tunnels=tuple(sorted(tunnels)),
        port=port if overlay and tunnel == "fou" else None,
        bgp=True,
    )


def node(evidence: Evidence, finding: Finding, name: str) -> NodeNetwork:
    """Return what is known of one node: an annotation of kube-router's own goes before what Kubernetes assigned."""
    node = evidence.node_by_name.get(name)
    if node is None:
        return NodeNetwork(name)
    oddities: list[str] = []
    said = _annotated(node, oddities)
    tunnel = "" if finding.tunnels == ("none",) else "tun-* per peer"
    return NodeNetwork(name, pod_cidrs=said or node.assigned or None, interface=tunnel, oddities=tuple(oddities))


def _container(daemon_set: DaemonSet) -> Container | None:
    container = daemon_set.container("kube-router")
    return container if container is not None and not container.init else None


def _yes(container: Container, flag: str) -> bool:
    return (container.flag(flag) or "true").lower() not in ("false", "0", "f")


def _annotated(node: PublishedNode, oddities: list[str]) -> tuple[IPNetwork, ...]:
    for key in _POD_CIDRS:
        texts = [text.strip() for text in node.annotations.get(key, "").split(",") if text.strip()]
        try:
            found = tuple(prefix(text) for text in texts)
        except ValueError as error:
            oddities.append(f"annotation {key} is no network: {error}")
            continue
        if found:
            return found
    return ()
