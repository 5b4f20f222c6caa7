"""The ways from a device to the pods, one module each, by the name users write; siblings do not know one another.

Every path answers the same four questions: what the link needs on the device, what one node needs there, from which
address the device speaks to pods of a family, and how long a packet may be.
"""

from __future__ import annotations

from typing import Protocol

from isthmus.core.ground import Desired, Ground
from isthmus.core.paths import direct, flannel, overlay
from isthmus.core.world import PathName
from isthmus.model.facts import NodeFacts
from isthmus.model.resources import IPAddress


class Path(Protocol):
    """What each module here is."""

    def for_link(self, ground: Ground, desired: Desired) -> None:
        """Add what the link as a whole needs on the device."""

    def for_node(self, ground: Ground, node: NodeFacts, desired: Desired) -> None:
        """Add what reaching ``node`` and its pods needs on the device."""

    def source(self, ground: Ground, version: int) -> IPAddress | None:
        """Return the device's address that pods of that IP version can answer to, or none."""

    def mtu(self, ground: Ground, version: int) -> int | None:
        """Return the size of the largest packet of that IP version that the path should carry, or none."""


PATHS: dict[PathName, Path] = {"direct": direct, "flannel": flannel, "overlay": overlay}
