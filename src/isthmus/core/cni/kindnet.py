"""kindnet: plain routes between nodes, one per podCIDR; what kind installs, and kops can."""

from __future__ import annotations

from isthmus.core.cni.evidence import Evidence
from isthmus.core.cni.finding import Finding, NodeNetwork
from isthmus.model.published import DaemonSet

NAME = "kindnet"


def find(evidence: Evidence) -> Finding | None:
    """Return what tells of kindnet; an image that a node has pulled is no sign that it runs."""
    running = evidence.running(_is_kindnet)
    if not running:
        return None
    seen = tuple(f"{one.place} runs kindnetd" for one in running)
    return Finding(NAME, sure=True, mode="host routes", seen=seen, tunnels=("none",))


def node(evidence: Evidence, finding: Finding, name: str) -> NodeNetwork:
    """Return what is known of one node: its pods are where Kubernetes assigned them."""
    node = evidence.node_by_name.get(name)
    return NodeNetwork(name, pod_cidrs=(node.assigned or None) if node is not None else None)


def _is_kindnet(daemon_set: DaemonSet) -> bool:
    return any(
        not container.init and container.name in ("kindnet-cni", "kindnet") and "kindnet" in container.image
        for container in daemon_set.containers
    )
