"""What to ask to find a black hole.

A wrong tunnel MAC or a missing return route on one node costs exactly that node's share of requests, with no error
anywhere; only a packet from the device shows it. Three things are asked per node and IP version: the node's own end of the
path, which always answers if the path works both ways; the same with a packet as long as the path should carry; and one pod
on the node, which may have reasons of its own not to answer.

The one confusing thing: a long echo that comes back proves the short one, too, and it comes back at its own length, so it
asks about both directions. Which of them is at fault, a few more questions tell (:func:`closer`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from isthmus.core import attachment
from isthmus.core.ground import Ground
from isthmus.core.paths import PATHS, flannel
from isthmus.core.view import ClusterView
from isthmus.core.world import path_of
from isthmus.model.facts import NodeFacts, ObjectKey, SliceFacts
from isthmus.model.resources import IPAddress

Role: TypeAlias = Literal["node", "pod"]
SMALL = 84
"""Bytes that pass wherever anything does."""
_STEPS = (4, 8, 14, 20, 24, 28, 36, 44, 50, 60, 70, 80, 100, 120, 150, 200, 250)
"""By how much paths are usually narrower than somebody believed: tags, tunnels in tunnels, other people's VPNs."""


class Question(msgspec.Struct, frozen=True):
    """Ask whether ``address`` (the node's end of the path, or a pod on it) answers the device's ``source``.

    ``size`` is the packet's length. ``port`` asks about the way there alone, by a datagram to a closed port.
    """

    node: str
    role: Role
    address: IPAddress
    source: IPAddress
    size: int = SMALL
    port: bool = False

    @property
    def version(self) -> Literal[4, 6]:
        return self.address.version

    @property
    def long(self) -> bool:
        return self.size > SMALL


class Answer(msgspec.Struct, frozen=True):
    """Whether it answered, how long that took, or why it did not; ``fragment`` and ``mtu`` as a driver's probe tells them."""

    reached: bool
    milliseconds: float = 0.0
    why: str = ""
    fragment: int = 0
    mtu: int = 0

    @property
    def whole(self) -> bool:
        """Say whether the answer came, and in one piece."""
        return self.reached and not self.fragment


class End(msgspec.Struct, frozen=True):
    """One node's end of the path in one IP version, the device's own address there, and how long a packet may be."""

    address: IPAddress
    source: IPAddress
    mtu: int

    def ask(self, node: str, *sizes: int) -> list[Question]:
        """Return an echo request of each size."""
        return [Question(node, "node", self.address, self.source, size) for size in sizes]


def ends(ground: Ground, node: NodeFacts) -> tuple[End, ...]:
    """Return where ``node`` is to be asked, one IP version each; nowhere while the device is not on the path itself."""
    name = path_of(ground.world, ground.link)
    found = []
    for version in sorted({prefix.version for prefix in node.pod_cidrs}) if name is not None else ():
        assert name is not None, "narrowed by the loop's own condition"
        source, mtu = PATHS[name].source(ground, version), PATHS[name].mtu(ground, version)
        address = _address(ground, name, node, version)
        if source is not None and address is not None:
            found.append(End(address, source, mtu or SMALL))
    return tuple(found)


def closer(node: str, end: End) -> list[Question]:
    """Return what tells more of a packet that was lost: how long one may be, and whether long ones get there at all."""
    ladder = end.ask(node, *(end.mtu - step for step in _STEPS))
    knocks = [Question(node, "node", end.address, end.source, size, port=True) for size in (SMALL, end.mtu)]
    return [*ladder, *knocks]


def pods(ground: Ground, node: NodeFacts, found: Iterable[End]) -> list[Question]:
    """Return a question about a ready pod on ``node`` for each IP version that has an end."""
    asked = []
    for end in found:
        pod = a_pod(ground.cluster, node, end.address.version)
        if pod is not None:
            asked.append(Question(node.name, "pod", pod.address, end.source))
    return asked


def questions(ground: Ground, node: NodeFacts) -> list[Question]:
    """Return all that there is to ask about ``node``, each thing once."""
    found = ends(ground, node)
    return [
        *(question for end in found for question in end.ask(node.name, *sorted({SMALL, end.mtu}))),
        *pods(ground, node, found),
    ]


class Pod(msgspec.Struct, frozen=True):
    """A ready pod, and the slice that says so: while that very slice is known, the pod is."""

    address: IPAddress
    service: ObjectKey
    slice: SliceFacts

    def stands(self, cluster: ClusterView) -> bool:
        """Say whether the slice still says so."""
        return cluster.slices.get(self.service, {}).get(self.slice.name) is self.slice


def a_pod(cluster: ClusterView, node: NodeFacts, version: int) -> Pod | None:
    """Return a ready pod on ``node`` that has an address of its pod CIDRs, the same one while nothing changes."""
    for key in sorted(cluster.services_on(node.name)):
        for _, facts in sorted(cluster.slices.get(key, {}).items()):
            for endpoint in facts.endpoints:
                if endpoint.node != node.name or not endpoint.ready or endpoint.terminating:
                    continue
                if any(prefix.version == version and endpoint.address in prefix for prefix in node.pod_cidrs):
                    return Pod(endpoint.address, key, facts)
    return None


def _address(ground: Ground, path: str, node: NodeFacts, version: int) -> IPAddress | None:
    match path:
        case "overlay":
            if ground.ipip:
                return None  # nobody has an address inside to ask
            try:
                attached = attachment.parse(node.annotations.get(attachment.annotation(ground.link_name), ""))
            except ValueError:
                return None
            return next((address.ip for address in attached.addresses if address.version == version), None)
        case "flannel":
            return flannel.next_hop(ground, node, version)
        case _:
            found = ground.hop(node, version)
            return found[0] if found is not None else None
