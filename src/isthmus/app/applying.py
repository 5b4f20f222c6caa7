"""Carries plans out once, by hand, and leaves everything as the controller would: what was assigned is kept, what was applied
is written down, and the Services say where they are served.

Whoever calls holds the state directory, so no controller of this installation works at the same time. The one confusing
thing: a change of ours can take other things along (a tunnel made anew loses its routes). These are put back in the same
run, though no plan named them, because leaving them out would leave less than there was.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from isthmus.app import clusters
from isthmus.app.adopting import spend_written
from isthmus.app.holding import Held
from isthmus.app.oneshot import Oneshot
from isthmus.core.allocate import Allocator
from isthmus.core.ground import Ground
from isthmus.core.world import path_of
from isthmus.drivers.base import Outcome
from isthmus.errors import IsthmusError
from isthmus.kube.client import KubeClient
from isthmus.loop.cluster import Context
from isthmus.loop.duties.attach import Attach
from isthmus.loop.duties.service import Service, Taken
from isthmus.loop.duties.standin import StandIn
from isthmus.model.kinds import ADOPT, VirtualIP
from isthmus.model.plan import Change, Plan, Scope
from isthmus.model.resources import AnyResource, VirtualAddress, VirtualServer
from isthmus.registry.orders import spend_order

__all__ = ["Applied", "Applying"]

_FOLLOW_UPS = 3


@dataclass(frozen=True, slots=True)
class Applied:
    """How one change on one device ended; ``failed`` is about the device as a whole, and names no change."""

    device: str
    change: Change | None
    result: str
    reason: str = ""


class Applying:
    """Carries plans out in a world that was read once, by the only one who writes now (``held``)."""

    def __init__(self, look: Oneshot, held: Held) -> None:
        self.notes: list[str] = []
        self._look = look
        self._memory = held.memory
        self._claims = held.claims
        self._applied = held.applied
        self._may_write = held.may_write

    async def run(self, plans: Sequence[Plan]) -> AsyncIterator[Applied]:
        """Keep what was assigned, carry ``plans`` out, and say in the clusters how it stands."""
        await self._keep()
        for plan in plans:
            if not self._may_write():
                yield Applied(plan.device, None, "failed", "another controller writes now; nothing more is done here")
                return
            try:
                async for outcome in self._carry_out(plan):
                    yield Applied(plan.device, outcome.change, outcome.result, outcome.reason)
            except IsthmusError as error:
                yield Applied(plan.device, None, "failed", str(error))
            finally:
                await self._write_down(plan.device)
            self._say_what_lapses(plan)
        for device in self._look.planners.keys() - {plan.device for plan in plans}:
            self._look.plan(device)  # whether a Service is served depends on the other devices, too
        await self._tell_clusters()

    # --- before -------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Keep what was assigned before anything stands on it; raises what keeps that from being kept."""
        assigned, world = self._look.assigned, self._look.world
        known = await self._memory.uids()
        for name, uid in self._look.uids.items():
            if name not in known:
                await self._memory.keep_uid(name, uid)
        for link, choice in assigned.choices.items():
            await self._memory.keep_choice(link, choice)
        for link, given in assigned.addresses.items():
            await self._memory.keep_addresses(link, given)
        for vip in assigned.released:
            await self._claims.delete(vip)
        for vip in assigned.claims:
            await self._claim(vip)
        for cluster, nodes in assigned.unattached.items():
            view = world.view(cluster)
            for name, before in nodes.items():
                after = view.nodes[name]
                world.put_node(cluster, name, before)

                async def attach(context: Context, node: str = name) -> None:
                    await Attach(context).look(node)

                await self._in_cluster(cluster, attach)
                world.put_node(cluster, name, after)

    async def _claim(self, vip: VirtualIP) -> None:
        try:
            await self._claims.create(vip)
        except Taken as taken:
            if taken.vip.spec.holder != vip.spec.holder:
                raise

    # --- on a device --------------------------------------------------------------------------------------------

    async def _carry_out(self, plan: Plan) -> AsyncIterator[Outcome]:
        driver, planner = self._look.drivers[plan.device], self._look.planners[plan.device]
        stood = dict(planner.observed)
        changes = plan.changes
        if changes:
            await driver.prepare()
        for _ in range(_FOLLOW_UPS):
            disturbed = False
            async for outcome in driver.apply(changes):
                disturbed = disturbed or outcome.disturbed
                self._take(plan.device, outcome)
                yield outcome
            if not disturbed:
                return
            planner.left.expect_anything()
            await self._look.see(plan.device)
            again = self._look.plan(
                plan.device, allow_deletes=planner.allow_deletes, repair_drift=planner.repair_drift
            )
            changes = tuple(change for change in again.changes if _was_taken_along(change, plan, stood))

    def _take(self, device: str, outcome: Outcome) -> None:
        planner, change = self._look.planners[device], outcome.change
        if outcome.result == "done":
            planner.carried_out(change, time.time())
            if change.adopts and self._look.where.state is not None:
                spend_order(self._look.where.state, device, change.identity)
        elif outcome.result == "unknown":
            planner.left.forget(change.identity)

    async def _write_down(self, device: str) -> None:
        try:
            await self._look.see(device)
            planner = self._look.planners[device]
            records = {one.identity: (one, scopes) for one, scopes in planner.recorded()}
            await self._applied.save(device, records, whole=True)
        except IsthmusError as error:
            self.notes.append(f"device {device}: what stands there now is not written down: {error}")
        try:
            await spend_written(self._look.where, device, self._look.planners[device].adoptions.done)
        except IsthmusError as error:
            self.notes.append(f"device {device}: the annotation {ADOPT} still orders what is done: {error}")

    def _say_what_lapses(self, plan: Plan) -> None:
        """Say which VIPs go again as soon as this command ends: those that somebody must refresh, where nobody does."""
        kind = self._look.world.devices[plan.device]
        if kind.spec.driver != "linux" or kind.spec.linux.agent is not None:
            return  # an agent refreshes them
        planned = (change.after for change in plan.changes)
        found = sorted(str(one.address) for one in planned if isinstance(one, VirtualAddress) and one.lapses)
        if found:
            self.notes.append(
                f"device {plan.device}: VIP {', '.join(found)} is shared with another device, and lapses within seconds "
                "unless a controller or an agent refreshes it"
            )

    # --- in the clusters ----------------------------------------------------------------------------------------

    async def _tell_clusters(self) -> None:
        world = self._look.world
        for link in world.links.values():
            if path_of(world, link) == "flannel":
                for device in link.spec.devices:
                    await self._stand_in(link.spec.cluster, f"{link.name}/{device}")
        allocator = Allocator(world)
        for cluster in world.cluster_kinds:
            if allocator.doubt(cluster) is not None:
                continue
            names = ["/".join(key) for key in world.view(cluster).services]

            async def tell(context: Context, names: Sequence[str] = names) -> None:
                service = Service(context, allocator, self._claims, lambda *_, **__: None, lambda: None)
                for name in names:
                    await service.look(name)

            await self._in_cluster(cluster, tell)

    async def _stand_in(self, cluster: str, name: str) -> None:
        again: list[float | None] = []

        async def look(context: Context) -> None:
            again.append(await StandIn(context).look(name))

        await self._in_cluster(cluster, look)
        if again and again[0] is not None:
            self.notes.append(f"cluster {cluster}: the Node for {name} has been made or changed; apply once more")

    async def _in_cluster(self, cluster: str, work: Callable[[Context], Awaitable[object]]) -> None:
        client: KubeClient = clusters.client(self._look.world.cluster_kinds[cluster])
        try:
            async with client:
                await work(
                    Context(cluster, self._look.world, client, _Devices(self._look), lambda _: None, time.time)
                )
        except IsthmusError as error:
            self.notes.append(f"cluster {cluster}: {error}")


def _was_taken_along(change: Change, plan: Plan, stood: Mapping[str, AnyResource]) -> bool:
    """Say whether a change brings back what stood before, or what the plan itself had just made."""
    made = {one.identity: one.after for one in plan.changes}
    wanted = made.get(change.identity, stood.get(change.identity))
    return change.after is not None and change.after == wanted


class _Devices:
    """What the clusters' duties ask of the devices, answered from one look."""

    def __init__(self, look: Oneshot) -> None:
        self._look = look

    def ground(self, link: str, device: str) -> Ground | None:
        """Return where decisions for ``link`` on ``device`` stand, or none if it could not be read."""
        kind = self._look.world.links.get(link)
        found = self._look.grounds(kind) if kind is not None else []
        return next((one for one in found if one.device_name == device), None)

    def serves(self, scope: Scope) -> bool:
        """Say whether some device carries out all that ``scope`` wants."""
        for device in self._look.world.devices_of(scope):
            planner = self._look.planners.get(device)
            wanted = planner.wishes.of(scope) if planner is not None else {}
            if planner is not None and wanted and all(identity in planner.observed for identity in wanted):
                return True
        return False

    def has_members(self, scopes: Iterable[Scope]) -> bool:
        """Say whether some virtual server that ``scopes`` want has a member."""
        return any(
            isinstance(resource, VirtualServer) and resource.members
            for scope in scopes
            for device in self._look.world.devices_of(scope)
            if device in self._look.planners
            for resource in self._look.planners[device].wishes.of(scope).values()
        )

    def complaint(self, scope: Scope) -> str | None:
        """Return why no device serves ``scope``, if one says so."""
        for device in self._look.world.devices_of(scope):
            planner = self._look.planners.get(device)
            if planner is None:
                return f"{device}: {self._look.unread.get(('EdgeDevice', device), 'was not looked at')}"
            found = planner.complaint(scope)
            if found is not None:
                return f"{device}: {found}"
        return None
