"""Which cluster this is: the uid of its kube-system namespace, which is made once and never changes.

Addresses, names and certificates move between clusters; this does not. A cluster restored from its own backup keeps it.
"""

from __future__ import annotations

from isthmus.errors import KubeError
from isthmus.kube import wire
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import NAMESPACES


async def cluster_uid(client: KubeClient) -> str:
    """Return the uid of kube-system. Raises a KubeError where it cannot be read (it needs ``get`` on that namespace)."""
    found = await client.get(NAMESPACES, "kube-system", type=wire.Namespace)
    if not found.metadata.uid:
        raise KubeError("get namespaces kube-system: it has no uid")
    return found.metadata.uid
