"""Weave Net: one flat range for the whole cluster; its peers share it out among themselves and publish nothing per node."""

from __future__ import annotations

from isthmus.core.cni.evidence import Evidence, number
from isthmus.core.cni.finding import Finding, NodeNetwork
from isthmus.model.published import DaemonSet

NAME = "weave"
_PORT = 6784
"""UDP port of the fast data path (VXLAN by Open vSwitch); where that fails, Weave falls back to sleeve on 6783."""


def find(evidence: Evidence) -> Finding | None:
    """Return what tells of Weave Net."""
    running = evidence.running(_is_weave)
    seen = [f"{one.place} runs weave" for one in running] + evidence.up_sight("WeaveIsUp")
    if not seen:
        return None
    container = running[0].container("weave") if running else None
    env = container.env if container is not None else {}
    if running:
        seen.append(f"its IPALLOC_RANGE is {env.get('IPALLOC_RANGE') or 'unset, which is 10.32.0.0/12'}")
    encrypted = bool(container is not None and ("WEAVE_PASSWORD" in env or "WEAVE_PASSWORD" in container.refs))
    return Finding(
        NAME,
        sure=bool(running),
        mode="VXLAN fast data path, sleeve where that fails" + (", encrypted" if encrypted else "")
        if running
        else "",
        seen=tuple(seen),
        tunnels=("vxlan",) if running else (),
        port=_PORT if running else None,
        mtu=number(env.get("WEAVE_MTU")),
    )


def node(evidence: Evidence, finding: Finding, name: str) -> NodeNetwork:
    """Return what is known of one node: no network of pods is a node's own."""
    return NodeNetwork(name, pod_cidrs=(), interface="weave", mtu=finding.mtu)


def _is_weave(daemon_set: DaemonSet) -> bool:
    container = daemon_set.container("weave")
    return container is not None and not container.init and daemon_set.container("weave-npc") is not None
