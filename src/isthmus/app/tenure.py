"""This process's turn to write: always, or for as long as it holds the Lease of its installation.

A turn begins in two steps. Winning the Lease makes this process the one that may write; *opening* the turn says that it has
read again what only the writer before it knew. Until then nothing is handed to a device and no duty is done.

The one confusing thing: a turn that lapsed (the API did not answer in time) is not over. Nobody has written since as long as
nobody else took the Lease, so it goes on where it stood. Only another holder ends it, and then this process forgets all it
knew and begins anew as a standby: what it remembers is not what the other has made of things.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from isthmus.core.election import Terms, new_epoch
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.kinds import KindRef
from isthmus.kube.lease import Lease
from isthmus.kube.transport import Patience
from isthmus.loop.tenure import Tenure
from isthmus.model.kinds import Key
from isthmus.registry.state import StateDirectory
from isthmus.telemetry import get_logger

__all__ = ["LEASE", "Alone", "Elected", "identity", "next_epoch"]

LEASE = "isthmus-controller"
"""The Lease that the controllers of one installation contend for, unless it is given another name."""
_SCOPE = "controller"


def identity() -> str:
    """Return a name for this process that no other ever has: host and a random part."""
    return f"{socket.gethostname()[:180]}_{os.getpid()}_{uuid4().hex[:8]}"


async def next_epoch(state: StateDirectory | None) -> int:
    """Return the epoch of a process that contends for no Lease: above its last one, kept before it is used.

    Without a state directory there is only the clock to go by.
    """
    milliseconds = int(time.time() * 1000)
    if state is None:
        return milliseconds
    before = (await state.assignments(_SCOPE)).get("epoch")
    epoch = new_epoch(before if isinstance(before, int) else 0, milliseconds)
    await state.assign(_SCOPE, {"epoch": epoch})
    return epoch


class Alone:
    """The turn of a process that nobody contends with; ``epoch`` is above that of its earlier lives."""

    contended = False

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = epoch
        self.resumed: Callable[[], None] = lambda: None
        self.won = asyncio.Event()
        self.opened = asyncio.Event()
        self.answering = self.opened
        self.lost = asyncio.Event()
        self.won.set()
        self.opened.set()

    def leads(self) -> bool:
        """Say whether this process is the one that may write."""
        return True

    def holds(self) -> bool:
        """Say whether this process may write now and knows all it must know for that."""
        return True

    def of(self, device: str) -> Tenure:
        """Return the tenure of one device."""
        return self

    def may_write(self, kind: KindRef, name: str) -> bool:
        """Say whether an object of the home cluster may be written now."""
        return self.leads()

    def answers(self, key: Key) -> bool:
        """Say whether it is this process's to say how an object stands."""
        return True

    def blind(self) -> bool:
        """Say whether nobody can tell whose turn it is."""
        return False

    def prepared(self) -> None:
        """Say that what was chosen and assigned before is known."""

    def open(self) -> None:
        """Say that everything has been read that must be known before writing."""

    async def run(self) -> None:
        """Do nothing for ever: a turn that nobody can take needs no looking after."""
        await asyncio.Event().wait()

    async def release(self) -> None:
        """Do nothing: nobody waits."""

    def told(self) -> dict[str, Any]:
        """Return what a status says of the turn."""
        return {"role": "alone", "epoch": self.epoch}


class Elected(Alone):
    """The turn of one among several, by a Lease in the home cluster. ``resumed`` is called when a lapsed turn goes on."""

    contended = True

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        terms: Terms,
        *,
        name: str = LEASE,
        me: str = "",
    ) -> None:
        super().__init__()
        self.won.clear()
        self.opened.clear()
        # Connections of its own: a Lease must not wait behind ten thousand statuses.
        patience = Patience(connect=terms.renew / 2, request=terms.renew / 2, headers=terms.renew / 2)
        self._client = KubeClient(connection, patience=patience)
        self._lease = Lease(self._client, namespace, name, me or identity(), terms, moved=self._moved)
        self._term = 0
        self._held = False
        self._leader = ""
        self._blind = False
        self._log = get_logger("app").bind(lease=f"{namespace}/{name}")

    @property
    def epoch(self) -> int:
        """Return the epoch of this turn; 0 before it has begun."""
        return self._term

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._term = value

    def leads(self) -> bool:
        """Say whether the Lease is held now, and for the same term as ever."""
        return self._term > 0 and self._lease.epoch == self._term and self._lease.holds()

    def holds(self) -> bool:
        """Say whether this process may write now and knows all it must know for that."""
        return self.opened.is_set() and self.leads()

    def blind(self) -> bool:
        """Say whether the Lease could never be read, so that nobody can tell whose turn it is."""
        return self._blind

    def open(self) -> None:
        """Say that everything has been read that must be known before writing."""
        self.opened.set()
        self._log.info("leads", epoch=self._term, identity=self._lease.me)

    async def run(self) -> None:
        """Contend for the Lease and keep it until cancelled."""
        async with self._client:
            await self._lease.run()

    async def release(self) -> None:
        """Give the Lease back, so that another may take it at once."""
        self.opened.clear()
        async with self._client:
            await self._lease.release()

    def told(self) -> dict[str, Any]:
        """Return what a status says of the turn."""
        mine = self.leads()
        role = "leader" if mine else "standby" if not self._term else "lapsed"
        return {
            "role": role,
            "epoch": self._term,
            "leader": self._lease.holder,
            "identity": self._lease.me,
            "lease": self._lease.failing or "answers",
        }

    def _moved(self) -> None:
        lease = self._lease
        if self._term and lease.epoch != self._term:
            if not self.lost.is_set():
                self._log.warning("another controller leads", leader=lease.holder or "nobody", epoch=self._term)
            self.lost.set()
            return
        if lease.epoch and not self._term:
            self._term = lease.epoch
            self.won.set()
        held = self.leads()
        if held and not self._held and self.opened.is_set():
            self._log.info("leads again, nobody else did meanwhile", epoch=self._term)
            self.resumed()
        elif self._held and not held:
            self._log.error("lease not renewed in time, nothing is written", reason=lease.failing)
        self._held = held
        if not self._term:
            self._say_who(lease)

    def _say_who(self, lease: Lease) -> None:
        if lease.holder and lease.holder != self._leader:
            self._log.info("stands by", leader=lease.holder)
        self._leader = lease.holder or self._leader
        blind = bool(lease.failing) and not self._leader
        if blind and not self._blind:
            self._blind = True
            self.resumed()  # what may be done without knowing may be done now
        self._blind = blind
