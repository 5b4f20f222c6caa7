"""Which nodes' pods the device is set to reach, per IP version: the question every Service's membership rests on.

A node is *joined* when a route to its pods of that version is its own and everything that route needs is its own, too. A
node that lost its FDB entry or neighbor to another, or whose tunnel is not ours, has a route that leads nowhere or, worse,
to somebody else; its pods are no members.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from isthmus.core.wishes import Wishes
from isthmus.model.plan import Scope
from isthmus.model.resources import AnyResource, IPAddress, Neighbor, PolicyRoute, Route

Barred = Callable[[Mapping[str, AnyResource]], Collection[str]]
"""Which of the wanted resources cannot stand on the device, whoever wants them."""

_NOWHERE: frozenset[int] = frozenset()


class JoinedNodes:
    """The joined nodes of one device, kept from pass to pass."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._joined: dict[tuple[str, str], frozenset[int]] = {}

    def versions(self, link: str, node: str) -> frozenset[int]:
        """Return the IP versions in which the pods of ``node`` are reached over ``link``."""
        return self._joined.get((link, node), _NOWHERE)

    def names(self, link: str) -> list[str]:
        """Return the joined nodes of ``link`` by name."""
        return sorted(node for of, node in self._joined if of == link)

    def update(self, nodes: set[Scope], touched: Collection[str], barred: Barred) -> set[Scope]:
        """Find out anew about ``nodes``, and those that ``touched`` identities are contested by; return who moved."""
        nodes = nodes | self._contenders(touched)
        wanted = {identity: resource for node in nodes for identity, resource in self._wishes.of(node).items()}
        out = barred(wanted)
        moved = set()
        for node in nodes:
            versions = self._versions(node, out)
            key = (node.link, node.name)
            if versions == self._joined.get(key, _NOWHERE):
                continue
            moved.add(node)
            if versions:
                self._joined[key] = versions
            else:
                del self._joined[key]
        return moved

    def _contenders(self, touched: Collection[str]) -> set[Scope]:
        found: set[Scope] = set()
        for identity in touched:
            found.update(self._wishes.scopes_at(identity))
        return {scope for scope in found if scope.kind == "node"}

    def _versions(self, node: Scope, out: Collection[str]) -> frozenset[int]:
        routed: set[int] = set()
        lost: set[int] = set()
        served_from: dict[int, IPAddress] = {}
        for identity, resource in self._wishes.of(node).items():
            if isinstance(resource, PolicyRoute):
                # The first address of a family is the one that Services are served from; what the others have is no matter.
                version = resource.prefix.version
                if served_from.setdefault(version, resource.source) != resource.source:
                    continue
            if identity not in out and self._wishes.grants(identity, node):
                if isinstance(resource, Route | PolicyRoute):
                    routed.add(resource.prefix.version)
            elif isinstance(resource, Neighbor):
                lost.add(resource.address.version)
            elif not isinstance(resource, Route | PolicyRoute):
                lost |= {4, 6}  # the tunnel's outer side carries both families
        return frozenset(routed - lost)
