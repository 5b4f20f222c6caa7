"""What goes on while something is done to a joined lab: clients that keep asking, and everything the kernel reports.

Both are blocks: what happened inside is known on leaving. The one confusing thing: silence only counts from a listener that
was heard before and after, so `Quiet` makes marks of its own and waits until they have come through.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from isthmus.lab.joined import GATEWAY, until
from isthmus.lab.net.clients import Answer, fetch
from isthmus.lab.net.command import command_in
from isthmus.lab.net.processes import Running
from isthmus.lab.net.topology import Address
from packets.joining import Rig

_MARK_TABLE = "77"
_PASSING = ("REACHABLE", "STALE", "DELAY", "PROBE", "INCOMPLETE", "FAILED", "NOARP")


@dataclass
class Load:
    """Requests one after another, ``every`` so many seconds, from entering the block to leaving it."""

    client: str
    vip: Address
    port: int = 80
    every: float = 0.005
    timeout: float = 2.0
    answers: list[Answer] = field(default_factory=list)

    async def __aenter__(self) -> Load:
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        await self.count(5)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stop.set()
        await self._task

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            gate = asyncio.Semaphore(32)
            while not self._stop.is_set():
                await gate.acquire()
                group.create_task(self._one(gate))
                await asyncio.sleep(self.every)

    async def _one(self, gate: asyncio.Semaphore) -> None:
        try:
            self.answers.append(await fetch(self.client, self.vip, self.port, timeout=self.timeout))
        finally:
            gate.release()

    async def count(self, requests: int) -> None:
        """Wait for so many more answers, good or bad."""
        goal = len(self.answers) + requests

        async def there() -> bool:
            return len(self.answers) >= goal

        await until(there, timeout=30 + requests * self.every)

    @property
    def errors(self) -> dict[str, int]:
        """Return the failures so far, by kind."""
        return dict(Counter(f"{one.why}: {one.detail}" for one in self.answers if not one.ok))

    @property
    def pods(self) -> dict[str, int]:
        """Return the good answers so far, by pod."""
        return dict(Counter(one.pod for one in self.answers if one.ok))


class Quiet:
    """Listens to everything that changes in a namespace's kernel tables; ``heard`` is what did, after leaving the block.

    Neighbours that come and go by themselves are no changes. That the listeners listen is proven by marks of their own.
    """

    def __init__(self, rig: Rig, where: str = GATEWAY) -> None:
        self.heard: list[str] = []
        self._rig = rig
        self._where = where
        self._running: list[Running] = []
        self._marks = 0

    async def __aenter__(self) -> Quiet:
        start = self._rig.lab.start_process
        for argv in (
            ("ip", "-o", "monitor", "link", "address", "route", "neigh"),
            ("bridge", "monitor", "fdb"),
            ("nft", "monitor"),
        ):
            self._running.append(await start(self._where, argv, name="-".join(argv[:2])))
        await self._mark()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._mark()
        for running in self._running:
            await running.stop()
        for running in self._running:
            self.heard += [line for line in running.read_log().splitlines() if line.strip() and not _ignored(line)]

    async def _mark(self) -> None:
        """Make changes that mean nothing until every listener has shown the newest of them."""
        ip, _, nft = self._running

        async def shown() -> bool:
            self._marks += 1
            prefix, table = f"192.0.0.{self._marks % 200}/32", f"mark{self._marks}"
            await self._rig.ip("route", "add", "unreachable", prefix, "table", _MARK_TABLE, where=self._where)
            await self._rig.ip("route", "del", "unreachable", prefix, "table", _MARK_TABLE, where=self._where)
            await command_in(self._where, ["nft", "-f", "-"], text=f"add table ip {table}\n")
            await command_in(self._where, ["nft", "-f", "-"], text=f"delete table ip {table}\n")
            await asyncio.sleep(0.02)
            return prefix.removesuffix("/32") in ip.read_log() and table in nft.read_log()

        await until(shown, timeout=5)


def _ignored(line: str) -> bool:
    if f"table {_MARK_TABLE}" in line or " mark" in line or line.startswith("# new generation"):
        return True
    return (" lladdr " in line and any(word in line for word in _PASSING)) or line.split()[-1:] == ["FAILED"]
