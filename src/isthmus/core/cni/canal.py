"""Canal: flannel's network with Calico's policy, both in one DaemonSet.

Its nodes carry the annotations of both, Calico's tunnel address among them although no such tunnel is used. Without the
DaemonSet that cannot be told from a cluster that moved from one to the other, so both sets of annotations alone prove
nothing; an RKE2 server that was not given another ``--cni`` has Canal.
"""

from __future__ import annotations

import msgspec

from isthmus.core.cni import flannel_marks as marks
from isthmus.core.cni.evidence import Evidence, number
from isthmus.core.cni.finding import Finding, NodeNetwork
from isthmus.model.published import PublishedNode

NAME = "canal"
_CALICO = "projectcalico.org/IPv4Address"
_RKE2_ARGS = "rke2.io/node-args"


def find(evidence: Evidence) -> Finding | None:
    """Return what tells of Canal."""
    running = evidence.running(lambda one: marks.runs_flanneld(one) and one.container("calico-node") is not None)
    seen = [f"{running[0].place} runs flanneld and calico-node"] if running else []
    config = next((one for one in evidence.config_maps if one.name.endswith("canal-config")), None)
    if running:
        names = ("canal-config", "rke2-canal-config")
        config = next((found for name in names if (found := evidence.config(name, running[0]))), None)
    wanted = marks.configured(config)
    if config is not None and wanted:
        seen.append(f"{config.place} asks flannel for backend {wanted}")
    servers = [node for node in evidence.nodes if _of_rke2(node)]
    if servers:
        on = evidence.on(servers)
        seen.append(f"annotation {_RKE2_ARGS} shows an RKE2 server without --cni, which makes Canal, {on}")
    if not seen:
        return None
    both = [node for node in evidence.nodes if marks.backend(node) is not None and _CALICO in node.annotations]
    if both:
        seen.append(f"annotations of flannel and of Calico are {evidence.on(both)}")
    seen += marks.sights(evidence)
    modes = marks.modes(evidence, config)
    return Finding(
        NAME,
        sure=bool(running),
        mode=f"flannel {' and '.join(modes)}" if modes else "",
        seen=tuple(seen),
        tunnels=marks.tunnels(modes),
        port=marks.port(evidence, modes, config),
        vni=marks.vni(evidence, modes, config),
        mtu=number(config.values.get("veth_mtu")) if config is not None else None,
        doubts=marks.doubts(evidence, config),
        ranges=marks.ranges(config),
    )


def node(evidence: Evidence, finding: Finding, name: str) -> NodeNetwork:
    """Return what flannel publishes of one node; Calico's tunnel address there is a leftover by design."""
    return marks.network(evidence, finding, name)


def _of_rke2(node: PublishedNode) -> bool:
    if marks.backend(node) is None or _CALICO not in node.annotations:
        return False
    try:
        words = msgspec.json.decode(node.annotations.get(_RKE2_ARGS, ""), type=list[str])
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return False
    return bool(words) and words[0] == "server" and not any(word.partition("=")[0] == "--cni" for word in words)
