"""The home cluster as the controller holds it: objects come in, claims and memory are kept, statuses and Events go out.

Only wiring. The controller asks ``origin`` for objects and hands over what is said of them; everything that talks to the API
is one of the parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from isthmus.app.acceptance import refused
from isthmus.app.fleet import Fleet
from isthmus.app.home import leftovers
from isthmus.app.home.claims import HomeClaims
from isthmus.app.home.finalizers import Finalizers
from isthmus.app.home.memory import HomeMemory
from isthmus.app.home.news import News
from isthmus.app.home.objects import HomeObject
from isthmus.app.home.orders import SpentOrders
from isthmus.app.home.registry import HomeRegistry
from isthmus.app.home.vips import HomeVips
from isthmus.app.home.writing import StatusWriter
from isthmus.app.keeping_up import kept_up
from isthmus.app.origins import Configuration
from isthmus.app.tenure import Alone
from isthmus.core.world import Holder, World
from isthmus.errors import IsthmusError
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.events import EventWriter, Regarding
from isthmus.kube.pace import Timing
from isthmus.model.claims import VipFacts
from isthmus.model.kinds import API_VERSION, Key
from isthmus.model.plan import Scope
from isthmus.telemetry import get_logger

__all__ = ["DEFAULT_NAMESPACE", "Home"]

DEFAULT_NAMESPACE = "isthmus-system"
_LOOK = 0.5
"""Seconds between two looks at what is being deleted."""
_AGAIN = 2.0


class Home:
    """One home cluster; ``namespace`` is where its memory lies. Use it as ``async with``, and :meth:`run` in it."""

    def __init__(
        self,
        connection: Connection,
        drivers: Collection[str],
        *,
        namespace: str = DEFAULT_NAMESPACE,
        timing: Timing | None = None,
        turn: Alone | None = None,
    ) -> None:
        """Until ``turn`` is opened the objects are followed and nothing is written: another controller answers."""
        self._turn = turn or Alone()
        self.client = KubeClient(connection, may_write=self._turn.may_write)
        self.registry = HomeRegistry(self.client, drivers, timing=timing)
        self.claims = HomeClaims(self.client, self.registry)
        self.memory = HomeMemory(self.client, namespace)
        self.finalizers = Finalizers(self.client, self.registry)
        self._orders = SpentOrders(self.client, self.registry)
        self.ready = asyncio.Event()
        self.forgotten: Callable[[str], None] = lambda link: None
        self._events = EventWriter(self.client)
        self._writer = StatusWriter(self.client, self.registry, self._tell)
        self._vips: HomeVips | None = None
        self._configuration: Configuration | None = None
        self._world: World | None = None
        self._fleet: Fleet | None = None
        self._log = get_logger("app")

    async def __aenter__(self) -> Home:
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.__aexit__()

    def join(
        self,
        world: World,
        fleet: Fleet,
        *,
        touch: Callable[[Iterable[Scope]], None],
        look: Callable[[Holder | None], None],
    ) -> None:
        """Name the world that the claims go into and the devices that are cleaned; ``touch`` and ``look`` as HomeVips."""
        self._world, self._fleet = world, fleet
        self._vips = HomeVips(world, self.registry, self.claims, touch=touch, look=look, put_back=self._put_back)
        self.registry.on_claims = self._vips.heard

    async def run(self) -> None:
        """Follow and answer until cancelled; ``ready`` is set once objects and memory have been read."""
        assert self._vips is not None, "joined first"
        async with asyncio.TaskGroup() as group:
            group.create_task(kept_up("following the home cluster", self.registry.run))
            group.create_task(kept_up("reading the memory", self._remember))
            await self._turn.answering.wait()
            group.create_task(kept_up("writing statuses", self._writer.run))
            group.create_task(kept_up("writing events", self._events.run))
            group.create_task(kept_up("taking away orders that are done", self._spend_orders))
            await self._turn.opened.wait()
            group.create_task(kept_up("keeping claims", self._vips.run))
            group.create_task(kept_up("looking after finalizers", self._watch_ends))

    def count(self, configuration: Configuration) -> None:
        """Take which of the objects count."""
        self._configuration = configuration

    def say(self, said: Mapping[Key, Mapping[str, Any]]) -> None:
        """Have the objects say in their status what is said of them; those that a file says, too, say that instead."""
        configuration = self._configuration
        if configuration is None:
            return
        not_counting = {key: {"accepted": refused(why).to_json()} for key, why in configuration.refused.items()}
        everything = {**said, **not_counting}
        self._writer.want({key: words for key, words in everything.items() if self._turn.answers(key)})

    # --- inside -------------------------------------------------------------------------------------------------

    async def _remember(self) -> None:
        await self.registry.synced.wait()
        complained = False
        while True:
            try:
                await self.memory.read()
            except IsthmusError as error:
                if not complained:
                    complained = True
                    self._log.error("the memory cannot be read, so nothing is decided", error=str(error))
                await asyncio.sleep(_AGAIN)
            else:
                self.ready.set()
                return

    async def _watch_ends(self) -> None:
        """Look after finalizers once it is known which objects count."""
        await self.ready.wait()
        while True:
            await asyncio.sleep(_LOOK)
            if self._configuration is None:
                continue
            await self.finalizers.look(self._counts, self._left, self._forget)

    async def _spend_orders(self) -> None:
        """Take orders to adopt out of annotations once they are done, where devices are ours to write."""
        assert self._world is not None, "joined first"
        await self.ready.wait()
        while True:
            await asyncio.sleep(_LOOK)
            if self._configuration is not None:
                await self._orders.look(
                    self._world.adoptions,
                    self._world.devices,
                    lambda key: self._counts(key) and self._turn.answers(key),
                )

    def _counts(self, key: Key) -> bool:
        return self._configuration is not None and key not in self._configuration.refused

    def _left(self, key: Key) -> list[str]:
        assert self._world is not None, "joined first"
        assert self._fleet is not None, "joined first"
        kind, name = key
        if kind == "ClusterLink":
            return leftovers.of_link(self._world, self._fleet, name)
        return leftovers.of_device(self._world, self._fleet, name)

    async def _forget(self, key: Key) -> None:
        if key[0] == "ClusterLink":
            await self.memory.forget_link(key[1])
            self.forgotten(key[1])

    def _tell(self, found: HomeObject, one: News) -> None:
        regarding = Regarding(API_VERSION, found.key[0], found.key[1], uid=found.uid)
        self._events.tell(regarding, one.reason, one.note, warning=one.warning)

    def _put_back(self, vip: VipFacts) -> None:
        regarding = Regarding(API_VERSION, "VirtualIP", vip.name)
        note = f"deleted while {vip.whose} had the address; a claim goes when its Service does"
        self._events.tell(regarding, "ClaimPutBack", note, warning=True)
