"""This process's turn where devices are shared: it may lead or not, and has a part of the devices either way.

The leader keeps all that is no device: claims, duties in clusters, finalizers, the statuses of everything else. A device is
written, and its status told, by the replica that has its share.

The one confusing thing: every replica looks at every device. The leader must know what stands on those of others to say
whether a Service is served, and whoever takes a device over must know it already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from isthmus.app.tenure import LEASE, Elected
from isthmus.core.election import Terms
from isthmus.kube.connection import Connection
from isthmus.kube.kinds import EVENTS, KindRef
from isthmus.kube.shares import Shares
from isthmus.loop.tenure import Tenure
from isthmus.model.kinds import Key

__all__ = ["Sharing"]


class Sharing(Elected):
    """A turn that is also a part of the devices, by Leases in the home cluster."""

    def __init__(
        self, connection: Connection, namespace: str, terms: Terms, *, name: str = LEASE, me: str = ""
    ) -> None:
        super().__init__(connection, namespace, terms, name=name, me=me)
        self.answering = asyncio.Event()
        self._devices: Callable[[], Collection[str]] = lambda: ()
        self._busy: Callable[[str], bool] = lambda device: False
        self._moved_device: Callable[[str], None] = lambda device: None
        self.shares = Shares(
            self._client,
            namespace,
            "isthmus" if name == LEASE else name,
            self._lease.me,
            terms,
            # None before we know what to do with them: a device that is taken is served.
            devices=lambda: self._devices() if self.answering.is_set() else (),
            busy=lambda device: self._busy(device),
            moved=lambda device: self._moved_device(device),
        )

    def join(
        self,
        *,
        devices: Callable[[], Collection[str]],
        busy: Callable[[str], bool],
        moved: Callable[[str], None],
    ) -> None:
        """Name the devices, who says that one is being written to, and who hears that one came or went."""
        self._devices, self._busy, self._moved_device = devices, busy, moved

    def of(self, device: str) -> Tenure:
        """Return the tenure of one device."""
        return self.shares.of(device)

    def prepared(self) -> None:
        """Say that what was chosen and assigned is known: devices may be served."""
        self.answering.set()

    def may_write(self, kind: KindRef, name: str) -> bool:
        """Say whether an object of the home cluster may be written: by who leads, a device's by who has it."""
        if kind == EVENTS:
            return self.shares.heartbeat.holds()
        return self.leads() or (kind.kind == "EdgeDevice" and self.shares.of(name).holds())

    def answers(self, key: Key) -> bool:
        """Say whether it is this replica's to say how an object stands."""
        if key[0] != "EdgeDevice":
            return self.holds()
        return self.shares.of(key[1]).holds() or (self.holds() and not self.shares.owner(key[1]))

    async def run(self) -> None:
        """Contend for the Lease and for devices until cancelled."""
        async with self._client, asyncio.TaskGroup() as group:
            group.create_task(self._lease.run())
            group.create_task(self.shares.run())

    async def release(self) -> None:
        """Give everything back, so that others may take it at once."""
        self.opened.clear()
        async with self._client:
            await asyncio.gather(self._lease.release(), self.shares.release())

    def told(self) -> dict[str, Any]:
        """Return what a status says of the turn."""
        return {**super().told(), "devices": self.shares.mine()}
