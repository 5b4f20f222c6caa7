"""Follows the switch in its cluster, holds the finalizer on it, and lets it go when everything is removed.

What the switch means is decided in ``switch``; here are its watch and the two writes that there are: the finalizer goes on
when the switch is on, and off when it was ordered off and nothing is left. Both name the version that they rest on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from isthmus.compat.switch import FINALIZER, Seen, State, follow, judge
from isthmus.errors import InputError, IsthmusError, KubeConflict, KubeNotFound
from isthmus.kube.client import KubeClient
from isthmus.kube.identity import cluster_uid
from isthmus.kube.informer import Informer
from isthmus.kube.kinds import CONFIGMAPS
from isthmus.kube.parse import Projection
from isthmus.model.facts import ObjectKey
from isthmus.registry.problems import InputWarning
from isthmus.telemetry import get_logger

__all__ = ["Gate"]

_LOOK = 0.5
"""Seconds between two looks at what is left."""
_PAUSE = 2.0
"""Seconds until a write that failed is tried again."""


class Gate:
    """The switch ``namespace/name`` in the cluster of ``client``, which is open while :meth:`run` runs.

    ``moved`` is called when it says something else; ``left`` says what is still there of what was made, ``finish`` takes away
    what only held it, and ``may_write`` says whether it is our turn.
    """

    def __init__(
        self,
        client: KubeClient,
        where: tuple[str, str],
        *,
        moved: Callable[[], None],
        left: Callable[[], list[str]],
        finish: Callable[[], Awaitable[None]],
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self.state: State = "unknown"
        self.seen: Seen | None = None
        self.good: Seen | None = None
        """What the switch said when it last said something good."""
        self.waits: list[str] = []
        """What is left of what was made, while it is being removed."""
        self._client = client
        self._where = where
        self._moved = moved
        self._left = left
        self._finish = finish
        self._may_write = may_write
        self._next = 0.0
        self._done = ""
        self._refused = ""
        self._wake = asyncio.Event()
        self._log = get_logger("compat").bind(switch="/".join(where))
        self.informer: Informer[Seen] = Informer(
            client,
            Projection(CONFIGMAPS, dict[str, Any], judge),
            on_change=self._heard,
            identity=lambda: cluster_uid(client),
            namespace=where[0],
            field_selector=f"metadata.name={where[1]}",
        )

    async def run(self) -> None:
        """Follow the switch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.informer.run())
            group.create_task(self._first())
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK):
                        await self._wake.wait()
                self._wake.clear()
                await self._look_after()

    def problems(self) -> list[InputError]:
        """Return what is wrong with the switch, and why nothing is applied while it is not there."""
        place = f"ConfigMap {'/'.join(self._where)}"
        if self.seen is not None and self.seen.problem:
            stays = {"on": "all stays applied", "ending": "all goes on being removed"}.get(
                self.state, "nothing is applied"
            )
            return [InputError(place, f"{self.seen.problem}; {stays}", self.seen.remedy)]
        if self.informer.failing:
            return [InputWarning(place, f"cannot be read now: {self.informer.failing}")]
        if self.state == "unknown":
            return [InputWarning(place, "has not been read yet, so nothing is applied")]
        if self.state == "off" and self._unheld():
            why = f": {self._refused}" if self._refused else ""
            return [InputWarning(place, f"does not bear our finalizer yet{why}", "nothing is applied before it does")]
        if self.state == "off":
            how = "says DELETE, and all is removed" if self.seen is not None else "is not there"
            return [InputWarning(place, f"{how}: nothing is applied", "create it, or write operation: ADD")]
        if self.waits:
            return [InputWarning(place, f"is being deleted and waits for: {'; '.join(self.waits[:5])}")]
        return []

    # --- what it says -------------------------------------------------------------------------------------------

    async def _first(self) -> None:
        await self.informer.synced.wait()
        self._take()

    def _heard(self, keys: set[ObjectKey]) -> None:
        if self.informer.synced.is_set():
            self._take()

    def _take(self) -> None:
        seen = self.informer.get(self._where)
        before, said_before, wrong_before = self.state, self.good, self.seen.problem if self.seen is not None else ""
        self.seen = seen
        now = follow(before, seen)
        if seen is not None and not seen.problem:
            self.good = seen
        if now == "on" and before != "on" and self._unheld():
            # Not before the finalizer is on it: an order to remove what we make must be there to be seen, whenever it comes.
            now = "off" if before == "unknown" else before
            self._wake.set()
        if now == "ending" and before == "off" and seen is not None and seen.version and self._done == _order(seen):
            now = "off"  # it says DELETE as before, and that is done
        self.state = now
        if seen is not None and seen.problem and seen.problem != wrong_before:
            self._log.warning("switch not understood", problem=seen.problem)
        if now != before:
            self._log.info("switch moved", before=before, now=now)
        if now != before or (said_before and said_before.tolerations) != (self.good and self.good.tolerations):
            self._moved()

    # --- the finalizer ------------------------------------------------------------------------------------------

    async def _look_after(self) -> None:
        seen = self.seen
        if seen is not None and self._unheld():
            await self._write(seen, [*seen.finalizers, FINALIZER])
        if self.state != "ending":
            self.waits = []
            return
        abandoned = seen is not None and seen.abandoned
        self.waits = [] if abandoned else self._left()
        if self.waits or not self._may_write() or time.monotonic() < self._next:
            return
        if not abandoned and not await self._finished():
            return
        if seen is not None and FINALIZER in seen.finalizers:
            kept = [name for name in seen.finalizers if name != FINALIZER]
            if not await self._write(seen, kept):
                return
        self._done = _order(seen) if seen is not None else ""
        self.state = "off"
        self._log.info("all that was made is removed", abandoned=abandoned)
        self._moved()

    def _unheld(self) -> bool:
        """Say whether the switch wants everything on and does not bear our finalizer."""
        seen = self.seen
        return seen is not None and not seen.problem and seen.wants == "on" and FINALIZER not in seen.finalizers

    async def _finished(self) -> bool:
        try:
            await self._finish()
        except IsthmusError as error:
            self.waits = [str(error)]
            self._next = time.monotonic() + _PAUSE
            return False
        return True

    async def _write(self, seen: Seen, finalizers: list[str]) -> bool:
        """Write the finalizers of the very version that we have seen; say whether that was done."""
        if not self._may_write() or time.monotonic() < self._next:
            return False
        metadata = {"resourceVersion": seen.version, "finalizers": finalizers}
        try:
            await self._client.patch(CONFIGMAPS, self._where[1], {"metadata": metadata}, self._where[0])
        except (KubeConflict, KubeNotFound):
            return False  # it has changed or gone; the watch shows how
        except IsthmusError as error:
            if str(error) != self._refused:
                self._log.warning("finalizer not written", error=str(error))
            self._refused = str(error)
            self._next = time.monotonic() + _PAUSE
            return False
        self._next, self._refused = 0.0, ""
        return True


def _order(seen: Seen) -> str:
    """Return a name for the order that ``seen`` gives: the same as long as nobody says anything else."""
    return f"{seen.wants} {seen.deleting}"
