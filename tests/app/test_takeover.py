"""Two devices of one process on one segment: the workers tell one another what they see, and a VIP moves when it must."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from structlog.testing import capture_logs

from core.test_standing import IDENTITY, Segment
from isthmus import metrics
from isthmus.app.fleet import Fleet
from isthmus.app.memory import NoMemory
from isthmus.drivers.memory import MemoryDriver, lose_reply
from isthmus.model.plan import Scope

WEB = Scope("service", "lab", "shop/web")


class Running:
    """A fleet over a segment's devices in memory."""

    def __init__(self) -> None:
        self.segment = Segment(standby={"grace": "200ms"})
        self.drivers = self.segment.drivers
        self.moved: list[str] = []
        self.segment.world.sights = type(self.segment.world.sights)()
        self.fleet = Fleet(
            self.segment.world,
            NoMemory(),
            passed=lambda device, scopes: None,
            moved=self.moved.append,
            drivers={"memory": lambda device, wiring: self.drivers[device.name]},
        )

    async def until(self, true: Callable[[], object], *, timeout: float = 8.0) -> float:
        clock = asyncio.get_running_loop().time
        began = clock()
        while not true():
            assert clock() - began < timeout, {n: w.status for n, w in self.fleet.workers.items()}
            await asyncio.sleep(0.01)
        return clock() - began

    async def settled(self) -> None:
        await self.until(lambda: all(w.status.in_sync and w.status.passes for w in self.fleet.workers.values()))

    def fail(self, driver: MemoryDriver) -> None:
        """Let a device not answer any more, which its worker hears at once, as a cut connection is."""
        driver.reachable = False
        driver._moved.set()


@asynccontextmanager
async def running() -> AsyncIterator[Running]:
    made = Running()
    await made.fleet.follow()
    try:
        yield made
    finally:
        await made.fleet.stop()


async def test_a_device_that_becomes_another_is_told_of_and_one_that_only_holds_more_is_not() -> None:
    """A MAC that nobody can choose is written on nodes, so who writes there hears that it moved; of our VIPs nobody."""
    async with running() as made:
        await made.settled()
        made.moved.clear()
        facts = made.drivers["gw1"].facts
        traits = msgspec.structs.replace(facts.traits, tunnel_mac="02:aa:00:00:00:01")
        made.drivers["gw1"].facts = msgspec.structs.replace(facts, traits=traits)
        made.fleet.look_at_everything()
        await made.until(lambda: made.moved)
        assert made.moved == ["gw1"]
        made.drivers["gw1"].facts = msgspec.structs.replace(made.drivers["gw1"].facts)
        passes = made.fleet.workers["gw1"].status.passes
        made.fleet.look_at_everything()
        await made.until(lambda: made.fleet.workers["gw1"].status.passes > passes)
        assert made.moved == ["gw1"], "the same facts anew are no news"


def lines(logs: list[Any], event: str) -> list[dict[str, Any]]:
    return [entry for entry in logs if entry["event"] == event]


async def test_a_standby_takes_over_and_keeps_what_it_took() -> None:
    """The VIP is on the second device soon after the first fell silent, is told once, and stays there on its return."""
    before = metrics.TAKEOVERS.labels("gw2")._value.get()
    with capture_logs() as logs:
        async with running() as made:
            await made.until(lambda: IDENTITY in made.drivers["gw1"].resources)
            await made.settled()
            assert made.fleet.serves(WEB)
            assert IDENTITY not in made.drivers["gw2"].resources
            made.fail(made.drivers["gw1"])
            made.drivers["gw1"].resources.clear()
            assert await made.until(lambda: IDENTITY in made.drivers["gw2"].resources) < 2
            made.drivers["gw1"].reachable = True
            await made.settled()
            assert IDENTITY not in made.drivers["gw1"].resources
            assert made.fleet.serves(WEB)
    assert [(e["before"], e["device"], e["vips"]) for e in lines(logs, "VIPs taken over")] == [("gw1", "gw2", 1)]
    assert metrics.TAKEOVERS.labels("gw2")._value.get() == before + 1


async def test_what_somebody_still_answers_for_is_asked_again_soon() -> None:
    """A VIP that the segment still answers for is tried every half second, told in the status, and logged once."""
    with capture_logs() as logs:
        async with running() as made:
            await made.until(lambda: IDENTITY in made.drivers["gw1"].resources)
            await made.settled()
            gw2 = made.fleet.workers["gw2"]
            planned = len(lines(logs, "plan applied"))
            still = lose_reply(carried_out=False, identity=IDENTITY)
            made.drivers["gw2"].fail_next(*[still] * 4)
            made.fail(made.drivers["gw1"])
            await made.until(lambda: any(IDENTITY in text for text in gw2.status.refusals))
            assert not gw2.status.in_sync
            took = await made.until(lambda: IDENTITY in made.drivers["gw2"].resources)
            assert 1 < took < 4
            await made.until(lambda: gw2.status.in_sync)
            assert gw2.status.refusals == ()
    applied = lines(logs, "plan applied")[planned:]
    assert [(e["unknown"], e["done"]) for e in applied if e["device"] == "gw2"] == [(1, 0), (0, 1)]


async def test_it_is_handed_over_on_request() -> None:
    """Asked for another device, the first lets go and the second takes over, at once."""
    async with running() as made:
        await made.until(lambda: IDENTITY in made.drivers["gw1"].resources)
        await made.settled()
        made.segment.link(active="gw2", grace="200ms")
        made.fleet.look_at_everything()
        assert await made.until(lambda: IDENTITY in made.drivers["gw2"].resources) < 2
        assert IDENTITY not in made.drivers["gw1"].resources
