"""What a cluster's own CNI means for a tunnel of ours beside it: a UDP port that is taken, and how long packets may be.

Only what is published counts. A CNI that says nothing of ports or MTUs takes nothing away.
"""

from __future__ import annotations

from isthmus.core.view import ClusterView

IPV6_MTU = 1280
"""No tunnel is made narrower (RFC 8200); a cluster whose pods have less than that has said something else."""
_ADDS = {"none": 0, "ipip": 20, "fou": 28, "udp": 28, "vxlan": 50, "geneve": 50, "wireguard": 60, "ipsec": 60}
"""Bytes that the tunnels of CNIs add to a pod's packet over IPv4, at least."""
_MORE = {"ovn-kubernetes": 100}
"""What a CNI's own tunnels add where it says so: OVN's options (OpenShift: MTU 100 less than the nodes')."""


def port_taken(cluster: ClusterView, port: int) -> str | None:
    """Return the sentence that says whose ``port`` is on the cluster's nodes already, or none."""
    for found in cluster.cni.networks if cluster.cni is not None else ():
        if found.port == port:
            return f"UDP port {port} is that of {found.title} on the nodes of cluster {cluster.name}"
    return None


def carried(cluster: ClusterView) -> int | None:
    """Return how long packets are that the cluster's nodes send each other, as its CNI has set it up; none: not said.

    Pods' packets of the published MTU, with what the CNI's tunnel adds, must pass between nodes. More may.
    """
    found = []
    for network in cluster.cni.networks if cluster.cni is not None else ():
        if network.mtu is not None and network.mtu >= IPV6_MTU and network.tunnels:
            adds = max(_ADDS.get(tunnel, 0) for tunnel in network.tunnels)
            found.append(network.mtu + _MORE.get(network.cni, adds))
    return min(found, default=None)
