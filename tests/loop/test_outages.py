"""One device's worker when things fail: lost replies, refusals, outages, reboots, full disks, the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from core.rig import node
from isthmus.drivers.base import Outcome
from isthmus.drivers.memory import MemoryDriver, lose_reply, raise_error, refuse
from isthmus.model.plan import Change, Scope
from isthmus.model.resources import AnyResource, Route
from isthmus.telemetry import CALM

from .bench import ROUTE, Bench, Remembered, events, small, story
from .clock import now


def test_an_unknown_outcome_is_read_again_and_nothing_else() -> None:
    """A lost reply re-reads that identity alone; whether or not the change was made, the end is the same."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            for carried_out in (True, False):
                seen: list[object] = []
                observe = bench.driver.observe

                async def watching(identities: Any = None, observe: Any = observe, seen: Any = seen) -> Any:
                    seen.append(None if identities is None else sorted(identities))
                    return await observe(identities)

                bench.driver.observe = watching  # type: ignore[method-assign]
                bench.driver.fail_next(lose_reply(carried_out=carried_out))
                address = "192.0.2.21" if carried_out else "192.0.2.22"
                bench.put(node("n1", address, "10.244.1.0/24"))
                await bench.until(lambda: address in bench.driver.resources[ROUTE].describe())  # noqa: B023
                await bench.settled()
                assert seen == [[ROUTE]]
                bench.driver.observe = observe  # type: ignore[method-assign]

    story(tell, Bench(small()))


def test_a_refused_change_is_said_and_waits_for_news() -> None:
    """A refused change is no reason to try it over and over; the status says it, and the next look tries again."""

    async def tell(bench: Bench) -> None:
        bench.driver.fail_next(refuse("table full", identity=ROUTE))
        async with bench.running():
            await bench.until(lambda: bench.worker.status.passes == 1)
            assert any("table full" in text for text in bench.worker.status.refusals)
            assert not bench.worker.status.in_sync
            await asyncio.sleep(100)
            assert bench.worker.status.passes == 1, "nothing happened meanwhile"
            await bench.until(lambda: ROUTE in bench.driver.resources, within=300)
            await bench.settled()
            assert bench.worker.status.refusals == ()

    logs = story(tell, Bench(small()))
    assert events(logs, "change refused") == ["change refused"]


def test_an_outage_is_logged_once_and_so_is_its_end() -> None:
    """A device that is down is tried again with growing pauses; each outage is one line at each end."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            for _ in range(2):
                bench.driver.reachable = False
                bench.put(node("n2", "192.0.2.12", "10.244.2.0/24"))
                bench.worker.look_at_everything()
                await bench.until(lambda: not bench.worker.status.reachable)
                assert "switched off" in bench.worker.status.error
                await asyncio.sleep(120)
                bench.driver.reachable = True
                await bench.settled()
                assert bench.worker.status.error == ""
                await asyncio.sleep(CALM + 1)
            assert "route 10.244.2.0/24" in bench.driver.resources

    logs = story(tell, Bench(small()))
    assert events(logs, "device failed", "device recovered") == ["device failed", "device recovered"] * 2


def test_a_device_that_flaps_says_two_lines() -> None:
    """What fails again soon after it recovered is told as one outage, whose end is told when it has lasted a minute."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            for _ in range(6):
                bench.driver.reachable = False
                bench.worker.look_at_everything()
                await bench.until(lambda: not bench.worker.status.reachable)
                bench.driver.reachable = True
                await bench.until(lambda: bench.worker.status.reachable)
                await asyncio.sleep(10)
            await asyncio.sleep(CALM - 11)
            bench.worker._log.info("nearly calm")
            await asyncio.sleep(2)

    logs = story(tell, Bench(small()))
    said = events(logs, "device failed", "device recovered", "nearly calm")
    assert said == ["device failed", "device recovered", "device failed", "nearly calm", "device recovered"]
    assert [entry["after"] for entry in logs if entry["event"] == "device recovered"] == [1, 5]


def test_a_device_that_fails_at_every_change_has_not_recovered() -> None:
    """Answering questions is not enough: as long as changes end in an error, that is one outage."""

    async def tell(bench: Bench) -> None:
        bench.driver.fail_next(*(raise_error() for _ in range(5)))
        async with bench.running():
            await bench.settled()

    logs = story(tell, Bench(small()))
    assert events(logs, "device failed", "device recovered") == ["device failed", "device recovered"]


def test_a_bug_of_ours_is_an_outage_and_no_end() -> None:
    """A worker that trips over its own code says so, keeps trying with growing pauses, and recovers by itself."""

    class Broken(MemoryDriver):
        left = 5

        async def observe(self, identities: Any = None) -> Any:
            if self.left:
                self.left -= 1
                raise KeyError("a bug")
            return await super().observe(identities)

        async def close(self) -> None:
            raise OSError("and this one, too")

    rig = small()
    rig.driver = Broken(facts=rig.driver.facts)

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.until(lambda: bool(bench.worker.status.error))
            assert bench.worker.status.error == "internal error: KeyError('a bug')"
            assert not bench.worker.status.reachable
            await bench.settled()
            assert now() > 5, "the pauses grow"
            assert bench.worker.status.error == ""

    logs = story(tell, Bench(rig))
    assert events(logs, "device worker crashed", "device recovered") == ["device worker crashed", "device recovered"]
    assert any(entry.get("exc_info") for entry in logs), "with the place where it happened"


def test_who_listens_cannot_stop_a_device() -> None:
    """A bug in somebody who hears of passes is logged there and costs the device nothing."""

    async def tell(bench: Bench) -> None:
        heard = bench.passes

        def listen(worker: object, scopes: Collection[Scope]) -> None:
            heard.append(set(scopes))
            raise LookupError("a bug")

        bench.worker._on_pass = listen
        async with bench.running():
            await bench.settled()
            assert (len(heard), bench.worker.status.error) == (1, "")

    logs = story(tell, Bench(small()))
    assert events(logs, "news of a pass was not taken", "device worker crashed") == ["news of a pass was not taken"]


def test_a_device_down_at_start_is_waited_for() -> None:
    """A worker that finds its device down serves it as soon as it is up; the record is not lost meanwhile."""
    record = [(Route(ip_network("10.9.0.0/24"), ip_address("192.0.2.9"), "eth0"), (Scope("node", "lab", "gone"),))]

    async def tell(bench: Bench) -> None:
        bench.driver.reachable = False
        async with bench.running():
            await asyncio.sleep(50)
            assert bench.memory.saves == 0
            bench.driver.reachable = True
            await bench.settled()

    story(tell, Bench(small(), Remembered(record)))


def test_a_gateway_serves_before_it_has_reached_anybody() -> None:
    """After a reboot what stood last is back before the cluster was read, and nothing of it goes until it is."""
    rig = small()
    rig.settle()
    record = [(resource, rig.planner.owners[identity]) for identity, resource in rig.driver.resources.items()]
    held = dict(rig.driver.resources)
    rig.driver.resources.clear()
    view = rig.world.view("east")
    known = dict(view.nodes)
    view.pending.update(("nodes", "services", "endpointslices", "namespaces"))
    rig.world.put_node("east", "n1", None)

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.until(lambda: bench.worker.status.passes > 0)
            assert bench.driver.resources == held
            assert len(bench.worker.status.held) == 3, "nobody knows yet what is wanted"
            await asyncio.sleep(400)
            assert bench.driver.resources == held
            rig.world.put_node("east", "n1", known["n1"])
            view.pending.clear()
            bench.worker.look_at_everything()
            await bench.settled()
            assert bench.driver.resources == held

    logs = story(tell, Bench(rig, Remembered(record)))
    assert len(events(logs, "restoring the last applied state")) == 1
    assert len(events(logs, "plan applied")) == 1, "and nothing was written twice"


def test_a_lost_connection_restores_nothing() -> None:
    """What was deleted since the start is not brought back from the record when the device was away for a moment."""
    rig = small()
    rig.settle()
    record = [(resource, rig.planner.owners[identity]) for identity, resource in rig.driver.resources.items()]

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            bench.memory.broken = True
            bench.worker.dirty(rig.world.put_node("east", "n1", None))
            await bench.until(lambda: ROUTE not in bench.driver.resources)
            bench.driver.fail_next(raise_error())
            bench.put(node("n3", "192.0.2.13", "10.244.3.0/24"))
            await bench.until(lambda: "route 10.244.3.0/24" in bench.driver.resources)
            bench.memory.broken = False

    story(tell, Bench(rig, Remembered(record)))
    assert not any(change.identity == ROUTE and change.action == "create" for change in rig.driver.log[3:])


def test_a_graceful_stop_saves_what_stands() -> None:
    """A worker that is asked to stop has its state on disk when it returns, owners and all."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.until(lambda: len(bench.driver.resources) == 3)
        saved = {resource.identity: scopes for resource, scopes in bench.memory.recorded}
        assert saved.keys() == bench.driver.resources.keys()
        assert saved[ROUTE] == (Scope("node", "lab", "n1"),)

    story(tell, Bench(small()))


def test_a_stop_does_not_wait_for_a_dead_device() -> None:
    """A worker in the middle of a long pause stops at once."""

    async def tell(bench: Bench) -> None:
        bench.driver.reachable = False
        async with bench.running():
            await asyncio.sleep(200)
            began = now()
        assert now() - began < 0.1

    story(tell, Bench(small()))


def test_state_that_cannot_be_saved_is_said_once_and_tried_again() -> None:
    """A full disk is one line, not one a second, and the state is saved as soon as that is possible."""

    async def tell(bench: Bench) -> None:
        bench.memory.broken = True
        async with bench.running():
            await bench.settled()
            await asyncio.sleep(30)
            bench.memory.broken = False
            await bench.until(lambda: bench.memory.saves == 1)
            await asyncio.sleep(1000)
            assert bench.memory.saves == 1, "what did not change is not written again"

    logs = story(tell, Bench(small()))
    assert events(logs, "state not saved") == ["state not saved"]


class Forgetful(MemoryDriver):
    """A device whose apply ends early, without an outcome for the rest and without an error."""

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        async for outcome in super().apply(changes[:1]):
            yield outcome


def test_a_change_without_an_outcome_is_not_taken_for_done() -> None:
    """A driver that says nothing about a change leaves it unknown: it is read again and planned again."""
    rig = small()
    rig.driver = Forgetful(facts=rig.driver.facts)

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.until(lambda: len(bench.driver.resources) == 3)
            await bench.settled()

    story(tell, Bench(rig))


@pytest.mark.parametrize("seed", range(20))
def test_failing_anywhere_converges(seed: int) -> None:
    """Whatever fails at whichever change, replies, requests or the connection, the end is the same (law 7)."""
    chance = random.Random(seed)
    made: list[Callable[[], Any]] = [
        lose_reply,
        lambda: lose_reply(carried_out=False),
        refuse,
        raise_error,
        lambda: raise_error(carried_out=True),
    ]
    wanted: dict[str, AnyResource] = {}

    async def calm(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
        wanted.update(bench.driver.resources)

    async def stormy(bench: Bench) -> None:
        bench.driver.fail_next(*(chance.choice(made)() for _ in range(12)))
        async with bench.running():
            await bench.until(lambda: bench.driver.resources == wanted, within=2000)

    story(calm, Bench(small()))
    story(stormy, Bench(small()))
