"""OpenShift SDN: the cluster's Network says that it runs, HostSubnets say where pods are."""

from __future__ import annotations

from isthmus.core.cni import openshift
from isthmus.core.cni.evidence import Evidence
from isthmus.core.cni.finding import Finding, NodeNetwork, Vtep
from isthmus.model.published import DaemonSet

NAME = "openshift-sdn"
_TYPE = "OpenShiftSDN"
_PORT = 4789


def find(evidence: Evidence) -> Finding | None:
    """Return what tells of OpenShift SDN."""
    running = evidence.running(_is_sdn)
    seen, declared = openshift.sights(evidence, _TYPE)
    seen = [f"{one.place} runs the SDN" for one in running] + seen
    if evidence.subnet_by_node:
        seen.append(f"HostSubnets are there: {len(evidence.subnet_by_node)}")
    if not seen:
        return None
    return Finding(
        NAME,
        sure=bool(running) or declared,
        mode="vxlan",
        seen=tuple(seen),
        tunnels=("vxlan",),
        port=_PORT,
        mtu=openshift.mtu(evidence, _TYPE),
    )


def needs(evidence: Evidence) -> str | None:
    """Return the kind of object without which nobody knows where pods are."""
    return "hostsubnets"


def node(evidence: Evidence, finding: Finding, name: str) -> NodeNetwork:
    """Return what its HostSubnet says of one node."""
    own = evidence.subnet_by_node.get(name)
    if own is None:
        return NodeNetwork(name, pod_cidrs=() if evidence.subnet_by_node else None, mtu=finding.mtu)
    return NodeNetwork(
        name,
        addresses=(own.address,) if own.address is not None else (),
        pod_cidrs=(own.subnet,) if own.subnet is not None else None,
        endpoints=(own.address,) if own.address is not None else (),
        vteps=(Vtep(own.address),) if own.address is not None else (),
        interface="vxlan_sys_4789",
        mtu=finding.mtu,
    )


def _is_sdn(daemon_set: DaemonSet) -> bool:
    return daemon_set.namespace == "openshift-sdn" and daemon_set.container("sdn") is not None
