"""The environment variables of the older systems: which there are, what each says, and where we put what it says.

A plain table, from which the reference page is made, too. The confusing thing: some names meant different things in different
systems (``K8S_VXLAN_PORT`` is flannel's own port to one and the overlay's port to the other), so what a variable means is
decided by what else is there; ``environment`` does that, this table only names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from isthmus.model.kinds.wrong import closest

__all__ = ["PREFIXES", "VARIABLES", "Variable", "hint", "is_a_services"]

Use = Literal["device", "overlay", "flannel", "router", "names", "unused"]

PREFIXES = ("NS_", "CNC_")
"""Variables that begin so are meant for us: one that nobody knows is told."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: what it says, in which field of which kind it ends, and since when users of which system know it."""

    name: str
    use: Use
    says: str
    field: str = ""
    default: str = ""
    secret: bool = False


_TABLE = (
    Variable(
        "NS_IP",
        "device",
        "Management address of the ADC: its NSIP, a SNIP with management access, or a CLIP; two, with a comma, for the "
        "nodes of an HA pair.",
        "EdgeDevice spec.netscaler.urls",
    ),
    Variable("NS_PROTOCOL", "device", "https, or http if it must be.", "EdgeDevice spec.netscaler.urls", "https"),
    Variable("NS_PORT", "device", "TCP port of the management API.", "EdgeDevice spec.netscaler.urls", "443 or 80"),
    Variable(
        "NS_USER",
        "device",
        "User name on the ADC; it stays in this variable, nothing else ever holds it.",
        "EdgeDevice spec.netscaler.credentials.environment",
        secret=True,
    ),
    Variable(
        "NS_PASSWORD",
        "device",
        "Password on the ADC; it stays in this variable, nothing else ever holds it.",
        "EdgeDevice spec.netscaler.credentials.environment",
        secret=True,
    ),
    Variable(
        "NS_CREDENTIALS_DIRECTORY",
        "device",
        "Directory with the files username and password (a mounted Secret), instead of the two; read again when they change.",
        "EdgeDevice spec.netscaler.credentials.directory",
    ),
    Variable(
        "NS_CA_FILE",
        "device",
        "PEM file with the CA that signs the ADC's certificate.",
        "EdgeDevice spec.netscaler.caFile",
        "the system's CAs",
    ),
    Variable(
        "NS_CERT_SHA256",
        "device",
        "SHA-256 fingerprint of the ADC's own certificate, instead of a CA.",
        "EdgeDevice spec.netscaler.certificateSha256",
    ),
    Variable(
        "NETWORK",
        "overlay",
        "Network of the overlay, like 192.168.1.0/24; an IPv6 one may follow after a comma.",
        "ClusterLink spec.overlay.networks",
    ),
    Variable(
        "REMOTE_VTEPIP",
        "overlay",
        "The device's end of the overlay; an IPv6 one may follow after a comma.",
        "EdgeDevice spec.tunnelAddresses",
        "NS_IP",
    ),
    Variable("VXLAN_PORT", "overlay", "UDP port of the overlay, not the CNI's.", "ClusterLink spec.overlay.port"),
    Variable("VNID", "overlay", "VXLAN network identifier of the overlay.", "ClusterLink spec.overlay.vni"),
    Variable("TYPE", "overlay", "VXLAN or IPIP.", "ClusterLink spec.overlay.encapsulation", "VXLAN"),
    Variable(
        "REMOTE_TUNNEL_ENDPOINT",
        "router",
        "The device's end of the IPIP tunnels.",
        "EdgeDevice spec.tunnelAddresses",
        "REMOTE_VTEPIP",
    ),
    Variable(
        "CNI_TYPE",
        "overlay",
        "The cluster's CNI. It is detected; where this says another one, that is told, and what was detected counts.",
        "",
        "detected",
    ),
    Variable(
        "CLUSTER_NAME",
        "overlay",
        "Name of the cluster. With it, routes become policy routes, so that clusters with the same pod networks can share "
        "the ADC.",
        "ClusterLink spec.policyRoutes",
    ),
    Variable(
        "DSR_IP_RANGE",
        "overlay",
        "Networks of VIPs whose packets the pods answer directly.",
        "ClusterLink spec.directReturn",
    ),
    Variable(
        "CNC_CONFIGMAP",
        "names",
        "The ConfigMap that is the switch, in the pod's namespace (outside of a cluster: kube-system). It also names our "
        "objects.",
        "metadata.name",
        "citrix-node-controller",
    ),
    Variable(
        "CNC_ROUTER_NAME",
        "names",
        "The ConfigMap that describes the overlay to others.",
        "",
        "kube-cnc-router; without NS_IP kube-system/kube-chorus-router",
    ),
    Variable("KUBECONFIG", "names", "How to reach the cluster from outside.", "KubeCluster", "the pod's own"),
    Variable("POD_NAMESPACE", "names", "Namespace of the two ConfigMaps.", "", "the service account's"),
    Variable("NS_POD_CIDR", "flannel", "1.x. Not used: the cluster's own allocator gives the ADC its pod network."),
    Variable(
        "NODE_CNI_CIDR",
        "flannel",
        "1.x, and what makes it flannel's own overlay: flannel's network, like 10.244.0.0/16.",
        "ClusterLink spec.podNetworks",
    ),
    Variable(
        "NS_VTEP_IP",
        "flannel",
        "1.x: the ADC's end of flannel's overlay.",
        "EdgeDevice spec.tunnelAddresses",
        "NS_IP",
    ),
    Variable(
        "NS_VTEP_MAC",
        "flannel",
        "1.x: MAC of the ADC there, if it does not tell it.",
        "EdgeDevice spec.netscaler.tunnelMac",
        "the ADC tells it",
    ),
    Variable("NS_VXLAN_ID", "flannel", "1.x: flannel's VNI.", "ClusterLink spec.flannel.vni", "1"),
    Variable(
        "K8S_VXLAN_PORT",
        "flannel",
        "1.x: flannel's UDP port. Without NS_IP it is VXLAN_PORT by an older name.",
        "ClusterLink spec.flannel.port",
        "8472",
    ),
    Variable("K8S_CNI", "flannel", "1.x: CNI_TYPE by its older name.", "", "detected"),
    Variable("NS_VRID", "flannel", "1.x. Not used: no virtual MAC is needed."),
    Variable("NS_NETPROFILE", "flannel", "1.x. Not used: net profiles of ours bear names of ours."),
    Variable("CNC_ROUTER_IMAGE", "unused", "Not used: no helper pods are started, the node agent is a DaemonSet."),
    Variable("MODE", "unused", "Not used: Dev or Test was for the old router's own tests."),
)

VARIABLES: dict[str, Variable] = {variable.name: variable for variable in _TABLE}
"""Every variable by its name."""

# What people wrote in files that are still about; each is one of the above by now.
_OLD_NAMES = {
    "NS_LOGIN": "NS_USER",
    "NS_SNIP": "REMOTE_VTEPIP",
    "NS_USERNAME": "NS_USER",
    "NS_PASS": "NS_PASSWORD",
    "CNI_NAME": "CNI_TYPE",
    "ADDRESS": "NETWORK",
    "VNI": "VNID",
    "TUNNEL_SUBNET": "NETWORK",
    "VXLAN_ID": "VNID",
}

# A Service called "ns" or "cnc-..." gives such variables to every pod of its namespace (docker's links); nobody wrote them.
_LINKS = re.compile(r"(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$")


def hint(name: str) -> str:
    """Return which variable ``name`` was most likely meant to be, empty if nobody can tell."""
    if name in _OLD_NAMES:
        return _OLD_NAMES[name]
    return closest(name, VARIABLES) or ""


def is_a_services(name: str) -> bool:
    """Say whether Kubernetes itself sets a variable of that name, because of some Service."""
    return bool(_LINKS.search(name))


def old_names_of(name: str) -> Iterable[str]:
    """Return the names that once meant the variable ``name``."""
    return [old for old, now in _OLD_NAMES.items() if now == name]
