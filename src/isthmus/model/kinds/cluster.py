"""KubeCluster: how to reach the API of one cluster, and which of its Services are ours.

There are exactly three ways in: the pod's own service account, a kubeconfig, or a server with credentials in files.
Credentials are always references to files: no secret can be written into an object, so none can leak from one.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import ClassVar, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from isthmus.model.kinds.addresses import Network
from isthmus.model.kinds.kind import Column, Kind, Part, Status, YesNo, rule
from isthmus.model.kinds.names import AbsolutePath, Name, Namespace, QualifiedName
from isthmus.model.kinds.pem import PemCertificate
from isthmus.model.kinds.urls import url_parts
from isthmus.model.kinds.wrong import Wrong

__all__ = [
    "ACCEPT_ANSWER",
    "LOAD_BALANCER_CLASS",
    "KubeCluster",
    "KubeClusterSpec",
    "KubeClusterStatus",
    "Kubeconfig",
    "LoadBalancer",
    "Server",
]

LOAD_BALANCER_CLASS = "isthmus.dev/load-balancer"
ACCEPT_ANSWER = "isthmus.dev/accept-answer"
"""Annotation on a KubeCluster: any value means that a person believes what the API shows now, doubtful as it is."""


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Kubeconfig(Part):
    """Reach the API as a kubeconfig file says."""

    path: AbsolutePath = Field(description="Path of the kubeconfig file.")
    context: str | None = Field(default=None, min_length=1, description="Context to use; the current one by default.")


class Server(Part):
    """Reach the API at a URL, with credentials in files that are read again when they change."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "has(self.clientCertificateFile) == has(self.clientKeyFile)",
            "clientCertificateFile and clientKeyFile belong together",
        )
    )

    url: str = Field(description="URL of the API server, https (http is for a local proxy on loopback only).")
    ca_file: AbsolutePath | None = Field(default=None, description="PEM file with the CA that signs the server.")
    ca: PemCertificate | None = Field(default=None, description="The same CA, as PEM text.")
    token_file: AbsolutePath | None = Field(default=None, description="File with a bearer token.")
    client_certificate_file: AbsolutePath | None = Field(default=None, description="PEM file with a certificate.")
    client_key_file: AbsolutePath | None = Field(default=None, description="PEM file with that certificate's key.")
    tls_server_name: Name | None = Field(
        default=None, description="Name to verify the server's certificate against, if not the URL's host."
    )
    proxy_url: str | None = Field(default=None, description="HTTP proxy on the way to the server.")

    @field_validator("url")
    @classmethod
    def _secure(cls, value: str) -> str:
        parts = url_parts(value, schemes=("https", "http"))
        if parts.scheme == "http" and not _loopback(parts.hostname or ""):
            raise Wrong("is http: anybody on the way could read the token", "write https://")
        return value.rstrip("/")

    @field_validator("proxy_url")
    @classmethod
    def _proxy(cls, value: str | None) -> str | None:
        if value is not None:
            url_parts(value, schemes=("http", "https"))
        return value

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.ca is not None and self.ca_file is not None:
            raise Wrong("is given twice, as ca and as caFile", "keep one of them", at=("ca",))
        if (self.client_certificate_file is None) != (self.client_key_file is None):
            missing = "clientCertificateFile" if self.client_certificate_file is None else "clientKeyFile"
            raise Wrong("is missing: a client certificate and its key belong together", at=(missing,))
        return self


class LoadBalancer(Part):
    """Which Services of type LoadBalancer are ours."""

    class_: QualifiedName = Field(
        default=LOAD_BALANCER_CLASS, alias="class", description="Services with this loadBalancerClass are ours."
    )
    default: YesNo = Field(default=False, description="Whether Services without a loadBalancerClass are ours, too.")


class KubeClusterSpec(Part):
    """How to reach the API of one cluster: exactly one of inCluster, kubeconfig and server."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "(has(self.inCluster) && self.inCluster ? 1 : 0) + (has(self.kubeconfig) ? 1 : 0)"
            " + (has(self.server) ? 1 : 0) == 1",
            "say exactly one of inCluster, kubeconfig and server",
        )
    )

    in_cluster: YesNo = Field(default=False, description="Use the service account of the pod we run in.")
    kubeconfig: Kubeconfig | None = Field(default=None, description="Reach the API as a kubeconfig file says.")
    server: Server | None = Field(default=None, description="Reach the API at a URL.")
    load_balancer: LoadBalancer = Field(
        default_factory=LoadBalancer, description="Which Services of type LoadBalancer are ours."
    )
    cni: Literal[
        "auto",
        "antrea",
        "aws-vpc-cni",
        "calico",
        "canal",
        "cilium",
        "flannel",
        "kindnet",
        "kube-router",
        "openshift-sdn",
        "ovn-kubernetes",
        "weave",
    ] = Field(
        default="auto",
        description="Which CNI makes the pod network; auto finds out by what the cluster publishes. What is said here goes "
        "before all that is seen.",
    )
    pod_cidrs: Literal["auto", "nodes"] = Field(
        default="auto",
        alias="podCIDRs",
        description="Where pods are. auto: as the CNI publishes it (Calico's blocks, CiliumNodes, HostSubnets, annotations). "
        "nodes: where Kubernetes assigned them, spec.podCIDRs of each Node, whatever else is published.",
    )
    service_cidrs: tuple[Network, ...] = Field(
        default=(),
        max_length=20,
        description="The cluster's Service CIDRs, if you want contradictions with the devices' own subnets found early; "
        "the cluster IPs of LoadBalancer Services are checked anyway.",
    )
    exclude_namespaces: tuple[Namespace, ...] = Field(
        default=(),
        max_length=1000,
        description="Namespaces whose Services we leave alone.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = {"inCluster": self.in_cluster, "kubeconfig": self.kubeconfig, "server": self.server}
        said = [name for name, value in ways.items() if value]
        if not said:
            raise Wrong("does not say how to reach the cluster", "say one of inCluster: true, kubeconfig and server")
        if len(said) > 1:
            raise Wrong(f"says {' and '.join(said)}", "keep exactly one of them")
        return self

    def serves(self, load_balancer_class: str | None) -> bool:
        """Return whether a Service of type LoadBalancer with this class (None for no class) is ours."""
        if load_balancer_class is None:
            return self.load_balancer.default
        return load_balancer_class == self.load_balancer.class_


class Freshness(Part):
    """How fresh our view of one resource of the cluster is."""

    synced: YesNo = Field(default=False, description="Whether the first list is complete.")


class Cni(Part):
    """Which CNI the cluster has, from what it publishes."""

    name: str = Field(default="unknown", description='The CNI, several joined by "and", or unknown.')
    certainty: Literal["certain", "likely", "unknown"] = Field(
        default="unknown", description="certain: something of it runs; likely: only traces were seen."
    )
    mode: str = Field(default="unknown", description="How packets travel between nodes, in the CNI's own words.")
    why: str = Field(default="", description="What was seen where.")
    remarks: tuple[str, ...] = Field(
        default=(),
        max_length=100,
        description="Leftovers of others, what could not be read, what is odd about nodes.",
    )


class KubeClusterStatus(Status):
    """What we see of the cluster."""

    reachable: YesNo | None = Field(default=None, description="Whether the API answers us.")
    version: str | None = Field(default=None, description="Version of the API server.")
    uid: str | None = Field(
        default=None, description="UID of the namespace kube-system: which cluster this is, whatever its address."
    )
    cni: Cni | None = Field(default=None, description="Which CNI the cluster has.")
    watches: Mapping[str, Freshness] = Field(default_factory=dict, description="Freshness of our view, per resource.")


class KubeCluster(Kind):
    """One Kubernetes API that we watch."""

    PLURAL: ClassVar[str] = "kubeclusters"
    SINGULAR: ClassVar[str] = "kubecluster"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("kc",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Reachable", ".status.reachable", "boolean"),
        Column("Version", ".status.version"),
        Column("CNI", ".status.cni.name", wide=True),
        Column("UID", ".status.uid", wide=True),
    )

    kind: Literal["KubeCluster"] = Field(default="KubeCluster", description="The kind of this object.")
    spec: KubeClusterSpec = Field(description="How to reach the API.")
    status: KubeClusterStatus = Field(default_factory=KubeClusterStatus, description="What we see of the cluster.")
