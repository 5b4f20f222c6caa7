"""One worker per cluster: everything we write into a Kubernetes API, key by key, from the same world devices are made of.

======== ================== =======================================================================
key      name               what it looks at
======== ================== =======================================================================
attach   node               the node's overlay addresses, in its own annotation
standin  link/device        the Node object that stands for a device to flannel
choose   link               which path ``auto`` takes, once, with evidence from the devices
service  namespace/name     the Service's addresses (claims), its status, what it is told
export   link               the ConfigMap that describes the link's overlay to others
======== ================== =======================================================================

A key that fails comes back by itself and holds up no other, also where the failure is a bug of ours. An API that is away
costs nothing but time: devices keep what they have, and nothing here ever deletes because something could not be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol, TypeAlias

import msgspec

from isthmus.core.ground import Ground
from isthmus.core.world import World
from isthmus.errors import IsthmusError, KubeThrottled
from isthmus.kube.client import KubeClient
from isthmus.loop.origin import Origins, caused
from isthmus.loop.queue import KeyedQueue
from isthmus.model.plan import Scope
from isthmus.telemetry import get_logger, reconciling

KeyKind: TypeAlias = Literal["attach", "standin", "choose", "service", "export"]
_AT_ONCE = 16


class ClusterKey(msgspec.Struct, frozen=True, order=True):
    """One thing to look at in the cluster's own API."""

    kind: KeyKind
    name: str


class Devices(Protocol):
    """What this worker must know of the devices."""

    def ground(self, link: str, device: str) -> Ground | None:
        """Return where decisions for ``link`` on ``device`` stand, or none while the device was not observed yet."""

    def serves(self, scope: Scope) -> bool:
        """Say whether some device carries out all that ``scope`` wants."""

    def has_members(self, scopes: Iterable[Scope]) -> bool:
        """Say whether some virtual server that ``scopes`` want has a member."""

    def complaint(self, scope: Scope) -> str | None:
        """Return why no device serves ``scope``, if a device has said so."""


class Duty(Protocol):
    """One kind of key: looks at it and writes what differs; returns seconds after which to look again, or none."""

    async def look(self, name: str) -> float | None: ...


class ClusterWorker:
    """Keeps one cluster's objects as they should be; ``duties`` say what each kind of key means."""

    def __init__(self, name: str, duties: Mapping[KeyKind, Duty]) -> None:
        self.name = name
        self._duties = duties
        self._queue: KeyedQueue[ClusterKey] = KeyedQueue(first_pause=0.2)
        self.waiting = self._queue.waiting
        self._log = get_logger("loop").bind(cluster=name)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._complained: dict[ClusterKey, str] = {}
        self._under_way: set[ClusterKey] = set()
        self._again: set[ClusterKey] = set()
        self._origins: Origins[ClusterKey] = Origins()

    def look(self, kind: KeyKind, names: Iterable[str], delay: float = 0.0) -> None:
        """Ask for those keys to be looked at."""
        for key in [ClusterKey(kind, name) for name in names]:
            self._queue.add(key, delay)
            self._origins.note((key,))

    def complaints(self) -> list[str]:
        """Return what fails again and again, a sentence a key."""
        return [f"{key.kind} {key.name}: {text}" for key, text in sorted(self._complained.items())]

    async def run(self) -> None:
        """Work until cancelled; different keys side by side (a bounded number), one key never twice at a time."""
        async with asyncio.TaskGroup() as group:
            while True:
                for key in sorted(await self._queue.take()):
                    if key in self._under_way:
                        self._again.add(key)
                        continue
                    await self._slots.acquire()
                    self._under_way.add(key)
                    group.create_task(self._one(key))

    async def _one(self, key: ClusterKey) -> None:
        origins = self._origins.take((key,))
        with caused(origins.get(key)), reconciling():
            try:
                again = await self._duties[key.kind].look(key.name)
            except Exception as error:
                self._origins.put_back(origins)
                self._failed(key, error)
            else:
                self._queue.done(key)
                self._complained.pop(key, None)
                if again is not None:
                    self._queue.add(key, again)
            finally:
                self._slots.release()
                self._under_way.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self._queue.add(key)

    def _failed(self, key: ClusterKey, error: Exception) -> None:
        at_least = error.retry_after if isinstance(error, KubeThrottled) else 0.0
        pause = self._queue.failed(key, at_least=at_least)
        if key in self._complained:
            return
        again = round(pause, 1)
        if not isinstance(error, IsthmusError):
            self._complained[key] = f"internal error: {error!r}"
            self._log.error(
                "crashed", key=f"{key.kind} {key.name}", error=repr(error), again_in=again, exc_info=error
            )
        elif self._queue.failures(key) > 1:
            self._complained[key] = str(error)
            self._log.warning("write failed", key=f"{key.kind} {key.name}", error=str(error), again_in=again)


class Context(msgspec.Struct, frozen=True):
    """What every duty of one cluster works with."""

    cluster: str
    world: World
    client: KubeClient
    devices: Devices
    touch: Callable[[Iterable[Scope]], None]
    now: Callable[[], float]
