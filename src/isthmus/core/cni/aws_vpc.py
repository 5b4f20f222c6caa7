"""AWS VPC CNI: pods have addresses of the VPC itself, so no network of pods belongs to a node and none need be routed.

EKS clusters that moved to another CNI often keep this DaemonSet with a node selector that fits no node; then it proves
nothing.
"""

from __future__ import annotations

from isthmus.core.cni.evidence import Evidence, number
from isthmus.core.cni.finding import Finding, NodeNetwork
from isthmus.model.published import DaemonSet

NAME = "aws-vpc-cni"


def find(evidence: Evidence) -> Finding | None:
    """Return what tells of the AWS VPC CNI."""
    running = evidence.running(_is_aws)
    if not running:
        return None
    container = running[0].container("aws-node")
    mtu = number(container.env.get("AWS_VPC_ENI_MTU")) if container is not None else None
    seen = tuple(f"{one.place} runs aws-node" for one in running)
    return Finding(NAME, sure=True, mode="addresses of the VPC", seen=seen, tunnels=("none",), mtu=mtu)


def node(evidence: Evidence, finding: Finding, name: str) -> NodeNetwork:
    """Return what is known of one node: its pods have addresses of the VPC, one by one."""
    return NodeNetwork(name, pod_cidrs=(), mtu=finding.mtu)


def _is_aws(daemon_set: DaemonSet) -> bool:
    container = daemon_set.container("aws-node")
    return container is not None and not container.init
