"""Takes away the Node that stands for a device to flannel when the device itself, or the whole link, is being deleted.

The duty that keeps such Nodes needs the device to have been observed; a device that is being deleted may never be again. So
here the Node is found by its label, which we alone set, and by nothing else. The one confusing thing: with several flannel
links of one cluster on one device each has its own Node, and only those go that no living link keeps.
"""

from __future__ import annotations

from isthmus.core.ground import DEVICE_LABEL
from isthmus.core.world import path_of
from isthmus.errors import KubeNotFound
from isthmus.kube.kinds import NODES
from isthmus.loop.cluster import Context, Duty
from isthmus.model.kinds import ClusterLink

__all__ = ["EndingStandIn"]


class EndingStandIn:
    """Looks at the Node that stands for one device on one link (named ``link/device``); the living are for ``living``."""

    def __init__(self, context: Context, living: Duty) -> None:
        self._context = context
        self._living = living

    async def look(self, name: str) -> float | None:
        """Delete the Nodes of a device or link whose end is ordered; else do as the duty for the living does."""
        world = self._context.world
        link_name, _, device_name = name.partition("/")
        link = world.links.get(link_name)
        if link is None or not self._ends(link, device_name):
            return await self._living.look(name)
        view = world.view(self._context.cluster)
        if view.doubt("nodes") is not None:
            return None  # looked at again once the cluster is read
        if any(self._keeps(other, device_name) for other in world.links_of_cluster(self._context.cluster)):
            return await self._living.look(name)
        for node in [node for node in view.nodes.values() if node.labels.get(DEVICE_LABEL) == device_name]:
            try:
                await self._context.client.delete(NODES, node.name, uid=node.uid)
            except KubeNotFound:
                continue
        return None

    def _ends(self, link: ClusterLink, device: str) -> bool:
        kind = self._context.world.devices.get(device)
        return link.metadata.deletion_timestamp is not None or (
            kind is not None and kind.metadata.deletion_timestamp is not None
        )

    def _keeps(self, link: ClusterLink, device: str) -> bool:
        return (
            device in link.spec.devices
            and path_of(self._context.world, link) == "flannel"
            and not self._ends(link, device)
        )
