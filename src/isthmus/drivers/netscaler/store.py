"""What this process knows to stand on the device: its last looks, and what it has carried out since."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.drivers.netscaler.objects import Obj
from isthmus.drivers.netscaler.sight import Sight
from isthmus.model.plan import Change
from isthmus.model.resources import AnyResource, IPAddress, VirtualServer

__all__ = ["Store"]


@dataclass(slots=True)
class Store:
    """What is known to stand: resources of ours, and the objects behind those that are not as they should be."""

    held: dict[str, AnyResource]
    odd: dict[str, tuple[Obj, ...]]

    def take(self, sight: Sight) -> None:
        """Take over what a look has found."""
        if sight.identities is None:
            self.held, self.odd = dict(sight.resources), dict(sight.odd)
            return
        for identity in sight.identities:
            self.held.pop(identity, None)
            self.odd.pop(identity, None)
        self.held |= sight.resources
        self.odd |= sight.odd

    def done(self, change: Change) -> None:
        """Note that a change stands."""
        self.odd.pop(change.identity, None)
        if change.after is None:
            self.held.pop(change.identity, None)
        else:
            self.held[change.identity] = change.after

    def servers_on(self, address: IPAddress) -> set[str]:
        """Return the identities of the virtual servers of ours on ``address``."""
        return {
            identity
            for identity, one in self.held.items()
            if identity.startswith("virtual-server ") and _address_of(identity, one) == address
        }


def _address_of(identity: str, one: AnyResource) -> IPAddress | None:
    return one.address if isinstance(one, VirtualServer) else None
