"""What we believe the host holds: the last observation, and what we have done since.

It answers one question for the monitor: could this event concern us? The one confusing thing: *contested* identities are
wanted by us and held by others; when such a thing goes away we want to hear of it too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from isthmus.drivers.base import Observation, Outcome
from isthmus.drivers.linux.routes import key_of
from isthmus.model.facts import DeviceFacts
from isthmus.model.resources import AnyResource, Neighbor, Route, goes_with

__all__ = ["Expected"]


class Expected:
    """Resources by identity, as they should be found."""

    def __init__(self) -> None:
        self.resources: dict[str, AnyResource] = {}
        self.facts = DeviceFacts()
        self._foreign: Collection[str] = ()
        self._contested: set[str] = set()
        self._route_keys: set[tuple[int, int, bytes]] = set()
        self.route_moves = 0
        """Rises whenever routes came, went or changed."""

    def observed(self, observation: Observation) -> None:
        """Take over what was just read."""
        self.facts = observation.facts
        if observation.identities is None:
            self.resources = dict(observation.resources)
            self._foreign = frozenset(observation.foreign)
            self._contested &= self._foreign
            self.route_moves += 1
            self._route_keys = {key_of(route) for route in self.resources.values() if isinstance(route, Route)}
            return
        for identity in observation.identities:
            self._set(identity, observation.resources.get(identity))
            # Whoever asks for one place wants it; if somebody else stands there, that is worth following.
            if identity in observation.foreign:
                self._contested.add(identity)
            else:
                self._contested.discard(identity)

    def done(self, outcome: Outcome) -> None:
        """Take over what a change brought about."""
        if outcome.result == "done":
            self._set(outcome.change.identity, outcome.change.after)

    def wanted(self, identities: Iterable[str]) -> None:
        """Note that we want these; those that others hold are contested from now on."""
        if self._foreign:
            self._contested.update(identity for identity in identities if identity in self._foreign)

    def concerns(self, identity: str) -> bool:
        """Say whether a foreign event at ``identity`` could matter to us."""
        return identity in self.resources or identity in self._contested

    def concerns_route(self, key: tuple[int, int, bytes]) -> bool:
        """Say the same of a route by its key, without spelling it (busy gateways have thousands a second)."""
        return key in self._route_keys

    @property
    def contests_routes(self) -> bool:
        """Say whether any route of others stands where we want one."""
        return any(identity.startswith("route ") for identity in self._contested)

    def differs(self, observation: Observation) -> bool:
        """Say whether a partial observation shows something else than is expected, or a contested place freed."""
        for identity in observation.identities or ():
            if observation.resources.get(identity) != self.resources.get(identity):
                return True
            if identity in self._contested and identity not in observation.foreign:
                return True
        return False

    def routes(self) -> list[Route]:
        """Return the routes that are expected."""
        return [resource for resource in self.resources.values() if isinstance(resource, Route)]

    def needs_address(self, link: str) -> bool:
        """Say whether anything is expected on ``link`` that the kernel drops with the link's last address."""
        return any(
            isinstance(resource, Neighbor | Route) and resource.link == link for resource in self.resources.values()
        )

    def stands_on(self, link: str) -> bool:
        """Say whether anything is expected that goes with ``link`` when it goes."""
        return any(goes_with(resource) == link for resource in self.resources.values())

    def _set(self, identity: str, resource: AnyResource | None) -> None:
        before = self.resources.pop(identity, None)
        if before != resource and (isinstance(before, Route) or isinstance(resource, Route)):
            self.route_moves += 1
        if isinstance(before, Route):
            self._route_keys.discard(key_of(before))
        if resource is not None:
            self.resources[identity] = resource
            if isinstance(resource, Route):
                self._route_keys.add(key_of(resource))
