"""What OpenShift's own Network object tells of either of its networks: what was asked for, and what its operator made."""

from __future__ import annotations

from isthmus.core.cni.evidence import Evidence


def sights(evidence: Evidence, type: str) -> tuple[list[str], bool]:
    """Return what Networks say of that network type, and whether the operator says that it runs."""
    seen, declared = [], False
    for one in evidence.openshift:
        if one.runs == type:
            seen.append(f"Network.config {one.name} says in its status that networkType {type} runs")
            declared = True
        elif one.wanted == type:
            seen.append(f"Network.config {one.name} asks for networkType {type}")
    return seen, declared


def mtu(evidence: Evidence, type: str) -> int | None:
    """Return the MTU of pods where the Network says it."""
    return next((one.mtu for one in evidence.openshift if one.mtu and type in (one.runs, one.wanted)), None)
