"""The ground on which every CNI's module looks around: what runs, what is configured, what is said where.

The same objects in any order give the same evidence, so they give the same decision in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address, ip_interface, ip_network

from isthmus.core.cni.kept import Kept
from isthmus.model.published import ConfigMap, DaemonSet, PublishedNode
from isthmus.model.resources import IPAddress, IPInterface, IPNetwork

_NAMED = 3
"""How many nodes a sentence names before it only counts."""


class Evidence(Kept):
    """One cluster's published facts, and the ways in which every CNI's module looks around in them."""

    def running(self, fits: Callable[[DaemonSet], bool]) -> list[DaemonSet]:
        """Return the DaemonSets that fit and run on some node."""
        return [one for one in self.daemon_sets if one.runs and fits(one)]

    def config(self, name: str, of: DaemonSet | None = None) -> ConfigMap | None:
        """Return the ConfigMap whose name is ``name``, or begins with it where a DaemonSet mounts it so.

        With a DaemonSet only those of its own namespace count; without one, the first by namespace does.
        """
        for one in self.config_maps:
            if of is not None and one.namespace != of.namespace:
                continue
            if one.name == name or (of is not None and one.name in of.config_maps and one.name.startswith(name)):
                return one
        return None

    def config_of(self, name: str, running: Sequence[DaemonSet]) -> ConfigMap | None:
        """Return that ConfigMap of the first DaemonSet that has one; where none runs, of any namespace."""
        if not running:
            return self.config(name)
        return next((found for one in running if (found := self.config(name, one)) is not None), None)

    def annotated(self, key: str) -> list[PublishedNode]:
        """Return the nodes that have that annotation, whatever it says."""
        return [node for node in self.nodes if key in node.annotations]

    def up(self, reason: str) -> list[PublishedNode]:
        """Return the nodes whose condition NetworkUnavailable is false for that reason."""
        return [node for node in self.nodes if node.up == reason]

    def on(self, nodes: Iterable[PublishedNode]) -> str:
        """Return on which nodes something was seen: "on node a", "on all 5 nodes", "on 4 of 9 nodes (a, b, c, ...)"."""
        names = [node.name for node in nodes]
        if len(names) == 1 and len(self.nodes) == 1:
            return f"on node {names[0]}"
        if len(names) == len(self.nodes):
            return f"on all {len(names)} nodes"
        shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        return f"on {len(names)} of {len(self.nodes)} nodes ({shown})"

    def up_sight(self, reason: str) -> list[str]:
        """Return the sentence about nodes that are up for that reason, if there are any."""
        nodes = self.up(reason)
        return [f"condition NetworkUnavailable is False with reason {reason} {self.on(nodes)}"] if nodes else []


def count(number: int, what: str) -> str:
    """Return "1 node" or "3 nodes"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def number(text: str | None) -> int | None:
    """Return a positive whole number, or none: zero is how many a CNI writes "find out yourself"."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0 else None


def prefix(said: object) -> IPNetwork:
    """Return a network of pods from what an annotation says. Raises ValueError for what can be none."""
    network = ip_network(_text(said))
    if network.prefixlen == 0 or network.is_loopback or network.is_multicast:
        # A route for it would draw traffic that has nothing to do with pods, the default route's above all.
        raise ValueError(f"{network} cannot be a network of pods")
    return network


def address(said: object) -> IPAddress:
    """Return an address from what an annotation says. Raises ValueError for what is none, and for one with a zone."""
    found = ip_address(_text(said))
    if "%" in str(found):
        raise ValueError(f"{found} has a zone, which means something on one host only")
    return found


def interface(said: object) -> IPInterface:
    """Return an address with its prefix length. Raises ValueError for what is none."""
    found = ip_interface(_text(said))
    if "%" in str(found):
        raise ValueError(f"{found} has a zone, which means something on one host only")
    return found


def _text(said: object) -> str:
    # The ipaddress module takes a number for an address, too; nobody who publishes one means that.
    if not isinstance(said, str):
        raise ValueError(f"{said!r} is no text")
    return said
