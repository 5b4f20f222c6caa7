"""Holds links and devices of the home cluster back from vanishing before what they made has been cleaned up.

The finalizer goes on when an object counts, and off when nothing of it is left; in between, its deletionTimestamp is the
order that devices and Nodes be cleaned, which the planners and duties carry out. Somebody who cannot wait (the device has
been scrapped) says so by an annotation, and the object goes without cleaning.

The one confusing thing: the finalizer is never what permits a deletion on a device. It only makes sure that somebody is
still there to see the order.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from isthmus.app.home.objects import REFERENCES, HomeObject
from isthmus.app.home.registry import HomeRegistry
from isthmus.errors import IsthmusError, KubeConflict, KubeNotFound
from isthmus.kube.client import KubeClient
from isthmus.model.kinds import Key
from isthmus.telemetry import get_logger

__all__ = ["ABANDON", "FINALIZER", "Finalizers"]

FINALIZER = "isthmus.dev/cleanup"
"""Finalizer on ClusterLinks and EdgeDevices of a home cluster: we clean up before they go."""
ABANDON = "isthmus.dev/abandon"
"""Annotation ``"true"`` on a ClusterLink or EdgeDevice being deleted: it goes without being cleaned up."""
KINDS = ("ClusterLink", "EdgeDevice")
_PAUSE = 1.0
"""Seconds between two writes to one object."""

Left = Callable[[Key], list[str]]
Forget = Callable[[Key], Awaitable[None]]


class Finalizers:
    """Puts finalizers on and takes them off; ``waiting`` says per object being deleted what it waits for."""

    def __init__(
        self, client: KubeClient, registry: HomeRegistry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.waiting: dict[Key, list[str]] = {}
        self._client = client
        self._registry = registry
        self._clock = clock
        self._next: dict[Key, float] = {}
        self._complained: set[Key] = set()
        self._log = get_logger("app")

    async def look(self, counts: Callable[[Key], bool], left: Left, forget: Forget) -> None:
        """Look at every object once.

        ``counts``: it is not refused; ``left``: what is left of it; ``forget``: what is remembered of it goes, too, and
        before the object does, or one of the same name would inherit it.
        """
        objects = {found.key: found for found in self._registry.all(*KINDS)}
        ending: dict[Key, list[str]] = {}
        for key, found in sorted(objects.items()):
            if found.deleting and FINALIZER in found.finalizers:
                abandoned = found.annotations.get(ABANDON, "").strip().lower() == "true"
                waits = [] if abandoned or not counts(key) else left(key)
                if waits:
                    ending[key] = waits
                elif await self._let_go(found, forget if counts(key) else _nothing):
                    self._log.info("let go", kind=key[0], name=key[1], cleaned=not abandoned)
            elif (
                not found.deleting and FINALIZER not in found.finalizers and found.object is not None and counts(key)
            ):
                await self._write(found, [*found.finalizers, FINALIZER])
        self.waiting = ending
        self._next = {key: at for key, at in self._next.items() if key in objects}

    async def _let_go(self, found: HomeObject, forget: Forget) -> bool:
        if self._clock() < self._next.get(found.key, 0.0):
            return False
        try:
            await forget(found.key)
        except IsthmusError as error:
            self._next[found.key] = self._clock() + _PAUSE
            self._complain(found.key, error)
            return False
        return await self._write(found, [name for name in found.finalizers if name != FINALIZER])

    async def _write(self, found: HomeObject, finalizers: list[str]) -> bool:
        """Write the finalizers of the very version that we have seen; say whether that was done."""
        now = self._clock()
        if now < self._next.get(found.key, 0.0):
            return False
        self._next[found.key] = now + _PAUSE
        metadata: Mapping[str, Any] = {"resourceVersion": found.resource_version, "finalizers": finalizers}
        try:
            await self._client.patch(REFERENCES[found.key[0]], found.key[1], {"metadata": metadata})
        except (KubeConflict, KubeNotFound):
            return False  # it has changed or gone; the watch shows how
        except IsthmusError as error:
            self._complain(found.key, error)
            return False
        self._complained.discard(found.key)
        return True

    def _complain(self, key: Key, error: IsthmusError) -> None:
        if key not in self._complained:
            self._complained.add(key)
            self._log.warning("finalizer not written", kind=key[0], name=key[1], error=str(error))


async def _nothing(key: Key) -> None:
    """Forget nothing: what is remembered under that name is another object's."""
