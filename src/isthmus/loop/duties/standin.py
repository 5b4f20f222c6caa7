"""Keeps the Node object by which flannel knows a device, and gives it a pod CIDR where nobody else does.

The cluster's own allocator goes first: a block chosen by us inside its range collides sooner or later, one outside it keeps
kube-controller-manager from starting. Only where none answers for a while a free block of flannel's Network is taken, and
looked at again afterwards: if a real node got the same one meanwhile, ours is given up and made anew. Of two Nodes that stand
for devices the younger is given up, or both would be, for ever.

The one confusing thing is the order: flanneld takes a Node up once, so the annotations come after the pod CIDR.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import msgspec

from isthmus.core.free_blocks import free_block
from isthmus.core.ground import DEVICE_LABEL, Ground
from isthmus.core.paths import flannel
from isthmus.core.world import path_of
from isthmus.errors import KubeForbidden, KubeNotFound
from isthmus.kube.kinds import CONFIGMAPS, NODES
from isthmus.loop.cluster import Context
from isthmus.model.facts import NodeFacts
from isthmus.model.resources import IPNetwork
from isthmus.telemetry import get_logger

ALLOCATOR_PATIENCE = 5.0
"""Seconds that the cluster's own pod CIDR allocator has before we choose ourselves; it usually takes well under one."""
NO_END_YET = 2.0
"""Seconds until a device without a tunnel end is looked at again."""
_CONFIG_PLACES = (("kube-flannel", "kube-flannel-cfg"), ("kube-system", "kube-flannel-cfg"))


class StandIn:
    """Looks at the Node that stands for one device on one flannel link (named ``link/device``)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._log = get_logger("loop").bind(cluster=context.cluster)
        self._given: dict[str, list[IPNetwork]] = {}
        self._met: dict[str, tuple[str, float]] = {}

    async def look(self, name: str) -> float | None:
        """Create or mend the Node; look again while its pod CIDR is missing."""
        link_name, _, device = name.partition("/")
        ground = self._context.devices.ground(link_name, device)
        view = self._context.world.view(self._context.cluster)
        if ground is None or path_of(self._context.world, ground.link) != "flannel" or view.doubt("nodes"):
            return None
        node_name = flannel.node_name(ground)
        node = view.nodes.get(node_name)
        if ground.link.metadata.deletion_timestamp is not None:
            if node is not None and node.labels.get(DEVICE_LABEL) == device:
                await self._context.client.delete(NODES, node_name, uid=node.uid)
            return None
        if ground.tunnel_end(4) is None and ground.tunnel_end(6) is None:
            return NO_END_YET  # its segment is that of the nodes, and there may be none yet
        if node is None:
            self._given.pop(node_name, None)
            await self._context.client.create(NODES, _document(node_name, device))
            return 0.2
        if node.labels.get(DEVICE_LABEL) != device:
            self._log.warning("a Node of that name is not ours", node=node_name)
            return 60.0
        if not node.pod_cidrs:
            return await self._allocate(ground, node)
        self._given.pop(node_name, None)
        rival = _rival(node, list(view.nodes.values()))
        if rival is not None:
            self._log.warning("pod CIDR taken by another node; making the Node anew", node=node_name, rival=rival)
            await self._context.client.delete(NODES, node_name, uid=node.uid)
            return 0.5
        wanted = flannel.node_annotations(ground, node)
        if any(node.annotations.get(key) != value for key, value in wanted.items()):
            await self._context.client.patch(NODES, node_name, {"metadata": {"annotations": wanted}})
        return None

    async def _allocate(self, ground: Ground, node: NodeFacts) -> float | None:
        age = self._age_of(node)
        if age < ALLOCATOR_PATIENCE:
            return ALLOCATOR_PATIENCE - age + 0.1
        networks = await self._networks()
        if not networks:
            self._log.warning("no pod CIDR and no flannel Network to take one from", node=node.name)
            return 10.0
        used = [prefix for other in ground.cluster.nodes.values() for prefix in other.pod_cidrs]
        # And what others were given a moment ago, of which the watch has not told yet.
        used += [block for name, given in self._given.items() if name != node.name for block in given]
        blocks: list[IPNetwork] = []
        for network, length in networks:
            if ground.tunnel_end(network.version) is None:
                continue
            block = free_block(network, length, used)
            if block is None:
                self._log.warning("flannel's Network has no free block", network=str(network), node=node.name)
                return 30.0
            blocks.append(block)
        if not blocks:
            return 5.0
        self._given[node.name] = blocks
        texts = [str(block) for block in blocks]
        await self._context.client.patch(NODES, node.name, {"spec": {"podCIDR": texts[0], "podCIDRs": texts}})
        return 1.0

    def _age_of(self, node: NodeFacts) -> float:
        """Return the Node's age in seconds; where our clock and the cluster's disagree, since we first met it."""
        now = asyncio.get_running_loop().time()
        if self._met.get(node.name, ("", 0.0))[0] != node.uid:
            self._met[node.name] = (node.uid, now)
        return max(self._context.now() - _seconds(node.created), now - self._met[node.name][1])

    async def _networks(self) -> list[tuple[IPNetwork, int]]:
        """Return flannel's networks and the length of a node's block in each, as its ConfigMap says."""
        for namespace, name in _CONFIG_PLACES:
            try:
                found = await self._context.client.get(CONFIGMAPS, name, namespace)
            except KubeNotFound:
                continue
            except KubeForbidden as error:
                self._log.warning("flannel's net-conf.json may not be read", namespace=namespace, reason=str(error))
                continue
            text = (found.get("data") or {}).get("net-conf.json", "")
            try:
                config = msgspec.json.decode(text, type=dict[str, Any])
                networks: list[tuple[IPNetwork, int]] = []
                if config.get("Network"):
                    networks.append((ip_network(config["Network"]), int(config.get("SubnetLen", 24))))
                if config.get("EnableIPv6") and config.get("IPv6Network"):
                    networks.append((ip_network(config["IPv6Network"]), int(config.get("IPv6SubnetLen", 64))))
            except (msgspec.MsgspecError, RecursionError, ValueError, TypeError) as error:
                self._log.warning("flannel's net-conf.json does not parse", namespace=namespace, error=str(error))
                continue
            return networks
        return []


def _document(name: str, device: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {DEVICE_LABEL: device}},
        "spec": {
            "unschedulable": True,
            "taints": [{"key": DEVICE_LABEL, "value": device, "effect": "NoExecute"}],
        },
    }


def _rival(node: NodeFacts, nodes: list[NodeFacts]) -> str | None:
    return next(
        (
            other.name
            for other in nodes
            if other.name != node.name
            and not (DEVICE_LABEL in other.labels and _age(other) > _age(node))
            and any(a.version == b.version and a.overlaps(b) for a in other.pod_cidrs for b in node.pod_cidrs)
        ),
        None,
    )


def _age(node: NodeFacts) -> tuple[str, str]:
    return (node.created, node.name)


def _seconds(created: str) -> float:
    try:
        return datetime.fromisoformat(created.replace("Z", "+00:00")).astimezone(UTC).timestamp()
    except ValueError:
        return 0.0
