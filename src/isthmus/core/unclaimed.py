"""VIPs that stand on a device, that a Service shows as its own, and that nobody has claimed yet.

So it is where the claims were lost, or are kept elsewhere: a controller that begins with a new state directory. The claim is
made in a moment, with the same address; taking the VIP away before would cut off its clients for nothing.

The one confusing thing: what a Service shows is never trusted. It gives nobody an address, it only has a delete wait until
the Service has been decided; and only of things of which nobody remembers who wanted them.
"""

from __future__ import annotations

from collections.abc import Container

from isthmus.core.services import is_ours
from isthmus.core.world import World
from isthmus.model.plan import Change
from isthmus.model.resources import IPAddress, served_address

__all__ = ["Unclaimed"]


class Unclaimed:
    """What of one device waits for claims; a pass begins with :meth:`begin` or with :meth:`settled`."""

    def __init__(self, world: World, device: str) -> None:
        self._world = world
        self._device = device
        self._shown: dict[IPAddress, str] | None = None
        self._waiting: dict[str, IPAddress] = {}

    def begin(self) -> None:
        """Begin a pass over everything."""
        self._shown = None
        self._waiting.clear()

    def settled(self) -> set[str]:
        """Begin a pass; return the identities that need not wait any more, since their Services were decided."""
        self._shown = None
        if not self._waiting:
            return set()  # nothing to ask all Services for
        over = {identity for identity, address in self._waiting.items() if address not in self._by_address()}
        for identity in over:
            del self._waiting[identity]
        return over

    def why_not(self, step: Change, remembered: Container[str]) -> str | None:
        """Return why the delete ``step`` must wait, or none; ``remembered`` has what somebody is known to have wanted."""
        address = served_address(step.before) if step.before is not None else None
        if address is None or step.identity in remembered:
            return None
        reason = self._by_address().get(address)
        if reason is not None:
            self._waiting[step.identity] = address
        return reason

    def _by_address(self) -> dict[IPAddress, str]:
        """Return the addresses that Services of ours show and have not claimed, with a sentence for each."""
        if self._shown is None:
            clusters = dict.fromkeys(link.spec.cluster for link in self._world.links_of_device(self._device))
            self._shown = {address: text for cluster in clusters for address, text in self._of(cluster).items()}
        return self._shown

    def _of(self, cluster: str) -> dict[IPAddress, str]:
        kind = self._world.cluster_kinds.get(cluster)
        if kind is None:
            return {}
        found = {}
        for (namespace, name), service in self._world.view(cluster).services.items():
            if not service.ingress or service.deleting or not is_ours(service, kind):
                continue
            claimed = self._world.addresses_of((cluster, namespace, name))
            for address in service.ingress:
                if address not in claimed:
                    found[address] = (
                        f"Service {namespace}/{name} of {cluster} shows {address}, and has not been looked at yet"
                    )
        return found
