"""What we know about a scope on one device: whether it can be judged now, and whether its absence means anything.

Three different answers that are easily taken for one another. *Unread*: what the scope wants cannot be worked out now, so
what it wanted stands. *Doubt*: it can be worked out, but a thing it does not want any more is no proof that the thing
should go. *Absent*: the configuration does not name it any more, which looks like an accident until somebody orders it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from isthmus.core.world import World, path_of
from isthmus.model.kinds import ClusterLink
from isthmus.model.plan import Scope

_NEEDED = {
    "node": ("nodes", "network", "pods"),
    "link": ("nodes", "network"),
    "service": ("nodes", "network", "pods", "services", "endpointslices"),
}


class Known:
    """The knowledge of a world as far as one device is concerned."""

    def __init__(self, world: World, device: str) -> None:
        self._world = world
        self._device = device

    def ordered(self, scope: Scope) -> bool:
        """Say whether a person ordered the end of ``scope``: its link or the device is being deleted."""
        device, link = self._world.devices.get(self._device), self._world.links.get(scope.link)
        return any(kind is not None and kind.metadata.deletion_timestamp is not None for kind in (device, link))

    def unread(self, scope: Scope) -> bool:
        """Say whether it cannot be worked out now what ``scope`` wants; an ordered end needs no reading."""
        if self.ordered(scope):
            return False
        if self._world.config_doubt is not None:
            return True
        link = self._world.links.get(scope.link)
        if link is None:
            return False
        if link.spec.cluster not in self._world.cluster_kinds:
            return True
        view = self._world.view(link.spec.cluster)
        return view.stranger is not None or not view.pending.isdisjoint(_NEEDED[scope.kind])

    def states(self) -> Callable[[str, str], tuple[bool, bool]]:
        """Return what tells, for one pass, of the scopes of a kind and link: are they unread, is their end ordered."""

        @cache
        def state(kind: str, link: str) -> tuple[bool, bool]:
            any_of_them = Scope(kind, link)  # type: ignore[arg-type]
            return self.unread(any_of_them), self.ordered(any_of_them)

        return state

    def doubt(self, scope: Scope) -> str | None:
        """Return why a thing that ``scope`` does not want now may be wanted all the same, or none."""
        if self._world.config_doubt is not None:
            return self._world.config_doubt
        link = self._world.links.get(scope.link)
        return None if link is None else self._link_doubt(link, *_NEEDED[scope.kind])

    def absent(self, scope: Scope) -> str | None:
        """Return what the configuration does not name any more of what ``scope`` stands on, or none."""
        if self._device not in self._world.devices:
            return f"EdgeDevice {self._device} is not in the configuration any more; that alone deletes nothing"
        link = self._world.links.get(scope.link)
        if link is None:
            return f"ClusterLink {scope.link} is not in the configuration any more; that alone deletes nothing"
        if self._device not in link.spec.devices:
            return f"ClusterLink {scope.link} does not name {self._device} any more; that alone deletes nothing"
        return None

    def general(self) -> str | None:
        """Return why a thing of which nobody remembers the scope cannot be judged now, or none."""
        if self._world.config_doubt is not None:
            return self._world.config_doubt
        device = self._world.devices.get(self._device)
        if device is None:
            return f"EdgeDevice {self._device} is not in the configuration any more; that alone deletes nothing"
        links = self._world.links_of_device(self._device)
        if not links:
            return f"no ClusterLink names {self._device}; that alone deletes nothing"
        if device.metadata.deletion_timestamp is not None:
            return None
        # A link whose end is ordered claims nothing, so what is left belongs to the others or to nobody.
        living = [link for link in links if link.metadata.deletion_timestamp is None]
        return next((doubt for link in living if (doubt := self._link_doubt(link))), None)

    def _link_doubt(self, link: ClusterLink, *kinds: str) -> str | None:
        if link.spec.cluster not in self._world.cluster_kinds:
            return f"KubeCluster {link.spec.cluster} is not in the configuration any more; that alone deletes nothing"
        if path_of(self._world, link) is None:
            return f"ClusterLink {link.name}: no path is chosen yet"
        return self._world.view(link.spec.cluster).doubt(*kinds)
