"""Gives each node its place on the overlay: the annotation that its own agent realises.

Several links can attach one node; each writes its own annotation under its own field manager, so that giving one up takes
nothing of another's along.
"""

from __future__ import annotations

from isthmus.core import attachment
from isthmus.core.ground import DEVICE_LABEL, Ground
from isthmus.core.overlay_addresses import OverlayAddresses
from isthmus.core.world import path_of
from isthmus.kube.kinds import NODES
from isthmus.loop.cluster import Context
from isthmus.model.facts import NodeFacts
from isthmus.model.kinds import ClusterLink
from isthmus.telemetry import get_logger


class Attach:
    """Looks at one node: is it attached to every overlay link as it should be?"""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._links: dict[str, OverlayAddresses] = {}
        self._log = get_logger("loop").bind(cluster=context.cluster)
        self.waiting: dict[tuple[str, str], str] = {}

    def learn(self, name: str, facts: NodeFacts | None) -> set[str]:
        """Take what one Node says now, for every overlay link; return other nodes to look at, which have the same places."""
        rivals = {rival for addresses in self._links.values() for rival in addresses.learn(name, facts)}
        if facts is None:
            self.waiting = {key: why for key, why in self.waiting.items() if key[1] != name}
        return rivals

    def left_out(self) -> list[str]:
        """Return the nodes that wait for a place, to be looked at again when one may have become free."""
        return sorted({node for _, node in self.waiting})

    def _addresses(self, link: str) -> OverlayAddresses:
        if link not in self._links:
            found = self._links[link] = OverlayAddresses(self._context.world, link)
            for _, facts in sorted(self._context.world.view(self._context.cluster).nodes.items(), key=_age):
                found.learn(facts.name, facts)
        return self._links[link]

    async def look(self, name: str) -> float | None:
        """Write the node's annotations that differ; an address once given stays."""
        view = self._context.world.view(self._context.cluster)
        node = view.nodes.get(name)
        if node is None or DEVICE_LABEL in node.labels or view.doubt("nodes"):
            return None  # an address is only given when all that are taken are known
        for link in self._context.world.links_of_cluster(self._context.cluster):
            await self._one(link, node)
        return None

    async def _one(self, link: ClusterLink, node: NodeFacts) -> None:
        key = attachment.annotation(link.name)
        grounds, path = self._grounds(link), path_of(self._context.world, link)
        ends = link.metadata.deletion_timestamp is not None
        if not ends and (path is None or (path == "overlay" and grounds is None)):
            return  # a path that is not known (a choice that was lost, too) is no order to take the node off
        if ends or path != "overlay" or grounds is None or not grounds[0].takes_part(node):
            self.waiting.pop((link.name, node.name), None)
            await self._write(link, node, None)
            return
        found = self._addresses(link.name).attachment(grounds[0], node, grounds)
        if isinstance(found, str):
            if self.waiting.get((link.name, node.name)) != found:
                self._log.warning("node not attached", link=link.name, node=node.name, reason=found)
            self.waiting[link.name, node.name] = found
            return
        self.waiting.pop((link.name, node.name), None)
        if node.annotations.get(key) != found.render():
            await self._write(link, node, found.render())

    def _grounds(self, link: ClusterLink) -> list[Ground] | None:
        """Return the grounds of all the link's devices; none until each was observed, or peers would come and go.

        A link whose devices are all gone from the configuration has none, either.
        """
        grounds = []
        for device in link.spec.devices:
            ground = self._context.devices.ground(link.name, device)
            if ground is None:
                return None
            grounds.append(ground)
        return grounds or None

    async def _write(self, link: ClusterLink, node: NodeFacts, text: str | None) -> None:
        key = attachment.annotation(link.name)
        if text is None and key not in node.annotations:
            return
        # With the uid, a Node that was deleted meanwhile is not made anew by this.
        metadata = {"name": node.name, "uid": node.uid, "annotations": {} if text is None else {key: text}}
        await self._context.client.apply(
            NODES,
            {"apiVersion": "v1", "kind": "Node", "metadata": metadata},
            field_manager=f"isthmus-{link.name}"[:128],
            force=True,
        )


def _age(item: tuple[str, NodeFacts]) -> tuple[str, str]:
    return (item[1].created, item[0])
