"""What a cluster's own objects tell of its network: annotations, DaemonSets, ConfigMaps, each CNI's custom resources.

Facts for one decision (``core.cni``): which CNI makes the pod network, and where each node's pods are. They hold what was
published, parsed, and judge nothing: a leftover looks the same here as the real thing. What did not parse is a sentence in
``problems`` of that one object, and its good fields stay usable.

The one confusing thing: ``assigned`` and pod CIDRs. ``PublishedNode.assigned`` is what Kubernetes gave a node
(``spec.podCIDRs``). Whether the CNI gives pods addresses from it is the CNI's own affair; several do not.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from isthmus.model.resources import IPAddress, IPInterface, IPNetwork


class PublishedNode(msgspec.Struct, frozen=True):
    """A Node of the cluster. ``up`` is the reason by which its NetworkUnavailable condition says that a CNI is up.

    ``device`` says that it is no machine of the cluster, but stands for a device of ours.
    """

    name: str
    internal: tuple[IPAddress, ...] = ()
    assigned: tuple[IPNetwork, ...] = ()
    annotations: Mapping[str, str] = {}
    up: str = ""
    windows: bool = False
    device: bool = False
    problems: tuple[str, ...] = ()


class Container(msgspec.Struct, frozen=True):
    """A container of a DaemonSet. ``words`` are command and arguments; ``refs`` are variables taken from ConfigMaps."""

    name: str
    image: str = ""
    words: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    refs: Mapping[str, tuple[str, str]] = {}
    init: bool = False

    def flag(self, name: str) -> str | None:
        """Return the value of ``--name`` ("true" where it stands alone), or none where it is not given."""
        for index, word in enumerate(self.words):
            if word == f"--{name}":
                following = self.words[index + 1] if index + 1 < len(self.words) else "-"
                return "true" if following.startswith("-") else following
            if word.startswith(f"--{name}="):
                return word.partition("=")[2]
        return None


class DaemonSet(msgspec.Struct, frozen=True):
    """A DaemonSet. ``scheduled`` is on how many nodes it should run, none where its status does not say."""

    namespace: str
    name: str
    containers: tuple[Container, ...] = ()
    config_maps: tuple[str, ...] = ()
    scheduled: int | None = None
    windows: bool = False
    problems: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Return what it is called in a sentence."""
        return f"DaemonSet {self.namespace}/{self.name}"

    @property
    def runs(self) -> bool:
        """Say whether it runs on nodes that we route to; one for no node, or for Windows nodes, proves nothing."""
        return self.scheduled != 0 and not self.windows

    def container(self, name: str) -> Container | None:
        """Return the container (or init container) of that name."""
        return next((container for container in self.containers if container.name == name), None)


class ConfigMap(msgspec.Struct, frozen=True):
    """A ConfigMap. Documents within it are flat: key ``net-conf.json`` gives ``net-conf.json:Backend.Type`` and others."""

    namespace: str
    name: str
    values: Mapping[str, str] = {}
    problems: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Return what it is called in a sentence."""
        return f"ConfigMap {self.namespace}/{self.name}"


class CalicoPool(msgspec.Struct, frozen=True):
    """An IPPool of Calico. ``ipip`` and ``vxlan`` are Never, Always or CrossSubnet; empty where they are not said."""

    name: str
    prefix: IPNetwork | None = None
    ipip: str = ""
    vxlan: str = ""
    disabled: bool = False
    problems: tuple[str, ...] = ()


class CalicoInstallation(msgspec.Struct, frozen=True):
    """The operator's Installation: what somebody wishes Calico to be."""

    name: str
    cni: str = ""
    ipam: str = ""
    bgp: str = ""
    mtu: int | None = None
    pools: tuple[tuple[IPNetwork | None, str], ...] = ()
    problems: tuple[str, ...] = ()


class CalicoFelix(msgspec.Struct, frozen=True):
    """A FelixConfiguration: the ports and VNI of Calico's tunnels, where somebody set them."""

    name: str
    vxlan_port: int | None = None
    vxlan_vni: int | None = None
    wireguard_port: int | None = None
    problems: tuple[str, ...] = ()


class CalicoBlock(msgspec.Struct, frozen=True):
    """A block of addresses that Calico's IPAM gave a node: a BlockAffinity or an IPAMBlock, by its ``source``.

    ``borrowed`` are addresses of the block that pods on other nodes have, each with that node.
    """

    source: str
    name: str
    prefix: IPNetwork | None = None
    node: str = ""
    state: str = "confirmed"
    borrowed: tuple[tuple[IPAddress, str], ...] = ()
    problems: tuple[str, ...] = ()


class CalicoNode(msgspec.Struct, frozen=True):
    """Calico's own Node object (``calicoctl get node``), where it is another one than the Node of Kubernetes."""

    name: str
    internal: tuple[IPAddress, ...] = ()
    addresses: tuple[IPInterface, ...] = ()
    ipip: IPAddress | None = None
    vxlan: IPAddress | None = None
    vxlan_mac: str = ""
    wireguard: IPAddress | None = None
    wireguard_key: bool = False
    problems: tuple[str, ...] = ()


class CiliumNode(msgspec.Struct, frozen=True):
    """A CiliumNode. ``pod_cidrs`` and ``pools`` are none where the object has no such field at all."""

    name: str
    internal: tuple[IPAddress, ...] = ()
    own: tuple[IPAddress, ...] = ()
    pod_cidrs: tuple[IPNetwork, ...] | None = None
    pools: tuple[IPNetwork, ...] | None = None
    cloud: str = ""
    problems: tuple[str, ...] = ()


class HostSubnet(msgspec.Struct, frozen=True):
    """A HostSubnet of OpenShift SDN: the node, its address and the network of its pods."""

    name: str
    address: IPAddress | None = None
    subnet: IPNetwork | None = None
    problems: tuple[str, ...] = ()


class OpenShiftNetwork(msgspec.Struct, frozen=True):
    """OpenShift's Network.config: ``wanted`` is what its spec asks for, ``runs`` what its operator says it made."""

    name: str
    wanted: str = ""
    runs: str = ""
    ranges: tuple[IPNetwork, ...] = ()
    mtu: int | None = None
    problems: tuple[str, ...] = ()


class Published(msgspec.Struct, frozen=True):
    """All that one cluster publishes of its network. ``unread`` says what could not be read, and why."""

    nodes: tuple[PublishedNode, ...] = ()
    daemon_sets: tuple[DaemonSet, ...] = ()
    config_maps: tuple[ConfigMap, ...] = ()
    pools: tuple[CalicoPool, ...] = ()
    installations: tuple[CalicoInstallation, ...] = ()
    felix: tuple[CalicoFelix, ...] = ()
    blocks: tuple[CalicoBlock, ...] = ()
    calico_nodes: tuple[CalicoNode, ...] = ()
    cilium_nodes: tuple[CiliumNode, ...] = ()
    host_subnets: tuple[HostSubnet, ...] = ()
    openshift: tuple[OpenShiftNetwork, ...] = ()
    unread: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
