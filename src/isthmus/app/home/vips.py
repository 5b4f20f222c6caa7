"""Carries the home cluster's VirtualIPs into the world, and puts back those that somebody deleted while they were in use.

An address never moves unasked (law 6), and deleting the claim of a living Service is not how one asks: the Service keeps the
address, and the claim is made again. A claim whose Service is gone, a reservation, and a claim of a cluster that is not
configured any more go when they are deleted.

The one confusing thing: while the claim is missing from the store the world still holds it, so nobody else is given the
address in between. Should somebody have taken the name meanwhile, the store wins, as always.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from isthmus.app.home.claims import HomeClaims, reserved
from isthmus.app.home.registry import HomeRegistry
from isthmus.core.services import is_ours
from isthmus.core.world import Holder, World
from isthmus.errors import KubeError, KubeThrottled
from isthmus.loop.duties.service import Taken
from isthmus.loop.queue import KeyedQueue
from isthmus.model.claims import VipFacts, object_of, vip_facts
from isthmus.model.kinds import VirtualIP
from isthmus.model.plan import Scope
from isthmus.telemetry import get_logger

__all__ = ["HomeVips"]

_LOOK = 2.0
"""Seconds between two looks for claims of ours that nobody ever saw."""


class HomeVips:
    """Follows the claims. ``touch`` is told of scopes, ``look`` of Services that must be decided anew (none: who waits)."""

    def __init__(
        self,
        world: World,
        registry: HomeRegistry,
        claims: HomeClaims,
        *,
        touch: Callable[[Iterable[Scope]], None],
        look: Callable[[Holder | None], None],
        put_back: Callable[[VipFacts], None] = lambda vip: None,
    ) -> None:
        self._world = world
        self._registry = registry
        self._claims = claims
        self._touch = touch
        self._look = look
        self._put_back = put_back
        self._uids: dict[str, str] = {}
        self._missing: KeyedQueue[str] = KeyedQueue(first_pause=0.2)
        self._log = get_logger("app")

    def heard(self, names: Iterable[str]) -> None:
        """Take the claims called ``names`` as the cluster shows them now."""
        for name in names:
            found = self._registry.get(("VirtualIP", name))
            if found is None:
                self._gone(name, self._uids.pop(name, ""))
                continue
            self._claims.seen(name)
            if self._claims.gave_back(found.uid):
                continue  # old news of what we deleted
            self._uids[name] = found.uid
            good = self._registry.good(("VirtualIP", name))
            vip = good if isinstance(good, VirtualIP) else reserved(name)
            self._take(name, vip_facts(vip) if vip is not None else None)

    async def run(self) -> None:
        """Put claims back until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_LOOK):
                    names = await self._missing.take()
            except TimeoutError:
                names = set()
                for name in self._claims.lost():
                    self._gone(name, "")
            for name in sorted(names):
                await self._again(name)

    def _take(self, name: str, vip: VipFacts | None) -> None:
        before = self._world.vips.get(name)
        if before is not None and vip is not None and before.claims_as(vip):
            return
        holders = {one.holder for one in (before, vip) if one is not None} - {None}
        self._touch(self._world.put_vip(name, vip))
        for holder in holders:
            self._look(holder)
        if vip is None:
            self._look(None)

    def _gone(self, name: str, uid: str) -> None:
        vip = self._world.vips.get(name)
        if vip is None:
            return
        if not self._claims.gave_back(uid) and self._in_use(vip):
            self._missing.add(name)
        else:
            self._take(name, None)

    def _in_use(self, vip: VipFacts) -> bool:
        holder = vip.holder
        kind = self._world.cluster_kinds.get(holder[0]) if holder is not None else None
        if holder is None or kind is None:
            return False
        view = self._world.view(holder[0])
        if view.doubt("services") is not None:
            return True  # nobody knows, so nothing moves
        service = view.services.get((holder[1], holder[2]))
        return service is not None and is_ours(service, kind)

    async def _again(self, name: str) -> None:
        vip = self._world.vips.get(name)
        if vip is None or self._registry.get(("VirtualIP", name)) is not None:
            self._missing.done(name)
            return
        if not self._in_use(vip):
            self._missing.done(name)
            self._take(name, None)
            return
        try:
            await self._claims.create(object_of(vip))
        except Taken as taken:
            self._take(name, vip_facts(taken.vip))
        except KubeError as error:
            pause = self._missing.failed(
                name, at_least=error.retry_after if isinstance(error, KubeThrottled) else 0.0
            )
            self._log.warning("claim not put back yet", address=name, error=str(error), again_in=round(pause, 1))
            return
        else:
            self._log.warning("claim was deleted while in use and is put back", address=name, holder=vip.whose)
            self._put_back(vip)
        self._missing.done(name)
