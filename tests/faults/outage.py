"""A NetScaler that answers 503 for ten minutes: how often it is asked meanwhile, and how soon all is well when it is back.

The one confusing thing: *attempts* are requests that want something. A *knock* is one without a session that costs the device
nothing; without a Retry-After only knocks can tell within seconds that it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass

from faults.netscaler import UNSAVED, NetScaler
from faults.nitro import SimWire
from faults.play import Plan, Run, played
from faults.virtual import CLOCK
from isthmus.drivers.netscaler.nitro.bodies import Answer
from isthmus.drivers.netscaler.nitro.wire import Request

LASTS = 600.0
_WELL = 300.0


@dataclass
class Outage:
    """What came of it: requests that a device saw while it was away, and the seconds until it held all that it should."""

    attempts: Counter[str]
    knocks: int
    seconds: float
    wrongs: list[str]


class _Run(Run):
    """A life whose device goes away once all is well; while it is away, pods move and a Service comes."""

    outcome: Outage
    after: int | None = None

    async def story(self) -> None:
        device = self.outside.edge
        assert isinstance(device, NetScaler), "it is about that device"
        await self.until_well()
        for node in device.nodes:
            node.faults.fail_next(10**9, status=503, retry_after=self.after)
        began, seen = CLOCK.monotonic(), Counter[str]()
        real = SimWire.send

        async def send(wire: SimWire, root: str, request: Request) -> Answer:
            seen[request.what] += 1
            return await real(wire, root, request)

        SimWire.send = send  # type: ignore[method-assign]
        await asyncio.sleep(LASTS / 3)
        self.outside.service("late")
        self.outside.slice("late")
        self.outside.slice("web")
        self.outside.note()
        await asyncio.sleep(began + LASTS - CLOCK.monotonic())
        SimWire.send = real  # type: ignore[method-assign]
        for node in device.nodes:
            node.faults.clear()
        back = CLOCK.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WELL):
                while set(self.judge.amiss()) - {UNSAVED}:
                    await asyncio.sleep(0.1)
        knocks = seen.pop("knock", 0)
        self.outcome = Outage(seen, knocks, CLOCK.monotonic() - back, self.judge.wrongs)


def outage(seed: int, after: int | None) -> Outage:
    """Play it; with ``after`` every 503 says when to come back, in seconds."""
    runs: list[_Run] = []

    def make() -> _Run:
        run = _Run(Plan(seed, "overlay", (), device="netscaler"), lambda line: None, record=False)
        run.after = after
        runs.append(run)
        return run

    played(seed, make)
    return runs[0].outcome
