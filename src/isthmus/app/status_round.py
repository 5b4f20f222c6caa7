"""Says how everything stands, again and again: into the state directory, and into the home cluster's objects.

What is written down is what differs from what stood there, also from what an earlier process wrote. The one confusing thing
is the beginning: just after a start everything looks as if it had failed, because nothing has been looked at yet. That is
not said to the home cluster; its objects keep the last process's words until every cluster and device has had its chance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from isthmus.app.acceptance import Acceptance
from isthmus.app.fleet import Fleet
from isthmus.app.home.home import Home
from isthmus.app.joining import Joining
from isthmus.app.probing import Probing
from isthmus.app.status import statuses
from isthmus.app.tenure import Alone
from isthmus.app.vip_status import VipStatuses
from isthmus.core.world import World
from isthmus.errors import IsthmusError
from isthmus.model.kinds import Key
from isthmus.registry.state import StateDirectory
from isthmus.telemetry import get_logger

__all__ = ["StatusRound"]

_CALM = 1.0
"""Seconds for which nothing has moved: the start is over."""
_LONGEST_START = 15.0
"""Seconds after which the start is over, whatever is still unknown."""


class StatusRound:
    """Computes all statuses and hands on what changed."""

    def __init__(
        self,
        world: World,
        fleet: Fleet,
        joining: Joining,
        probing: Probing,
        state: StateDirectory | None,
        home: Home | None,
        turn: Alone | None = None,
    ) -> None:
        self._turn = turn or Alone()
        self._world = world
        self._fleet = fleet
        self._joining = joining
        self._probing = probing
        self._state = state
        self._home = home
        self._vips = VipStatuses(world, fleet)
        self._written: dict[Key, Any] = {}
        self._last: dict[Key, Any] = {}
        self._moved_at = 0.0
        self._home_read_at: float | None = None
        self._started = False
        self._log = get_logger("app")

    async def remember(self) -> None:
        """Read what an earlier process wrote, so that what is gone since is taken away."""
        if self._state is not None:
            written = {key: entry.value for key, entry in (await self._state.read_status()).items()}
            self._vips.remember({name: value for (kind, name), value in written.items() if kind == "VirtualIP"})
            self._written = {key: value for key, value in written.items() if key[0] != "VirtualIP"}

    async def say(self, problems: tuple[str, ...], accepted: Mapping[Key, Acceptance], *, running: bool) -> None:
        """Say how everything stands now."""
        await self._vips.look(accepted)
        now = statuses(
            self._world,
            self._fleet,
            self._joining.clusters,
            self._probing,
            problems,
            running=running,
            accepted=accepted,
            unjoined=self._joining.unjoined,
            ending=self._home.finalizers.waiting if self._home is not None else {},
        )
        now["Controller", "controller"]["turn"] = self._turn.told()
        if self._state is not None:
            await self._write(self._state, now)
        if self._home is not None and running and self._home.ready.is_set() and self._has_started(now):
            self._home.say(self._vips.everything() | now)

    async def _write(self, state: StateDirectory, now: dict[Key, Any]) -> None:
        new = {key: value for key, value in now.items() if self._written.get(key) != value}
        gone = self._written.keys() - now.keys()
        if not (new or gone or self._vips.new or self._vips.gone):
            return
        try:
            await state.write_status(new | self._vips.new, gone | self._vips.gone)
        except IsthmusError as error:
            self._log.warning("status not written", error=str(error))
            return
        self._written = now
        self._vips.written()

    def _has_started(self, now: dict[Key, Any]) -> bool:
        if self._started:
            return True
        moment = asyncio.get_running_loop().time()
        if self._home_read_at is None:
            self._home_read_at = moment
        if now != self._last or self._unseen():
            self._last, self._moved_at = now, moment
        self._started = moment - self._moved_at >= _CALM or moment - self._home_read_at >= _LONGEST_START
        return self._started

    def _unseen(self) -> bool:
        """Say whether a cluster has neither been read nor failed, or a device neither been looked at nor failed."""
        for name, joined in self._joining.clusters.items():
            waits = self._world.view(name).awaited or not joined.version
            if waits and joined.failing() is None:
                return True
        return any(not worker.status.passes and not worker.status.error for worker in self._fleet.workers.values())
