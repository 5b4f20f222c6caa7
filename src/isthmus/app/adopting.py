"""Orders to take over what is foreign: checked and placed by a command, followed and spent by the controller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from isthmus.app.drivers import DRIVERS, DriverFactory
from isthmus.app.home.objects import REFERENCES
from isthmus.app.oneshot import Oneshot
from isthmus.app.sources import Sources
from isthmus.core.adopt import Adoptions, named, why_never
from isthmus.core.world import World
from isthmus.errors import InputError, IsthmusError, KubeNotFound
from isthmus.kube.client import KubeClient
from isthmus.model.kinds import ADOPT
from isthmus.model.plan import Change
from isthmus.registry.orders import place_orders, read_orders, spend_order
from isthmus.telemetry import get_logger

__all__ = ["Ordered", "Orders", "order", "place", "spend_written"]

_LOOK = 1.0
"""Seconds between two looks at which orders there are."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """What an order comes to now: the changes that take things over, and why other identities cannot be."""

    changes: tuple[Change, ...]
    refused: Mapping[str, str]


async def order(
    where: Sources,
    device: str,
    identities: Collection[str],
    *,
    drivers: Mapping[str, DriverFactory] = DRIVERS,
) -> Ordered:
    """Look what an order to take over ``identities`` on ``device`` comes to; change nothing."""
    wanted = [" ".join(identity.split()) for identity in identities]
    async with Oneshot(where, drivers=drivers, adopt={device: wanted}) as look:
        if device not in look.planners:
            why = look.unread.get(("EdgeDevice", device))
            known = ", ".join(sorted(look.world.devices)) or "none"
            reason, remedy = (why, "") if why else ("is not in the configuration", f"there is {known}")
            raise InputError(f"device {device}", reason, remedy)
        planner = look.planners[device]
        foreign = dict(planner.foreign)
        plan = look.plan(device)
        taken = {change.identity: change for change in plan.changes if change.adopts}
        held = {one.change.identity: one.reason for one in plan.held if one.change.adopts}
        refused: dict[str, str] = {}
        for identity in wanted:
            if identity not in taken:
                refused[identity] = (
                    why_never(identity) or held.get(identity) or _why_not(identity, planner.observed, foreign)
                )
        return Ordered(tuple(taken[one] for one in dict.fromkeys(wanted) if one in taken), refused)


def _why_not(identity: str, ours: Collection[str], foreign: Collection[str]) -> str:
    if identity in ours:
        return "is ours already"
    if identity in foreign:
        return "something foreign stands there, but nothing of ours is wanted there now"
    return "nothing foreign stands there; `isthmus plan` names the conflicts there are, as it wants them spelled"


async def place(where: Sources, device: str, identities: Collection[str]) -> None:
    """Place the order: beside the state, or as an annotation in the home cluster."""
    if where.home is None:
        assert where.state is not None, "without a home cluster there is a state directory"
        await asyncio.to_thread(place_orders, where.state, device, identities)
        return
    async with KubeClient(where.home) as client:
        kind = REFERENCES["EdgeDevice"]
        standing = await client.get(kind, device)
        before = named(((standing["metadata"].get("annotations")) or {}).get(ADOPT, ""))
        text = ", ".join(dict.fromkeys([*before, *identities]))
        await client.patch(kind, device, {"metadata": {"annotations": {ADOPT: text}}})


async def spend_written(where: Sources, device: str, done: Collection[str]) -> None:
    """Take orders that a command has carried out out of the annotation in the home cluster."""
    if where.home is None or not done:
        return
    async with KubeClient(where.home) as client:
        kind = REFERENCES["EdgeDevice"]
        try:
            head = (await client.get(kind, device))["metadata"]
        except KubeNotFound:
            return  # it stands in a file, which is the user's
        before = named((head.get("annotations") or {}).get(ADOPT, ""))
        left = [identity for identity in before if identity not in done]
        if len(left) < len(before):
            metadata = {
                "resourceVersion": head["resourceVersion"],
                "annotations": {ADOPT: ", ".join(left) or None},
            }
            await client.patch(kind, device, {"metadata": metadata})


class Orders:
    """Follows the orders beside the state while :meth:`run` runs; ``look`` has a device look at everything."""

    def __init__(self, world: World, state: Path, look: Callable[[Iterable[str]], None]) -> None:
        self._world = world
        self._state = state
        self._look = look
        self._said: set[tuple[str, str]] = set()
        self._log = get_logger("app")

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self.once()
            await asyncio.sleep(_LOOK)

    async def once(self) -> None:
        """Take the orders as they stand, and spend those that are done."""
        found = await asyncio.to_thread(read_orders, self._state)
        for device in found.keys() | self._world.adoptions.keys():
            adoptions = self._world.adoptions.setdefault(device, Adoptions())
            placed = found.get(device, set())
            for identity in sorted(placed & adoptions.placed & adoptions.done):
                if await self._spend(device, identity):
                    placed = placed - {identity}
            if adoptions.place(placed):
                self._look([device])

    async def _spend(self, device: str, identity: str) -> bool:
        try:
            await asyncio.to_thread(spend_order, self._state, device, identity)
        except IsthmusError as error:
            if (device, identity) not in self._said:
                self._log.warning("an order that is done cannot be taken away", device=device, error=str(error))
            self._said.add((device, identity))
            return False
        return True
