"""What clusters and devices say, reduced to the few typed fields we need.

Facts are frozen and hold parsed values: text that does not parse never gets past the door, it becomes a sentence in
``problems`` of that one object, and the object's good fields stay usable. Where a field's absence means something
(no pod CIDR yet), it is empty, never invented.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from isthmus.model.resources import IPAddress, IPInterface, IPNetwork, Protocol

ObjectKey = tuple[str, str]
"""Namespace and name."""

DEVICE_LABEL = "isthmus.dev/device"
"""Label on the Node objects that stand for devices; they are no members of anything."""


class NodeFacts(msgspec.Struct, frozen=True, gc=False):
    """A Node. ``addresses`` are its InternalIPs in the order given; ``not_ready_since`` is epoch seconds, none while ready.

    ``annotations`` holds only those that some path or the CNI's decision reads. ``further`` are those of ``pod_cidrs`` that
    a person wrote on it; ``up`` is the reason by which its NetworkUnavailable condition says that a CNI is up.

    As it came, ``pod_cidrs`` are what Kubernetes assigned, and ``further``. Where the CNI has others, a cluster's view
    replaces them: ``whence`` then says in a few words who says so, or why there are none, and ``endpoints`` are the addresses
    by which the CNI itself reaches the node.
    """

    name: str
    uid: str = ""
    created: str = ""
    addresses: tuple[IPAddress, ...] = ()
    pod_cidrs: tuple[IPNetwork, ...] = ()
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    not_ready_since: float | None = None
    problems: tuple[str, ...] = ()
    further: tuple[IPNetwork, ...] = ()
    up: str = ""
    endpoints: tuple[IPAddress, ...] = ()
    whence: str = ""

    def address(self, version: int) -> IPAddress | None:
        """Return the first InternalIP of that IP version."""
        return next((address for address in self.addresses if address.version == version), None)

    def ways(self, version: int) -> tuple[IPAddress, ...]:
        """Return all addresses of that IP version by which the node may be reached: its CNI's own first, each once."""
        found = (*self.endpoints, *self.addresses)
        return tuple(dict.fromkeys(address for address in found if address.version == version))


class ServicePort(msgspec.Struct, frozen=True, gc=False):
    """One port of a Service."""

    name: str
    protocol: Protocol
    port: int


class ServiceFacts(msgspec.Struct, frozen=True, gc=False):
    """A Service. ``ingress`` is what its status shows now; it is a hint, never trusted input (CVE-2020-8554).

    ``unreadable_request`` is the problem with an address that it asks for, if nobody can say which one it means.
    ``served`` is our own condition in its status (status, reason, message) and ``served_since`` its transition time.
    ``version`` is the resourceVersion that all this was read at: what is written on the strength of it names it.
    """

    namespace: str
    name: str
    uid: str = ""
    version: str = ""
    created: str = ""
    type: str = "ClusterIP"
    load_balancer_class: str | None = None
    ports: tuple[ServicePort, ...] = ()
    families: tuple[int, ...] = (4,)
    requested: tuple[IPAddress, ...] = ()
    unreadable_request: str | None = None
    ingress: tuple[IPAddress, ...] = ()
    cluster_ips: tuple[IPAddress, ...] = ()
    pool: str | None = None
    session_affinity: bool = False
    local_traffic_only: bool = False
    publish_not_ready: bool = False
    labels: Mapping[str, str] = {}
    deleting: bool = False
    served: tuple[str, str, str] | None = None
    served_since: str = ""
    problems: tuple[str, ...] = ()

    @property
    def key(self) -> ObjectKey:
        return (self.namespace, self.name)


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """One endpoint of a slice: the pod's first address, its node, and the three conditions of discovery/v1."""

    address: IPAddress
    node: str | None = None
    ready: bool = True
    serving: bool = True
    terminating: bool = False


class SliceFacts(msgspec.Struct, frozen=True, gc=False):
    """An EndpointSlice. ``ports`` maps a Service port's name and protocol to the pods' port number."""

    namespace: str
    name: str
    service: str
    version: int = 4
    ports: tuple[tuple[str, Protocol, int], ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def key(self) -> ObjectKey:
        return (self.namespace, self.name)


class NamespaceFacts(msgspec.Struct, frozen=True):
    """A Namespace: its uid (kube-system's is the cluster's identity) and its labels, by which pools choose."""

    name: str
    uid: str = ""
    labels: Mapping[str, str] = {}


class Interface(msgspec.Struct, frozen=True):
    """One network interface of a device, as it stands. ``ours`` says that we made it."""

    name: str
    mac: str = ""
    mtu: int = 1500
    addresses: tuple[IPInterface, ...] = ()
    up: bool = True
    ours: bool = False


class DeviceTraits(msgspec.Struct, frozen=True):
    """What kinds of devices do differently, where a path must know it; the defaults are a Linux gateway's.

    ``neighbors``: whether a tunnel has a neighbor and an FDB entry per node (``static``), finds neighbors by flooding to
    every node (``flooded``), or keeps both in one entry (``joined``). ``onlink``: a next hop may lie outside every subnet.
    ``clamps``: TCP segments are kept within an MTU per link. ``profiles``: virtual servers name their source by a profile.
    ``policy_routes``: packets can be routed by their sender. ``shares_vni``: two tunnels may have one VNI, one per IP
    version. ``tunnel_mac`` is the MAC of its tunnel ends where nobody can choose one.
    """

    neighbors: Literal["static", "flooded", "joined"] = "static"
    onlink: bool = True
    clamps: bool = True
    profiles: bool = False
    policy_routes: bool = False
    shares_vni: bool = True
    tunnel_mac: str = ""


class DeviceFacts(msgspec.Struct, frozen=True):
    """What a device tells of itself that decisions need: its own interfaces, addresses and MTUs, and what it is like."""

    interfaces: tuple[Interface, ...] = ()
    traits: DeviceTraits = DeviceTraits()

    def holding(self, address: IPAddress) -> Interface | None:
        """Return the interface (not one of ours) that has ``address``."""
        for interface in self.interfaces:
            if not interface.ours and any(own.ip == address for own in interface.addresses):
                return interface
        return None

    def on_segment(self, address: IPAddress) -> Interface | None:
        """Return the interface (not one of ours) whose subnet contains ``address``: the one it is a neighbor on."""
        for interface in self.interfaces:
            if interface.ours or interface.name == "lo":
                continue
            for own in interface.addresses:
                if own.network.prefixlen < own.max_prefixlen and address in own.network:
                    return interface
        return None
