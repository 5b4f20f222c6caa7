"""What is concluded about a cluster's network: one finding per CNI, one entry per node, and the decision over all of them.

The one confusing thing: ``sure`` and ``network``. A finding is *sure* when something that runs now was seen (a DaemonSet,
what an operator says it made), not when traces were: annotations stay on nodes for years after their CNI has gone. It is
about the pod *network* unless the CNI only enforces policy on somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from isthmus.core.cni.evidence import Evidence
from isthmus.model.resources import IPAddress, IPNetwork

Certainty = Literal["certain", "likely", "unknown"]
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One CNI on one cluster: ``seen`` says what was seen where, ``tunnels`` how packets travel between nodes.

    ``tunnels`` is empty where nobody says, and holds "none" for plain routing. ``port`` is the UDP port of its tunnels.
    ``mtu`` is that of pods' interfaces. ``bgp`` says that it speaks BGP, so that a device could be its peer. ``ranges`` are
    the networks out of which nodes get theirs, where it says so.
    """

    cni: str
    sure: bool
    mode: str
    seen: tuple[str, ...]
    network: bool = True
    tunnels: tuple[str, ...] = ()
    port: int | None = None
    vni: int | None = None
    mtu: int | None = None
    bgp: bool = False
    doubts: tuple[str, ...] = ()
    ranges: tuple[IPNetwork, ...] = ()

    @property
    def title(self) -> str:
        """Return name and mode in a few words."""
        return f"{self.cni} ({self.mode})" if self.mode else self.cni


@dataclass(frozen=True, slots=True)
class Vtep:
    """One node's tunnel end in one IP version, as far as it is published."""

    address: IPAddress | None = None
    mac: str | None = None
    vni: int | None = None


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """Where one node's pods are. ``pod_cidrs`` is none where nothing says it, and empty where there is nothing to say.

    ``endpoints`` are the addresses by which the CNI itself reaches the node; ``addresses`` those by which others do.
    ``borrowed`` are single addresses of its pods that lie in another node's block. Each of ``oddities`` is a sentence.
    """

    name: str
    addresses: tuple[IPAddress, ...] = ()
    assigned: tuple[IPNetwork, ...] = ()
    pod_cidrs: tuple[IPNetwork, ...] | None = None
    borrowed: tuple[IPAddress, ...] = ()
    endpoints: tuple[IPAddress, ...] = ()
    vteps: tuple[Vtep, ...] = ()
    tunnel_addresses: tuple[IPAddress, ...] = ()
    interface: str = ""
    mtu: int | None = None
    oddities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """Which CNI makes a cluster's pod network. ``why`` is one sentence; ``remarks`` are what else a person should know.

    ``traces`` names the CNIs of which something was seen where none of them was chosen.
    """

    cni: str
    certainty: Certainty
    mode: str
    why: str
    networks: tuple[Finding, ...] = ()
    nodes: tuple[NodeNetwork, ...] = field(default=())
    remarks: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()

    def node(self, name: str) -> NodeNetwork | None:
        """Return what is known of the node of that name."""
        return next((node for node in self.nodes if node.name == name), None)


class Cni(Protocol):
    """What a module in this room is: it knows one CNI, and nothing of the others."""

    def find(self, evidence: Evidence) -> Finding | None:
        """Return what tells of this CNI, or none."""

    def node(self, evidence: Evidence, finding: Finding, name: str) -> NodeNetwork:
        """Return what this CNI publishes of one node; ``decide`` fills in what every Node has."""
