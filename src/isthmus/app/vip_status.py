"""What is said of each claim, said anew only where it moved: ten thousand of them are looked at every other moment.

The one confusing thing is the breath between two slices: a claim may come or go meanwhile, so what a round finds is true of
each claim at its own moment. The next round puts it right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any

from isthmus.app.acceptance import Acceptance
from isthmus.app.fleet import Fleet
from isthmus.core.world import World
from isthmus.model.claims import VipFacts
from isthmus.model.kinds import Key
from isthmus.model.resources import AnyResource

__all__ = ["VipStatuses"]

_A_BREATH = 200
"""So many claims are looked at before others get their turn: about a millisecond."""

_Seen = tuple[VipFacts, tuple[str, ...], Acceptance | None]


class VipStatuses:
    """The words about every claim. ``new`` and ``gone`` grow until whoever wrote them down clears them."""

    def __init__(self, world: World, fleet: Fleet) -> None:
        self.new: dict[Key, dict[str, Any]] = {}
        self.gone: set[Key] = set()
        self._world = world
        self._fleet = fleet
        self._seen: dict[str, _Seen] = {}
        self._before: MutableMapping[str, Any] = {}

    def remember(self, written: MutableMapping[str, Any]) -> None:
        """Take what an earlier process wrote of each claim, by name; it is needed until the first look is over."""
        self._before = written

    async def look(self, accepted: Mapping[Key, Acceptance]) -> None:
        """Find what moved since the last look."""
        lists: dict[tuple[str, ...], tuple[str, ...]] = {}
        serving = {name: self._observed(name) for name in self._world.cluster_kinds}
        for number, (name, claim) in enumerate(list(self._world.vips.items()), 1):
            if number % _A_BREATH == 0:
                await asyncio.sleep(0)
            identity = f"vip {claim.address}"
            devices = serving.get(claim.holder[0], ()) if claim.holder is not None else ()
            served = self._serving(tuple(device for device, observed in devices if identity in observed))
            key = ("VirtualIP", name)
            seen = (claim, lists.setdefault(served, served), accepted.get(key))
            if self._seen.get(name) == seen:
                continue
            self._seen[name] = seen
            self.gone.discard(key)
            words = _words(*seen)
            if self._before.pop(name, None) != words:
                self.new[key] = words
        left = (self._seen.keys() | self._before.keys()) - self._world.vips.keys()
        for name in left:
            self._seen.pop(name, None)
            self.new.pop(("VirtualIP", name), None)
            self.gone.add(("VirtualIP", name))
        self._before = {}

    def everything(self) -> dict[Key, dict[str, Any]]:
        """Return what is said of all claims."""
        return {("VirtualIP", name): _words(*seen) for name, seen in self._seen.items()}

    def written(self) -> None:
        """Take that what is new or gone is written down."""
        self.new.clear()
        self.gone.clear()

    def _observed(self, cluster: str) -> tuple[tuple[str, Mapping[str, AnyResource]], ...]:
        """Return the devices that can serve Services of ``cluster`` and what each holds, by name."""
        links = self._world.links_of_cluster(cluster)
        names = sorted({device for link in links for device in link.spec.devices})
        workers = self._fleet.workers
        return tuple((name, workers[name].planner.observed) for name in names if name in workers)

    def _serving(self, devices: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of ``devices`` that answer us; where none does, all of them, as they were last seen."""
        workers = self._fleet.workers
        there = tuple(device for device in devices if device in workers and workers[device].status.reachable)
        return there or devices


def _words(claim: VipFacts, served: tuple[str, ...], accepted: Acceptance | None) -> dict[str, Any]:
    words: dict[str, Any] = {
        "address": str(claim.address),
        "pool": claim.pool,
        "holder": claim.whose or "reserved",
        "served": list(served),
    }
    if accepted is not None:
        words["accepted"] = accepted.to_json()
    return words
