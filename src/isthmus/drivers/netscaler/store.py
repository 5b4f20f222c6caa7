"""What this process knows to stand on the device: its last looks, and what it has carried out since."""

from __future__ import annotations

from isthmus.drivers.netscaler.objects import Obj
from isthmus.drivers.netscaler.sight import Sight
from isthmus.model.plan import Change
from isthmus.model.resources import AnyResource, IPAddress, VirtualServer

__all__ = ["Store"]


class Store:
    """Resources of ours, and the objects behind those that are not as they should be."""

    def __init__(self) -> None:
        self.held: dict[str, AnyResource] = {}
        self.odd: dict[str, tuple[Obj, ...]] = {}
        self._servers: dict[IPAddress, set[str]] = {}

    def take(self, sight: Sight) -> None:
        """Take over what a look has found."""
        if sight.identities is None:
            self.held, self.odd, self._servers = {}, dict(sight.odd), {}
        else:
            for identity in sight.identities:
                self.drop(identity)
                self.odd.pop(identity, None)
            self.odd |= sight.odd
        for resource in sight.resources.values():
            self._hold(resource)

    def done(self, change: Change) -> None:
        """Note that a change stands."""
        self.odd.pop(change.identity, None)
        self.drop(change.identity)
        if change.after is not None:
            self._hold(change.after)

    def drop(self, identity: str) -> None:
        """Forget what stands at ``identity``."""
        before = self.held.pop(identity, None)
        if isinstance(before, VirtualServer):
            self._servers.get(before.address, set()).discard(identity)

    def servers_on(self, address: IPAddress) -> set[str]:
        """Return the identities of the virtual servers of ours on ``address``."""
        return set(self._servers.get(address, ()))

    def _hold(self, resource: AnyResource) -> None:
        self.held[resource.identity] = resource
        if isinstance(resource, VirtualServer):
            self._servers.setdefault(resource.address, set()).add(resource.identity)
