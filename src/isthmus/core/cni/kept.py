"""What was published, object by object: indexes by node that stay right while single objects come and go.

What there is once per cluster (DaemonSets, ConfigMaps, pools) is replaced as a whole. What there is per node (Nodes, blocks,
CiliumNodes, HostSubnets) is put one at a time, and each says whom it is about, so that one block that moves costs two nodes,
however many there are. The same objects in any order give the same indexes.

The one confusing thing: blocks within blocks. A block is filed under every larger network of a size that some block has; a
size that nobody had before files all anew, which happens when somebody changes a pool's block size, and never else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias, TypeVar

from isthmus.model.published import (
    CalicoBlock,
    CalicoNode,
    CiliumNode,
    HostSubnet,
    Published,
    PublishedNode,
)
from isthmus.model.resources import IPAddress, IPNetwork

T = TypeVar("T")
N = TypeVar("N", CiliumNode, HostSubnet)
Home: TypeAlias = CalicoBlock | CiliumNode | HostSubnet
"""What a CNI says of where pods are, in an object of its own."""


class Kept:
    """The published facts of one cluster. Nodes that stand for our own devices are no part of them: we wrote them."""

    def __init__(self, published: Published) -> None:
        self.node_by_name: dict[str, PublishedNode] = {}
        self.cilium_nodes: dict[str, CiliumNode] = {}
        self.subnet_by_node: dict[str, HostSubnet] = {}
        self.blocks_by_node: dict[str, list[CalicoBlock]] = {}
        self.borrowed_by_node: dict[str, list[IPAddress]] = {}
        self.inner_blocks: dict[IPNetwork, list[tuple[IPNetwork, str]]] = {}
        """Per network of a block the blocks within it, itself among them, each with its node."""
        self._blocks: dict[tuple[str, str], CalicoBlock] = {}
        self._sizes: set[tuple[int, int]] = set()
        self._sorted_nodes: list[PublishedNode] | None = None
        self._sorted_blocks: list[CalicoBlock] | None = None
        self._devices: set[str] = set()
        self.take(published)
        for node in ordered(published.nodes):
            self.put_node(node.name, node)
        for own in ordered(published.cilium_nodes):
            self.put_cilium_node(own.name, own)
        for subnet in ordered(published.host_subnets):
            self.put_host_subnet(subnet.name, subnet)
        for block in ordered(published.blocks):
            self.put_block((block.source, block.name), block)

    def take(self, published: Published) -> None:
        """Take all that there is once per cluster anew; what ``published`` says of single nodes is passed over."""
        self.published = published
        self.daemon_sets = ordered(published.daemon_sets)
        self.config_maps = ordered(published.config_maps)
        self.pools = ordered(published.pools)
        self.installations = ordered(published.installations)
        self.openshift = ordered(published.openshift)
        self.felix = ordered(published.felix)
        self.calico_nodes: dict[str, CalicoNode] = {node.name: node for node in ordered(published.calico_nodes)}

    @property
    def nodes(self) -> list[PublishedNode]:
        """Return the nodes by name."""
        if self._sorted_nodes is None:
            self._sorted_nodes = [node for _, node in sorted(self.node_by_name.items())]
        return self._sorted_nodes

    @property
    def blocks(self) -> list[CalicoBlock]:
        """Return the blocks that are some node's, by network."""
        if self._sorted_blocks is None:
            self._sorted_blocks = sorted((one for one in self._blocks.values() if _is_home(one)), key=_by_network)
        return self._sorted_blocks

    @property
    def names(self) -> list[str]:
        """Return the names of all nodes that any object tells of."""
        known = self.node_by_name.keys() | self.calico_nodes.keys() | self.cilium_nodes.keys()
        return sorted((known | self.subnet_by_node.keys() | self.blocks_by_node.keys()) - self._devices)

    def put_node(self, name: str, node: PublishedNode | None) -> None:
        """Take one Node; none is for "gone"."""
        self._sorted_nodes = None
        self._devices.discard(name)
        if node is not None and not node.device:
            self.node_by_name[name] = node
            return
        self.node_by_name.pop(name, None)
        if node is not None:
            self._devices.add(name)

    def put_cilium_node(self, name: str, found: CiliumNode | None) -> set[str]:
        """Take one CiliumNode; return the nodes it is about."""
        return _put(self.cilium_nodes, name, found)

    def put_host_subnet(self, name: str, found: HostSubnet | None) -> set[str]:
        """Take one HostSubnet; return the nodes it is about."""
        return _put(self.subnet_by_node, name, found)

    def put_block(self, key: tuple[str, str], block: CalicoBlock | None) -> set[str]:
        """Take one block, by its source and name; return the nodes it is, was, or has an address of."""
        self._sorted_blocks = None
        before = self._blocks.pop(key, None)
        if block is not None:
            self._blocks[key] = block
        about: set[str] = set()
        for one in (before, block):
            if one is not None:
                about.update(node for _, node in one.borrowed)
                about.update({one.node} - {""})
        for node in about:
            self._gather(node, before, block)
        if before is not None and _is_home(before):
            self._unfile(before)
        if block is not None and _is_home(block):
            self._file(block)
        return about

    def _gather(self, node: str, before: CalicoBlock | None, block: CalicoBlock | None) -> None:
        """Put right what is kept of one node after ``before`` became ``block``."""
        own = [one for one in self.blocks_by_node.pop(node, []) if one is not before]
        if block is not None and block.node == node and _is_home(block):
            own.append(block)
        if own:
            self.blocks_by_node[node] = sorted(own, key=_by_network)
        lent = self.borrowed_by_node.pop(node, [])
        if before is not None:
            given_back = {address for address, at in before.borrowed if at == node}
            lent = [address for address in lent if address not in given_back]
        if block is not None:
            lent += [address for address, at in block.borrowed if at == node]
        if lent:
            self.borrowed_by_node[node] = sorted(set(lent), key=lambda one: (one.version, int(one)))

    def _file(self, block: CalicoBlock) -> None:
        assert block.prefix is not None, "a home has a network"
        size = (block.prefix.version, block.prefix.prefixlen)
        filed = [block]
        if size not in self._sizes:
            self._sizes.add(size)
            self.inner_blocks.clear()
            filed = self.blocks
        for one in filed:
            assert one.prefix is not None, "a home has a network"
            for outer in self._around(one.prefix):
                self.inner_blocks.setdefault(outer, []).append((one.prefix, one.node))

    def _unfile(self, block: CalicoBlock) -> None:
        assert block.prefix is not None, "a home has a network"
        for outer in self._around(block.prefix):
            self.inner_blocks[outer].remove((block.prefix, block.node))
            if not self.inner_blocks[outer]:
                del self.inner_blocks[outer]

    def _around(self, prefix: IPNetwork) -> Iterable[IPNetwork]:
        for version, length in self._sizes:
            if version == prefix.version and length <= prefix.prefixlen:
                yield prefix.supernet(new_prefix=length)


def ordered(objects: Iterable[T]) -> list[T]:
    """Return the objects by name, each once: Calico's API shows what its custom resources hold a second time."""
    by_text = {repr(one): one for one in objects}
    return [one for _, one in sorted(by_text.items(), key=lambda item: (_place(item[1]), item[0]))]


def _place(one: object) -> tuple[str, str]:
    return (getattr(one, "namespace", ""), getattr(one, "name", ""))


def _is_home(block: CalicoBlock) -> bool:
    return bool(block.node) and block.prefix is not None


def _by_network(block: CalicoBlock) -> tuple[str, str, str]:
    return (str(block.prefix), block.node, block.source)


def _put(known: dict[str, N], name: str, found: N | None) -> set[str]:
    before: N | None = known.pop(name, None)
    if found is not None:
        known[name] = found
    return {name, *(one.name for one in (before, found) if one is not None)}
