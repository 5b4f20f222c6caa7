"""The pipeline for one device, as a pure machine: observations and dirty scopes in, plans out, outcomes back in.

A full pass asks every scope; a keyed pass asks only the dirty ones and what they touch. Both end in the same diff over
the same wishes, so both come to the same plan for the same world (a property test holds them to that).

The one confusing thing: one scope's answer can move another's. A pod on a node that cannot be reached is no member, so
nodes are asked before Services, and when a node becomes reachable or stops being so, the Services with pods on it are asked
again in the same pass. Nodes and Services rest on what their link comes to (its tunnel, its addresses, its path), so when
that moves, all of the link is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from isthmus.core import adopt, guard
from isthmus.core.adapted import Spelling
from isthmus.core.desire import desire, grounds
from isthmus.core.diff import compare, in_place, lost, ordered
from isthmus.core.drift import answer
from isthmus.core.findings import DRIFTED, Findings, cannot
from isthmus.core.footing import Footing
from isthmus.core.ground import Ground
from isthmus.core.joined import JoinedNodes
from isthmus.core.known import Known
from isthmus.core.paths import PATHS
from isthmus.core.sights import held_in
from isthmus.core.standing import moves
from isthmus.core.unclaimed import Unclaimed
from isthmus.core.world import World, path_of
from isthmus.model.facts import DeviceFacts
from isthmus.model.plan import Change, Conflict, Held, Plan, Refusal, Scope
from isthmus.model.resources import AnyResource, IpTunnel, Tunnel, VirtualAddress


class DevicePlanner(Findings):
    """What one device should be, what it is, and the plan between the two."""

    def __init__(self, world: World, device: str, spelling: Spelling) -> None:
        super().__init__()
        self.world = world
        self.device = device
        self.foreign: dict[str, str] = {}
        self.facts = DeviceFacts()
        self.adoptions = world.adoptions.setdefault(device, adopt.Adoptions())
        self.repair_drift = False
        self.rechecks: dict[Scope, float] = {}
        self.asked: set[Scope] = set()
        self.crashes: dict[Scope, Exception] = {}
        self.window = guard.DeleteWindow()
        self.allow_deletes = False
        self.known = Known(world, device)
        self.joined = JoinedNodes(self.wishes)
        self._unclaimed = Unclaimed(world, device)
        self._unsettled: dict[str, frozenset[Scope]] = {}
        self._spelling = spelling
        self._others: Mapping[str, str] = {}
        self._grounds: dict[str, Ground] = {}
        self._state = self.known.states()
        self._bases: dict[str, tuple[object, ...]] = {}
        self._skipped: dict[tuple[str, str], set[Scope]] = {}

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
            self.left.looked(self.observed)
            self.unsaved.all()
        else:
            self.unsaved.add(identities)
            for identity in identities:
                self.observed.pop(identity, None)
                self.foreign.pop(identity, None)
            self.observed.update(resources)
            self.foreign.update(foreign)
        if facts is not None:
            self.facts = facts
        if identities is None:
            self.world.sights.saw(self.device, facts, held_in(resources.values()))
        else:
            for identity in identities:
                self.world.sights.saw_one(self.device, identity, self.observed.get(identity))

    def carried_out(self, change: Change, now: float) -> None:
        """Take the news that ``change`` stands on the device."""
        self.left.put(change.identity, change.after)
        self.unsaved.add((change.identity,))
        self.drifts.pop(change.identity, None)
        if change.adopts:
            self.foreign.pop(change.identity, None)
            self.adoptions.carried_out(change.identity)
        if change.after is not None:
            self.observed[change.identity] = change.after
            self.world.sights.saw_one(self.device, change.identity, change.after)
            return
        self.observed.pop(change.identity, None)
        self.owners.pop(change.identity, None)
        ordered = change.scopes and all(self.known.ordered(scope) for scope in change.scopes)
        if not ordered and not moves(self.world, self.device, change, now):
            self.window.add(now, 1)
        self.world.sights.saw_one(self.device, change.identity, None)

    def remember(self, recorded: Iterable[AnyResource]) -> None:
        """Take what was written down of the device before a restart; one with nothing of ours on it has booted since."""
        if self.observed:
            self.left.remember(recorded)

    # --- what comes out -----------------------------------------------------------------------------------------

    def full(self, now: float) -> Plan:
        """Ask every scope and compare everything."""
        self._skipped.clear()
        self._unclaimed.begin()
        self._unsettled.clear()
        self.unsaved.all()
        self.adoptions.refused.clear()
        self.asked = self.world.scopes_of_device(self.device) | set(self.wishes.scopes()) | set(self.refusals)
        self._ask(self.asked, now)
        self.forget_things()
        identities = {*self.wishes.identities(), *self.observed}
        for forgotten in self.owners.keys() - identities:
            del self.owners[forgotten]
        return self._plan(identities, set(self.refusals), now)

    def keyed(self, scopes: Iterable[Scope], now: float) -> Plan:
        """Ask ``scopes`` and those they touch, and compare only what they want or wanted."""
        self.asked = set(scopes)
        identities = self._ask(self.asked, now) | self._unclaimed.settled()
        again = [identity for identity, scopes in self._unsettled.items() if scopes & self.asked]
        identities.update(identity for identity in again if self._unsettled.pop(identity))
        self.unsaved.add(identities)
        return self._plan(identities, self.asked, now)

    def unsettled(self, identity: str, scopes: Iterable[Scope]) -> None:
        """Have ``identity`` compared again with ``scopes``, though they may not want it any more: nobody knows what it is."""
        self._unsettled[identity] = frozenset(scopes)

    def due(self, now: float) -> list[Scope]:
        """Return the scopes that time alone may have changed by ``now``."""
        return [scope for scope, at in self.rechecks.items() if at <= now]

    @property
    def unread(self) -> bool:
        """Say whether some scopes could not be asked, because what they rest on has not been read yet."""
        return any(self._skipped.values())

    @property
    def may_write(self) -> bool:
        """Say whether anything may be written to the device at all: it is ours to serve, and not only observed."""
        kind = self.world.devices.get(self.device)
        return (
            kind is not None
            and kind.spec.policy != "observe"
            and kind.metadata.deletion_timestamp is None
            and bool(self.world.links_of_device(self.device))
        )

    def spelled(self, identity: str) -> AnyResource | None:
        """Return what is wanted at ``identity`` as the device would read it back, or none."""
        verdict = self.wishes.verdict(identity)
        return None if verdict is None else self._spelling.adapt({identity: verdict.resource}).resources.get(identity)

    def joined_nodes(self, link: str) -> list[str]:
        """Return the nodes of ``link`` whose pods the device is set to reach, by name."""
        return self.joined.names(link)

    # --- asking -------------------------------------------------------------------------------------------------

    def _ask(self, scopes: set[Scope], now: float) -> set[str]:
        """Ask ``scopes``, add to them what else had to be asked, and return the identities that may have moved."""
        self._others = adopt.left(self.foreign, self.adoptions.standing(self.world.devices.get(self.device)))
        ground = self._grounds = grounds(self.world, self.device, self.facts, self._grounds)
        self._state = self.known.states()
        touched: set[str] = set()
        scopes |= self._readable()
        scopes |= {Scope("link", link) for link in {scope.link for scope in scopes}}
        for scope in [scope for scope in scopes if scope.kind == "link"]:
            touched |= self._ask_one(scope, ground.get(scope.link), now)
            if self._moved(scope, ground.get(scope.link)):
                scopes |= self._all_of(scope.link)
        nodes = {scope for scope in scopes if scope.kind == "node"}
        for scope in nodes:
            touched |= self._ask_one(scope, ground.get(scope.link), now)
        for node in self.joined.update(nodes, touched, self._footing().barred):
            on_it = ground[node.link].cluster.services_on(node.name) if node.link in ground else ()
            scopes |= {Scope("service", node.link, "/".join(key)) for key in on_it}
        for scope in [scope for scope in scopes if scope.kind == "service"]:
            touched |= self._ask_one(scope, ground.get(scope.link), now)
        return touched

    def _ask_one(self, scope: Scope, ground: Ground | None, now: float) -> set[str]:
        unread, ended = self._state(scope.kind, scope.link)
        if unread:
            # Not knowing is no wish: what stands, stands. The scope is asked as soon as it can be read.
            self._skipped.setdefault((scope.kind, scope.link), set()).add(scope)
            self.rechecks.pop(scope, None)
            return set()
        if ended:
            ground = None

        def joined(node: str, version: int) -> bool:
            return version in self.joined.versions(scope.link, node)

        try:
            found = desire(scope, ground, joined, now)
        except Exception as error:
            # A bug of ours, found by one object: that object says so, keeps what it had, and hurts nobody else.
            self.crashes[scope] = error
            remedy = "what it had stands; report this, with the log"
            self.refusals[scope] = (Refusal(scope, "InternalError", f"{scope}: internal error: {error!r}", remedy),)
            self.rechecks.pop(scope, None)
            return set(self.wishes.of(scope))
        self.crashes.pop(scope, None)
        if found.refusals:
            self.refusals[scope] = tuple(found.refusals)
        else:
            self.refusals.pop(scope, None)
        if found.recheck is None:
            self.rechecks.pop(scope, None)
        else:
            self.rechecks[scope] = found.recheck
        before = self.wishes.of(scope)
        if ground is None or path_of(self.world, ground.link) is not None:
            self.wishes.replace(scope, found.resources, found.order)
        return before.keys() | self.wishes.of(scope).keys()

    def _readable(self) -> set[Scope]:
        """Return the scopes that could not be asked when they were dirty and can be asked now."""
        keys = [key for key, scopes in self._skipped.items() if not self.known.unread(next(iter(scopes)))]
        return {scope for key in keys for scope in self._skipped.pop(key)}

    def _moved(self, link: Scope, ground: Ground | None) -> bool:
        """Say whether what the link's nodes and Services rest on is not what it was when they were last asked."""
        if ground is None:
            return self._bases.pop(link.link, None) is not None
        name = path_of(self.world, ground.link)
        path = PATHS[name] if name is not None else None
        wanted, footing = tuple(self.wishes.of(link).values()), self._footing()
        basis = (
            name,
            ground.link,
            ground.device,
            self.world.cluster_kinds.get(ground.cluster.name),
            self.facts,
            wanted,
            self.refusals.get(link),
            tuple(footing.missing(resource.name) for resource in wanted if isinstance(resource, Tunnel | IpTunnel)),
            tuple(path.source(ground, version) for version in (4, 6)) if path is not None else (),
        )
        before, self._bases[link.link] = self._bases.get(link.link), basis
        return basis != before

    def _all_of(self, link: str) -> set[Scope]:
        kind = self.world.links.get(link)
        now = self.world.scopes_of_link(kind) if kind is not None else set()
        return now | {
            scope for known in (self.wishes.scopes(), self.refusals) for scope in known if scope.link == link
        }

    def _footing(self) -> Footing:
        return Footing(self.wishes, self.observed, self._others, self._spelling.adapt)

    # --- comparing ----------------------------------------------------------------------------------------------

    def _plan(self, identities: set[str], scopes: set[Scope], now: float) -> Plan:
        verdicts = {identity: self.wishes.verdict(identity) for identity in identities}
        wanted = {identity: verdict.resource for identity, verdict in verdicts.items() if verdict is not None}
        spelled = self._spelling.adapt(wanted)
        changes: list[Change] = []
        waiting: list[Held] = []
        footing = self._footing()
        policy = answer(self.world.devices.get(self.device), repair=self.repair_drift)
        for identity in identities:
            verdict = verdicts[identity]
            self.forget(identity)
            conflicts: list[Conflict] = []
            if verdict is not None:
                self.owners[identity] = verdict.scopes
                if verdict.losers:
                    conflicts += lost(identity, verdict)
                if identity in spelled.refused:
                    self.device_refusals[identity] = cannot(identity, verdict, spelled.refused[identity])
                    continue
            else:
                self._disown(identity)
            standing = self.observed.get(identity)
            resource = spelled.resources.get(identity)
            # That a VIP lapsed is its own nature, and no hand of somebody else's.
            lapsing = isinstance(resource, VirtualAddress) and resource.lapses
            drift = None if lapsing else self.left.judge(identity, resource, standing, policy)
            step = compare(identity, verdict, resource, standing, self._others)
            if standing is not None and footing.taken(standing) is not None:
                step = Change("delete", identity, standing, None)
            step = in_place(adopt.step(step, self.foreign, self.adoptions), self._spelling.replaces)
            if drift is not None and not isinstance(step, Conflict):
                self.drifts[identity] = drift
                if drift.answer == "alert" and step is not None:
                    waiting.append(Held(step, DRIFTED))
                if drift.answer != "repair":
                    step = None
            if isinstance(step, Conflict):
                conflicts.append(step)
            elif step is not None:
                why = footing.premature(step.resource) if step.action == "create" else None
                if step.action == "delete" and why is None:
                    why = self._unclaimed.why_not(step, self.owners)
                changes.append(step) if why is None else waiting.append(Held(step, why))
            if conflicts:
                self.conflicts[identity] = tuple(conflicts)
        conflicts_now = [conflict for identity in identities for conflict in self.conflicts.get(identity, ())]
        refused = [refusal for identity in identities for refusal in self.device_refusals.get(identity, ())]
        refused += [refusal for scope in scopes for refusal in self.refusals.get(scope, ())]
        steps, held = self._allowed(changes, now)
        held += waiting
        self.held.update((item.change.identity, item) for item in held)
        return Plan(
            self.device,
            ordered(steps),
            tuple(sorted(conflicts_now, key=lambda conflict: (conflict.identity, conflict.scopes))),
            tuple(sorted(refused, key=lambda refusal: (refusal.scope, refusal.reason, refusal.message))),
            tuple(sorted(held, key=lambda item: item.change.identity)),
            tuple(self.drifts[identity] for identity in sorted(identities & self.drifts.keys())),
        )

    def _disown(self, identity: str) -> None:
        """Forget who wanted what nobody wants: all of them once it is gone, before that those whose end was ordered.

        A link that was taken down in good order must not hold up, by its absence later, what it shared with another.
        """
        scopes = self.owners.get(identity)
        if scopes is None:
            return
        if identity not in self.observed:
            del self.owners[identity]
        elif left := tuple(scope for scope in scopes if not self.known.ordered(scope)):
            self.owners[identity] = left

    def _allowed(self, changes: list[Change], now: float) -> tuple[list[Change], list[Held]]:
        knowledge = guard.Knowledge(
            self.owners,
            lambda scope: self._crashed(scope) or self.known.doubt(scope),
            self.known.absent,
            next(map(self._crashed, self.crashes), None) or self.known.general(),
            self.known.ordered,
            lambda change: moves(self.world, self.device, change, now),
        )
        kind = self.world.devices.get(self.device)
        owned, allow = len(self.observed), self.allow_deletes
        return guard.allowed(changes, kind, knowledge, self.window, now, owned=owned, allow_deletes=allow)

    def _crashed(self, scope: Scope) -> str | None:
        return f"{scope} could not be worked out: internal error" if scope in self.crashes else None
