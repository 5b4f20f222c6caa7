"""The pipeline for one device, as a pure machine: observations and dirty scopes in, plans out, outcomes back in.

A full pass asks every scope; a keyed pass asks only the dirty ones and what they touch. Both end in the same diff over
the same wishes, so both come to the same plan for the same world (a property test holds them to that).

The one confusing thing: nodes are asked before Services, because a pod on a node that cannot be reached is no member; when
a node becomes reachable or stops being so, the Services with pods on it are asked again in the same pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

import msgspec

from isthmus.core import guard
from isthmus.core.desire import desire, grounds
from isthmus.core.diff import compare, lost, ordered
from isthmus.core.ground import Ground
from isthmus.core.wishes import Verdict, Wishes
from isthmus.core.world import World
from isthmus.model.facts import DeviceFacts
from isthmus.model.kinds import ALLOW_DELETES
from isthmus.model.plan import Change, Conflict, Held, Plan, Refusal, Scope
from isthmus.model.resources import AnyResource, Route

_ASKED = {"node": 0, "link": 1, "service": 2}


class Spelled(Protocol):
    """What adapting comes to: resources as the device spells them, and those it cannot have."""

    @property
    def resources(self) -> Mapping[str, AnyResource]: ...
    @property
    def refused(self) -> Mapping[str, str]: ...


Adapt = Callable[[Mapping[str, AnyResource]], Spelled]


class DevicePlanner:
    """What one device should be, what it is, and the plan between the two."""

    def __init__(self, world: World, device: str, adapt: Adapt) -> None:
        self.world = world
        self.device = device
        self.wishes = Wishes()
        self.observed: dict[str, AnyResource] = {}
        self.foreign: dict[str, str] = {}
        self.facts = DeviceFacts()
        self.owners: dict[str, tuple[Scope, ...]] = {}
        self.conflicts: dict[str, tuple[Conflict, ...]] = {}
        self.refusals: dict[Scope, tuple[Refusal, ...]] = {}
        self.device_refusals: dict[str, tuple[Refusal, ...]] = {}
        self.held: dict[str, Held] = {}
        self.rechecks: dict[Scope, float] = {}
        self.window = guard.DeleteWindow()
        self.allow_deletes = False
        self._adapt = adapt
        self._joined: dict[tuple[str, str], frozenset[int]] = {}

    # --- what comes in ------------------------------------------------------------------------------------------

    def see(
        self,
        resources: Mapping[str, AnyResource],
        foreign: Mapping[str, str],
        facts: DeviceFacts | None = None,
        identities: Collection[str] | None = None,
    ) -> None:
        """Take what was observed: everything, or what stands at ``identities`` alone."""
        if identities is None:
            self.observed, self.foreign = dict(resources), dict(foreign)
        else:
            for identity in identities:
                self.observed.pop(identity, None)
                self.foreign.pop(identity, None)
            self.observed.update(resources)
            self.foreign.update(foreign)
        if facts is not None:
            self.facts = facts

    def carried_out(self, change: Change, now: float) -> None:
        """Take the news that ``change`` stands on the device."""
        if change.after is not None:
            self.observed[change.identity] = change.after
            return
        self.observed.pop(change.identity, None)
        self.owners.pop(change.identity, None)
        if not all(self._ordered(scope) for scope in change.scopes):
            self.window.add(now, 1)

    # --- what comes out -----------------------------------------------------------------------------------------

    def full(self, now: float) -> Plan:
        """Ask every scope and compare everything."""
        scopes = self.world.scopes_of_device(self.device) | set(self.wishes.scopes()) | set(self.refusals)
        self._ask(scopes, now)
        scopes = set(self.refusals)
        self.conflicts.clear()
        self.device_refusals.clear()
        self.held.clear()
        return self._plan({*self.wishes.identities(), *self.observed}, scopes, now)

    def keyed(self, scopes: Iterable[Scope], now: float) -> Plan:
        """Ask ``scopes`` and those they touch, and compare only what they want or wanted."""
        asked = set(scopes)
        return self._plan(self._ask(asked, now), asked, now)

    def due(self, now: float) -> list[Scope]:
        """Return the scopes that time alone may have changed by ``now``."""
        return [scope for scope, at in self.rechecks.items() if at <= now]

    @property
    def all_conflicts(self) -> tuple[Conflict, ...]:
        """Return every conflict as it stands after the last pass."""
        return tuple(conflict for _, found in sorted(self.conflicts.items()) for conflict in found)

    @property
    def all_refusals(self) -> tuple[Refusal, ...]:
        """Return every refusal as it stands after the last pass."""
        by_scope = [refusal for _, found in sorted(self.refusals.items()) for refusal in found]
        return (*by_scope, *(refusal for _, found in sorted(self.device_refusals.items()) for refusal in found))

    def joined_nodes(self, link: str) -> list[str]:
        """Return the nodes of ``link`` whose pods the device is set to reach, by name."""
        return sorted(node for (of, node), versions in self._joined.items() if of == link and versions)

    # --- asking -------------------------------------------------------------------------------------------------

    def _ask(self, scopes: set[Scope], now: float) -> set[str]:
        ground = grounds(self.world, self.device, self.facts)
        touched: set[str] = set()
        waiting = {kind: sorted(scope for scope in scopes if scope.kind == kind) for kind in _ASKED}
        for scope in (*waiting["node"], *waiting["link"]):
            touched |= self._ask_one(scope, ground.get(scope.link), now)
        services = set(waiting["service"]) | self._rejoin(set(waiting["node"]), touched, ground)
        scopes |= services
        for scope in sorted(services):
            touched |= self._ask_one(scope, ground.get(scope.link), now)
        return touched

    def _ask_one(self, scope: Scope, ground: Ground | None, now: float) -> set[str]:
        before = set(self.wishes.of(scope))
        if self._unread(scope, ground):
            return set()  # not knowing is no wish: what stands, stands
        if ground is not None and self._ordered(scope):
            ground = None

        def joined(node: str, version: int) -> bool:
            return version in self._joined.get((scope.link, node), frozenset())

        found = desire(scope, ground, joined, now)
        touched = self.wishes.replace(scope, found.resources, found.order)
        if found.refusals:
            self.refusals[scope] = tuple(found.refusals)
        else:
            self.refusals.pop(scope, None)
        if found.recheck is None:
            self.rechecks.pop(scope, None)
        else:
            self.rechecks[scope] = found.recheck
        return touched | before | set(self.wishes.of(scope))

    def _rejoin(self, nodes: set[Scope], touched: set[str], ground: Mapping[str, Ground]) -> set[Scope]:
        """Find out anew which nodes can be reached; return the Services that must hear of a difference."""
        for identity in touched:
            verdict = self.wishes.verdict(identity) if identity.startswith("route ") else None
            if verdict is not None:
                nodes.update(scope for scope in verdict.scopes if scope.kind == "node")
                nodes.update(wish.scope for wish in verdict.losers if wish.scope.kind == "node")
        services: set[Scope] = set()
        for scope in nodes:
            key = (scope.link, scope.name)
            versions = self._versions(scope)
            if versions == self._joined.get(key, frozenset()):
                continue
            if versions:
                self._joined[key] = versions
            else:
                self._joined.pop(key, None)
            if scope.link in ground:
                view = ground[scope.link].cluster
                services |= {Scope("service", scope.link, "/".join(s)) for s in view.services_on(scope.name)}
        return services

    def _versions(self, node: Scope) -> frozenset[int]:
        versions = set()
        for identity, resource in self.wishes.of(node).items():
            if not isinstance(resource, Route):
                continue
            verdict = self.wishes.verdict(identity)
            taken = identity in self.foreign and identity not in self.observed
            if verdict is not None and node in verdict.scopes and not taken:
                versions.add(resource.prefix.version)
        return frozenset(versions)

    # --- comparing ----------------------------------------------------------------------------------------------

    def _plan(self, identities: set[str], scopes: set[Scope], now: float) -> Plan:
        verdicts = {identity: self.wishes.verdict(identity) for identity in identities}
        wanted = {identity: verdict.resource for identity, verdict in verdicts.items() if verdict is not None}
        spelled = self._adapt(wanted)
        changes: list[Change] = []
        for identity in identities:
            verdict = verdicts[identity]
            self.conflicts.pop(identity, None)
            self.device_refusals.pop(identity, None)
            self.held.pop(identity, None)
            conflicts: list[Conflict] = []
            if verdict is not None:
                self.owners[identity] = verdict.scopes
                conflicts += lost(identity, verdict)
                if identity in spelled.refused:
                    self.device_refusals[identity] = _device_refusals(identity, verdict, spelled.refused[identity])
                    continue
            step = compare(
                identity, verdict, spelled.resources.get(identity), self.observed.get(identity), self.foreign
            )
            if isinstance(step, Conflict):
                conflicts.append(step)
            elif step is not None:
                changes.append(step)
            if conflicts:
                self.conflicts[identity] = tuple(conflicts)
        conflicts_now = [conflict for identity in identities for conflict in self.conflicts.get(identity, ())]
        refused = [refusal for identity in identities for refusal in self.device_refusals.get(identity, ())]
        refused += [refusal for scope in scopes for refusal in self.refusals.get(scope, ())]
        steps, held = self._allowed(changes, now)
        return Plan(
            self.device,
            ordered(steps),
            tuple(sorted(conflicts_now, key=lambda conflict: (conflict.identity, conflict.scopes))),
            tuple(sorted(refused, key=lambda refusal: (refusal.scope, refusal.reason, refusal.message))),
            tuple(sorted(held, key=lambda item: item.change.identity)),
        )

    def _allowed(self, changes: list[Change], now: float) -> tuple[list[Change], list[Held]]:
        kind = self.world.devices.get(self.device)
        limits, policy, consent = guard.Limits(), "sync", self.allow_deletes
        if kind is not None:
            deletes = kind.spec.deletes
            limits, policy = guard.Limits(deletes.floor, deletes.share, deletes.window), kind.spec.policy
            consent = consent or ALLOW_DELETES in kind.metadata.annotations
        steps = [change for change in changes if change.action != "delete"]
        free, held = guard.judge(
            [change for change in changes if change.action == "delete"],
            guard.Knowledge(self.owners, self._doubt, self._absent, self._general_doubt(), self._ordered),
            limits,
            owned=len(self.observed),
            recent=self.window.count(now, limits.window),
            consent=consent,
        )
        if policy == "observe":
            held += [Held(change, "the device's policy is observe") for change in (*steps, *free)]
            steps, free = [], []
        elif policy == "upsert-only":
            held += [Held(change, "the device's policy is upsert-only") for change in free]
            free = []
        self.held.update((item.change.identity, item) for item in held)
        return [*steps, *free], held

    # --- knowing ------------------------------------------------------------------------------------------------

    def _unread(self, scope: Scope, ground: Ground | None) -> bool:
        if self.world.config_doubt is not None:
            return True
        if ground is None:
            return False
        needed = {"node": {"nodes"}, "link": {"nodes"}, "service": {"nodes", "services", "endpointslices"}}
        return bool(ground.cluster.pending & needed[scope.kind])

    def _doubt(self, scope: Scope) -> str | None:
        if self.world.config_doubt is not None:
            return self.world.config_doubt
        link = self.world.links.get(scope.link)
        if link is None:
            return None
        needed = {"node": ("nodes",), "link": ("nodes",), "service": ("nodes", "services", "endpointslices")}
        return self.world.view(link.spec.cluster).doubt(*needed[scope.kind])

    def _absent(self, scope: Scope) -> str | None:
        link = self.world.links.get(scope.link)
        if link is None:
            return f"ClusterLink {scope.link} is not in the configuration any more; that alone deletes nothing"
        if self.device not in link.spec.devices:
            return f"ClusterLink {scope.link} does not name {self.device} any more; that alone deletes nothing"
        return None

    def _general_doubt(self) -> str | None:
        if self.world.config_doubt is not None:
            return self.world.config_doubt
        links = self.world.links_of_device(self.device)
        if not links:
            return f"no ClusterLink names {self.device}; that alone deletes nothing"
        return next((doubt for link in links if (doubt := self.world.view(link.spec.cluster).doubt())), None)

    def _ordered(self, scope: Scope) -> bool:
        device, link = self.world.devices.get(self.device), self.world.links.get(scope.link)
        return any(kind is not None and kind.metadata.deletion_timestamp is not None for kind in (device, link))


def _device_refusals(identity: str, verdict: Verdict, reason: str) -> tuple[Refusal, ...]:
    return tuple(Refusal(scope, "DeviceCannot", f"{identity}: {reason}") for scope in verdict.scopes)


def restoring(
    planner: DevicePlanner, recorded: Iterable[tuple[AnyResource, tuple[Scope, ...]]]
) -> tuple[Change, ...]:
    """Return what brings back a recorded state after a reboot: creates and updates only, never a delete, never a conflict.

    ``recorded`` is what was wanted when it was last known; the device's present state is the planner's observation.
    """
    changes = []
    for resource, scopes in recorded:
        planner.owners.setdefault(resource.identity, scopes)
        step = compare(
            resource.identity,
            Verdict(resource, scopes),
            resource,
            planner.observed.get(resource.identity),
            planner.foreign,
        )
        if isinstance(step, Change):
            changes.append(msgspec.structs.replace(step, scopes=scopes))
    return ordered(changes)
