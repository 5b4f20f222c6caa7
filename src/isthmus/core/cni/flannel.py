"""flannel: a DaemonSet of its own, or part of k3s itself, where no DaemonSet shows it."""

from __future__ import annotations

import msgspec

from isthmus.core.cni import flannel_marks as marks
from isthmus.core.cni.evidence import Evidence
from isthmus.core.cni.finding import Finding, NodeNetwork
from isthmus.model.published import DaemonSet, PublishedNode

NAME = "flannel"
_K3S_ARGS = "k3s.io/node-args"


def find(evidence: Evidence) -> Finding | None:
    """Return what tells of flannel; a DaemonSet that also runs Calico is Canal, and no evidence for flannel alone."""
    running = evidence.running(lambda one: marks.runs_flanneld(one) and not _with_calico(one))
    seen = [f"{one.place} {'runs flanneld' if one.containers else 'mounts its ConfigMap'}" for one in running]
    config = evidence.config_of("kube-flannel-cfg", running)
    wanted = marks.configured(config)
    if config is not None and wanted:
        seen.append(f"{config.place} asks for backend {wanted}")
    servers = [node for node in evidence.nodes if _k3s_backend(node) != "none" and _in_k3s(node)]
    off = [node for node in evidence.nodes if _k3s_backend(node) == "none"]
    if off and not running and not servers:
        seen.append(f"annotation {_K3S_ARGS} shows a k3s server with --flannel-backend none {evidence.on(off)}")
        return Finding(NAME, sure=False, mode="turned off in k3s", seen=tuple(seen), network=False)
    if servers:
        seen.append(f"annotation {_K3S_ARGS} shows a k3s server with its own flannel {evidence.on(servers)}")
    seen += marks.sights(evidence) + evidence.up_sight("FlannelIsUp")
    if not seen:
        return None
    modes = marks.modes(evidence, config)
    return Finding(
        NAME,
        sure=bool(running or servers),
        mode=" and ".join(modes),
        seen=tuple(seen),
        tunnels=marks.tunnels(modes),
        port=marks.port(evidence, modes, config),
        vni=marks.vni(evidence, modes, config),
        doubts=marks.doubts(evidence, config),
        ranges=marks.ranges(config),
    )


def node(evidence: Evidence, finding: Finding, name: str) -> NodeNetwork:
    """Return what flannel publishes of one node."""
    return marks.network(evidence, finding, name)


def _with_calico(daemon_set: DaemonSet) -> bool:
    return daemon_set.container("calico-node") is not None


def _in_k3s(node: PublishedNode) -> bool:
    return bool(_k3s_backend(node)) and marks.backend(node) is not None


def _k3s_backend(node: PublishedNode) -> str:
    """Return the backend that a k3s server was told to have; empty for a node that is no k3s server."""
    try:
        words = msgspec.json.decode(node.annotations.get(_K3S_ARGS, ""), type=list[str])
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return ""
    if not words or words[0] != "server":
        return ""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if name == "--flannel-backend":
            return value or following
    return "vxlan"
