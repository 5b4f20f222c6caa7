"""Reads now and then what a cluster publishes of its network, so that the view knows which CNI it has.

A CNI changes in months, so nothing is watched here and a certain answer stands for ten minutes. An uncertain one is looked at
again sooner, and when nodes come or go: a cluster that is being built has no CNI yet. What is asked for is there once per
cluster, so a look costs the same with five nodes and with five thousand.

The one confusing thing: what cannot be read. What is *forbidden* is an answer, and the decision does without it. What
*failed* is none: the last decision stays, and before there is one it is asked again for a while, since "no ConfigMap says
otherwise" and "nobody answered" lead to different pod CIDRs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from isthmus.core.world import World
from isthmus.kube.client import KubeClient
from isthmus.kube.gathering import Gathered, gather
from isthmus.model.plan import Scope
from isthmus.model.published import Published
from isthmus.telemetry import get_logger

EVERY = 600.0
"""Seconds until a certain answer is looked at again."""
SOON = 30.0
"""Seconds until an uncertain one is; each further time twice as long."""
_FIRST, _AGAIN = 1.0, 30.0
"""Seconds until it is tried again where it could not be read: at first, and at most."""
PATIENCE = 300.0
"""Seconds after which a first answer goes without what still cannot be read."""


class NetworkReader:
    """Keeps one cluster's decision; ``decided`` gets the scopes that another decision touches."""

    def __init__(
        self,
        name: str,
        client: KubeClient,
        world: World,
        decided: Callable[[set[Scope]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._client = client
        self._world = world
        self._decided = decided
        self._clock = clock
        self._began: float | None = None
        self._published: Published | None = None
        self._pause = SOON
        self._failures = 0
        self._stirred = asyncio.Event()
        self._log = get_logger("loop").bind(cluster=name)

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            pause = await self.look()
            self._stirred.clear()
            await asyncio.sleep(min(pause, SOON))
            try:
                async with asyncio.timeout(pause - min(pause, SOON)):
                    await self._stirred.wait()
            except TimeoutError:
                continue

    def stir(self) -> None:
        """Take the news that nodes came or went: what is not certain is looked at again before its time."""
        found = self._world.view(self._name).cni
        if found is None or found.certainty != "certain":
            self._pause = SOON
            self._stirred.set()

    async def look(self) -> float:
        """Read once and decide; return the seconds until it should be done again. Raises nothing."""
        self._began = self._clock() if self._began is None else self._began
        try:
            gathered = await gather(self._client)
        except Exception as error:  # whatever is wrong with it, the controller's work goes on
            gathered = Gathered(Published(unread=(f"what tells of the CNI: {error!r}",)), (repr(error),))
        homes = self._world.view(self._name).homes
        if gathered.failed and (homes.decision is not None or self._clock() - self._began < PATIENCE):
            homes.trouble = f"what tells of its CNI could not be read: {'; '.join(gathered.failed[:3])}"
            self._failures += 1
            return min(_FIRST * float(2 ** min(self._failures - 1, 10)), _AGAIN)
        self._failures, homes.trouble = 0, ""
        self._take(gathered.published)
        found = homes.decision
        if found is not None and found.certainty == "certain":
            return EVERY
        pause, self._pause = self._pause, min(2 * self._pause, EVERY)
        return pause

    def _take(self, published: Published) -> None:
        homes = self._world.view(self._name).homes
        before = homes.decision
        scopes = self._world.put_published(self._name, published)
        found = homes.decision
        assert found is not None, "it was just taken"
        said = (found.cni, found.certainty, found.mode)
        if before is None or (before.cni, before.certainty, before.mode) != said:
            self._log.info("CNI decided", cni=found.cni, certainty=found.certainty, why=found.why[:1000])
            self._pause = SOON
        if before is None or before != found or scopes:
            self._decided(scopes)
