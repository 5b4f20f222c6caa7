"""Which kinds of objects there are: the five words that a Kubernetes URL and an object's head are made of.

Knows names, not URLs (``client`` makes those) and not contents (``wire`` and ``parse`` do those).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "CONFIGMAPS",
    "CRDS",
    "DAEMONSETS",
    "ENDPOINT_SLICES",
    "EVENTS",
    "LEASES",
    "NAMESPACES",
    "NODES",
    "SECRETS",
    "SERVICES",
    "KindRef",
    "isthmus_kind",
]


@dataclass(frozen=True, slots=True)
class KindRef:
    """One kind of object in one version of its API. ``group`` is empty for the core group."""

    group: str
    version: str
    plural: str
    namespaced: bool
    kind: str

    @property
    def api_version(self) -> str:
        """Return what stands in an object's ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


NODES = KindRef("", "v1", "nodes", False, "Node")
NAMESPACES = KindRef("", "v1", "namespaces", False, "Namespace")
SERVICES = KindRef("", "v1", "services", True, "Service")
CONFIGMAPS = KindRef("", "v1", "configmaps", True, "ConfigMap")
SECRETS = KindRef("", "v1", "secrets", True, "Secret")
ENDPOINT_SLICES = KindRef("discovery.k8s.io", "v1", "endpointslices", True, "EndpointSlice")
EVENTS = KindRef("events.k8s.io", "v1", "events", True, "Event")
LEASES = KindRef("coordination.k8s.io", "v1", "leases", True, "Lease")
DAEMONSETS = KindRef("apps", "v1", "daemonsets", True, "DaemonSet")
CRDS = KindRef("apiextensions.k8s.io", "v1", "customresourcedefinitions", False, "CustomResourceDefinition")


def isthmus_kind(plural: str, kind: str, *, version: str = "v1alpha1") -> KindRef:
    """Return the reference of one of our own kinds, which are all cluster-scoped."""
    return KindRef("isthmus.dev", version, plural, False, kind)
