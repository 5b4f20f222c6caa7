"""The kinds there are: one plain table, name to model."""

from __future__ import annotations

from isthmus.model.kinds.cluster import KubeCluster
from isthmus.model.kinds.device import EdgeDevice
from isthmus.model.kinds.kind import Kind
from isthmus.model.kinds.link import ClusterLink
from isthmus.model.kinds.pool import AddressPool
from isthmus.model.kinds.vip import VirtualIP

__all__ = ["KINDS"]

KINDS: dict[str, type[Kind]] = {
    "KubeCluster": KubeCluster,
    "EdgeDevice": EdgeDevice,
    "ClusterLink": ClusterLink,
    "AddressPool": AddressPool,
    "VirtualIP": VirtualIP,
}
"""Kind name to model, in the order in which they depend on one another."""
