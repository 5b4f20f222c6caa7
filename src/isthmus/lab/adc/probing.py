"""Monitors: who answers, asked from the device's own addresses as often as the configuration says.

Members that share what is asked share one monitor. The one confusing thing is a member's beginning: it is DOWN until the
first good answer, and after as many bad ones as a monitor allows it is asked again only when its down time is over.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterable

from isthmus.lab.adc.plans import Probe
from isthmus.lab.adc.sockets import outgoing
from isthmus.lab.net.clients import ping

_AT_ONCE = 64
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")


class Probing:
    """All monitors of one device; ``moved`` is called when one has another opinion than before."""

    def __init__(self, namespace: str, moved: Callable[[], None], *, pace: float = 1.0) -> None:
        """Ask nobody yet; ``pace`` below 1 shortens intervals and down times, not time-outs."""
        self._namespace = namespace
        self._moved = moved
        self._pace = pace
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._tasks: dict[Probe, asyncio.Task[None]] = {}
        self._good: set[Probe] = set()

    def up(self, probe: Probe) -> bool:
        """Return what the monitor says."""
        return probe in self._good

    def become(self, wanted: Iterable[Probe]) -> None:
        """Ask what is wanted and nothing else; what was asked before is known still."""
        chosen = set(wanted)
        for probe in set(self._tasks) - chosen:
            self._tasks.pop(probe).cancel()
            self._good.discard(probe)
        for probe in chosen - set(self._tasks):
            self._tasks[probe] = asyncio.get_running_loop().create_task(self._watch(probe))

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = list(self._tasks.values())
        self.become(())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, probe: Probe) -> None:
        good = bad = 0
        while True:
            async with self._gate:
                answered = await ask(self._namespace, probe) is not probe.reverse
            good, bad = (good + 1, 0) if answered else (0, bad + 1)
            before = probe in self._good
            if answered and good >= probe.successes:
                self._good.add(probe)
            elif bad >= probe.retries:
                self._good.discard(probe)
            if before != (probe in self._good):
                self._moved()
            down = probe not in self._good and bad >= probe.retries
            # A little apart from each other, or a thousand members are asked in the same moment for ever.
            wait = (probe.downtime if down else probe.interval) * self._pace
            await asyncio.sleep(wait * random.uniform(0.9, 1.0))


async def ask(namespace: str, probe: Probe) -> bool:
    """Ask once; without an address to ask from nobody answers."""
    if probe.source is None:
        return False
    if probe.kind == "PING":
        return (await ping(namespace, probe.address, timeout=probe.timeout, source=probe.source)).ok
    try:
        async with asyncio.timeout(probe.timeout):
            return await _connect(namespace, probe)
    except (OSError, TimeoutError):
        return False


async def _connect(namespace: str, probe: Probe) -> bool:
    loop = asyncio.get_running_loop()
    with outgoing(namespace, probe.address, (probe.source,) if probe.source else (), datagram=False) as sock:
        await loop.sock_connect(sock, (str(probe.address), probe.port))
        if not probe.kind.startswith("HTTP"):
            return True
        host = f"[{probe.address}]" if probe.address.version == 6 else str(probe.address)
        await loop.sock_sendall(
            sock, f"{probe.request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await loop.sock_recv(sock, 4096)
    found = _STATUS.match(answer)
    return found is not None and any(_fits(found[1].decode(), codes) for codes in probe.codes)


def _fits(status: str, codes: str) -> bool:
    first, _, last = codes.partition("-")
    return first.strip() <= status <= (last or first).strip()
