"""Takes done orders out of the annotation ``isthmus.dev/adopt``, so that none is carried out twice.

A foreign thing that comes to the same place later is a conflict again, also for the next leader and after a restart, which
know nothing of what was done; and the same order can be given again.

The one confusing thing: what was done is forgotten only when the annotation is seen without it. Between our write and its
news the old text still stands in the world, and would be an order anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from isthmus.app.home.objects import REFERENCES, HomeObject
from isthmus.app.home.registry import HomeRegistry
from isthmus.core.adopt import Adoptions, named
from isthmus.errors import IsthmusError, KubeConflict, KubeNotFound, KubeWithheld
from isthmus.kube.client import KubeClient
from isthmus.model.kinds import ADOPT, EdgeDevice, Key
from isthmus.telemetry import get_logger

__all__ = ["SpentOrders"]

_PAUSE = 1.0
"""Seconds between two writes to one object."""


class SpentOrders:
    """Looks, time and again, at which orders in annotations are done."""

    def __init__(
        self, client: KubeClient, registry: HomeRegistry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._registry = registry
        self._clock = clock
        self._next: dict[Key, float] = {}
        self._complained: set[Key] = set()
        self._log = get_logger("app")

    async def look(
        self,
        adoptions: Mapping[str, Adoptions],
        devices: Mapping[str, EdgeDevice],
        counts: Callable[[Key], bool],
    ) -> None:
        """Look at every device once; ``counts``: its object is not refused, and it is ours to write."""
        objects = {found.key[1]: found for found in self._registry.all("EdgeDevice")}
        self._next = {key: at for key, at in self._next.items() if key[1] in objects}
        for name, orders in sorted(adoptions.items()):
            device, found = devices.get(name), objects.get(name)
            written = named(device.metadata.annotations.get(ADOPT, "")) if device is not None else ()
            orders.done.intersection_update({*written, *orders.placed})
            if found is not None and counts(found.key):
                standing = named(found.annotations.get(ADOPT, ""))
                left = [identity for identity in standing if identity not in orders.done]
                if len(left) < len(standing):
                    await self._write(found, left)

    async def _write(self, found: HomeObject, left: list[str]) -> None:
        """Write what is left of the orders of the very version that we have seen."""
        now = self._clock()
        if now < self._next.get(found.key, 0.0):
            return
        self._next[found.key] = now + _PAUSE
        metadata = {"resourceVersion": found.resource_version, "annotations": {ADOPT: ", ".join(left) or None}}
        try:
            await self._client.patch(REFERENCES[found.key[0]], found.key[1], {"metadata": metadata})
        except (KubeConflict, KubeNotFound, KubeWithheld):
            return  # it has changed or gone, and the watch shows how; or another controller may write now
        except IsthmusError as error:
            if found.key not in self._complained:
                self._complained.add(found.key)
                self._log.warning("an order that is done cannot be taken away", device=found.key[1], error=str(error))
            return
        self._complained.discard(found.key)
