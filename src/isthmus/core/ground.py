"""Where a decision stands: one link on one device, with the facts of its cluster; and what a decision comes to.

Paths and features get a :class:`Ground` and fill a :class:`Desired`. Nothing is raised for a bad object: what cannot be
served becomes a refusal of its own scope, and the object's good parts stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from isthmus.core.view import ClusterView
from isthmus.core.world import World, path_of
from isthmus.model import facts as model_facts
from isthmus.model.facts import DeviceFacts, DeviceTraits, Interface, NodeFacts
from isthmus.model.kinds import ClusterLink, EdgeDevice
from isthmus.model.plan import Refusal, Scope
from isthmus.model.resources import AnyResource, IPAddress, IPInterface, Tunnel

DEVICE_LABEL = model_facts.DEVICE_LABEL
"""Label on the Node objects that stand for devices; they are no members of anything."""

VXLAN_OVERHEAD = {4: 50, 6: 70}
"""Bytes that VXLAN adds over an IPv4 or IPv6 underlay: inner Ethernet 14, VXLAN 8, UDP 8, IP 20 or 40 (RFC 7348)."""


IPIP_OVERHEAD = 20
"""Bytes that IP in IP adds: one more IPv4 header (RFC 2003)."""


class Source(NamedTuple):
    """An address of the device that policy routes lead from, with its subnet, and the interface that has it."""

    own: IPInterface
    link: str


@dataclass(frozen=True)
class Ground:
    """One link on one device: what it found out once it does not look up again.

    ``found_ends``, ``found_tunnel`` (empty, or one) and ``found_sources`` (where an address for policy routes is, or why it
    does not count) rest on nodes and other links and hold for one pass; the rest for as long as link, device and facts do.
    """

    world: World
    link: ClusterLink
    device: EdgeDevice
    facts: DeviceFacts
    found_ends: dict[int, tuple[IPAddress, Interface] | None] = field(default_factory=dict, compare=False)
    found_tunnel: list[Tunnel | None] = field(default_factory=list, compare=False)
    found_sources: dict[IPAddress, Source | str] = field(default_factory=dict, compare=False)

    @property
    def cluster(self) -> ClusterView:
        """Return the facts of the link's cluster."""
        return self.world.view(self.link.spec.cluster)

    @property
    def traits(self) -> DeviceTraits:
        """Return what the device does differently from others."""
        return self.facts.traits

    @property
    def by_source(self) -> bool:
        """Say whether pods are routed to by the sender's address, so that other clusters may have the same pod CIDRs."""
        return self.link.spec.policy_routes is not None or self.ipip

    @property
    def ipip(self) -> bool:
        """Say whether the link reaches nodes by IP in IP, if by an overlay."""
        overlay = self.link.spec.overlay
        return overlay is not None and overlay.encapsulation == "ipip" and path_of(self.world, self.link) == "overlay"

    @property
    def link_name(self) -> str:
        return self.link.metadata.name

    @property
    def device_name(self) -> str:
        return self.device.metadata.name

    def takes_part(self, node: NodeFacts) -> bool:
        """Say whether the link's selector wants this node (a Node that stands for a device is never wanted)."""
        return DEVICE_LABEL not in node.labels and self.link.spec.node_selector.matches(node.labels)

    def nodes(self) -> Iterator[NodeFacts]:
        """Yield the nodes that take part, by name."""
        return (node for node in self.cluster.nodes_by_name() if self.takes_part(node))

    @cached_property
    def subnets(self) -> tuple[tuple[IPInterface, Interface], ...]:
        """Return the device's own subnets, each with its interface; single addresses (VIPs, loopbacks) are none."""
        return tuple(
            (own, interface)
            for interface in self.facts.interfaces
            if not interface.ours
            for own in interface.addresses
            if own.network.prefixlen < own.max_prefixlen
        )

    def segment_end(self, version: int) -> tuple[IPAddress, Interface] | None:
        """Return the device's address of that IP version on its nodes' segment, and its interface, or none."""
        if version not in self.found_ends:
            self.found_ends[version] = self._find_segment(version)
        return self.found_ends[version]

    def _find_segment(self, version: int) -> tuple[IPAddress, Interface] | None:
        # Nobody can be a neighbor where the device has no subnet; a fleet of nodes need not be asked for that.
        if not any(own.version == version and interface.name != "lo" for own, interface in self.subnets):
            return None
        for node in self.nodes():
            found = self.hop(node, version)
            if found is not None:
                return found[1:]
        return None

    def hop(self, node: NodeFacts, version: int) -> tuple[IPAddress, IPAddress, Interface] | None:
        """Return the node's first address on a segment of the device, the device's own there, and its interface, or none.

        A node with several network cards may be a neighbor by another than its InternalIP.
        """
        for address in node.ways(version):
            found = self.segment_address(address)
            if found is not None:
                return address, *found
        return None

    def tunnel_end(self, version: int) -> tuple[IPAddress, Interface] | None:
        """Return the device's own address for tunnels of that IP version and the interface that has it, or none.

        The user's ``tunnelAddresses`` decide; without them it is the device's address on the segment of its nodes.
        """
        if not self.device.spec.tunnel_addresses:
            return self.segment_end(version)
        return self._stated_ends.get(version)

    @cached_property
    def _stated_ends(self) -> dict[int, tuple[IPAddress, Interface]]:
        ends = ((address, self.facts.holding(address)) for address in self.device.spec.tunnel_addresses)
        return {address.version: (address, interface) for address, interface in ends if interface is not None}

    def segment_address(self, neighbor: IPAddress) -> tuple[IPAddress, Interface] | None:
        """Return the device's own address on the segment that holds ``neighbor``, and its interface, or none."""
        for own, interface in self.subnets:
            if interface.name != "lo" and neighbor in own.network:
                return own.ip, interface
        return None

    def missing_tunnel_end(self) -> str:
        """Return the sentence that says why :meth:`tunnel_end` found none."""
        stated = ", ".join(str(address) for address in self.device.spec.tunnel_addresses)
        if stated:
            return f"tunnel address {stated} is on no interface of {self.device_name}"
        return f"{self.device_name} has no address on a segment with any node of cluster {self.cluster.name}"


@dataclass(slots=True)
class Desired:
    """What one scope comes to. ``order`` decides between unequal wishes; ``recheck`` is when time alone changes it."""

    scope: Scope
    order: str = ""
    resources: list[AnyResource] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    recheck: float | None = None

    def want(self, *resources: AnyResource) -> None:
        """Add to what should be on the device."""
        self.resources.extend(resources)

    def refuse(self, reason: str, message: str, remedy: str = "") -> None:
        """Say what cannot be served, why (one CamelCase word and a sentence), and the way out."""
        self.refusals.append(Refusal(self.scope, reason, message, remedy))

    def look_again(self, at: float) -> None:
        """Ask to be looked at again at that moment (epoch seconds)."""
        self.recheck = at if self.recheck is None else min(at, self.recheck)
