"""A worker whose turn it is not: it looks, and hands nothing over; when its turn comes it goes on from what it knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from core.rig import Rig, node
from isthmus.core.planner import DevicePlanner
from isthmus.drivers.base import Outcome
from isthmus.loop.device import DeviceWorker
from isthmus.loop.tenure import Always
from isthmus.model.plan import Change, Scope
from isthmus.model.resources import Route

from .bench import ROUTE, Bench, Remembered, events, small, story


class Turn:
    """A tenure that a test gives and takes."""

    def __init__(self, holds: bool = False) -> None:
        self.now = holds
        self.epoch = 0

    def holds(self) -> bool:
        return self.now


def _bench(rig: Rig, turn: Turn, memory: Remembered | None = None, **rest: Any) -> Bench:
    bench = Bench(rig, memory)
    bench.worker = DeviceWorker(
        DevicePlanner(rig.world, "gw", rig.driver),
        rig.driver,
        bench.memory,
        on_pass=lambda worker, scopes: bench.passes.append(set(scopes)),
        tenure=turn,
        **rest,
    )
    return bench


def test_without_tenure_nothing_is_written_and_everything_is_known() -> None:
    """A standby observes and plans; when its turn comes, the device is made right at once."""
    turn = Turn()
    bench = _bench(small(), turn)

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.until(lambda: len(bench.passes) > 0)
            bench.put(node("n2", "192.0.2.12", "10.244.2.0/24"))
            await bench.until(lambda: Scope("node", "lab", "n2") in bench.passes[-1])
            assert (bench.driver.applies, bench.driver.resources) == (0, {})
            assert not bench.worker.status.in_sync
            turn.now = True
            bench.worker.look_at_everything()
            await bench.settled()
            assert {ROUTE, "route 10.244.2.0/24"} <= bench.driver.resources.keys()

    logs = story(tell, bench)
    assert events(logs, "drift found") == []


def test_what_another_writer_did_is_no_drift() -> None:
    """Changes by the writer whose turn it was are not taken for tampering, during nor at the end of its turn."""
    rig = small()
    turn = Turn()
    bench = _bench(rig, turn)

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.until(lambda: len(bench.passes) > 0)
            rig.settle()
            bench.worker.look_at_everything()
            await bench.settled()
            writes = rig.driver.writes
            turn.now = True
            bench.worker.look_at_everything()
            passes = bench.worker.status.passes
            await bench.until(lambda: bench.worker.status.passes > passes)
            assert (bench.worker.status.drift, rig.driver.writes) == (0, writes)

    assert events(story(tell, bench), "drift found") == []


def test_who_follows_another_writer_restores_only_what_nobody_knows() -> None:
    """A record that another may have written after is put back only on an empty device, and only where nothing is known."""
    for unread, empty, there in ((False, True, False), (True, False, False), (True, True, True)):
        rig = small()
        rig.settle()
        gone = Route(ip_network("10.244.9.0/24"), ip_address("192.0.2.19"), "eth0")
        memory = Remembered([(gone, (Scope("node", "lab", "n9"),))])
        if empty:
            rig.driver.resources.clear()
        if unread:
            rig.world.view("east").pending.add("nodes")
        bench = _bench(rig, Turn(True), memory, follows=lambda: True)

        async def tell(bench: Bench, there: bool = there) -> None:
            async with bench.running():
                await bench.until(lambda: len(bench.passes) > 0)
                made = [change.identity for change in bench.rig.driver.log if change.action == "create"]
                assert ("route 10.244.9.0/24" in made) is there

        story(tell, bench)


def test_a_turn_that_ends_within_a_plan_ends_the_plan() -> None:
    """After the change during which the turn ended, no further one is handed over."""
    rig = small()
    turn = Turn(True)
    bench = _bench(rig, turn)
    apply = rig.driver.apply

    async def applying(changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        async for outcome in apply(changes):
            turn.now = False
            yield outcome

    rig.driver.apply = applying  # type: ignore[method-assign]

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.until(lambda: len(bench.passes) > 1)
            assert rig.driver.writes == 1
            assert not bench.worker.status.in_sync

    assert events(story(tell, bench), "plan stopped, another may write now") == [
        "plan stopped, another may write now"
    ]


def test_a_turn_begins_with_a_look_at_everything() -> None:
    """What the last writer did in its last moment, unseen by the standby, is seen before anything is written."""
    rig = small()
    turn = Turn()
    bench = _bench(rig, turn)

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.until(lambda: len(bench.passes) > 0)
            rig.settle()  # the last writer's work, of which nobody has told us
            observes, writes = rig.driver.observes, rig.driver.writes
            turn.now = True
            bench.put(node("n2", "192.0.2.12", "10.244.2.0/24"))
            await bench.settled()
            assert rig.driver.observes > observes
            assert rig.driver.writes == writes + 1, "the new node, and nothing that stood already"
            assert [change.identity for change in rig.driver.log[-1:]] == ["route 10.244.2.0/24"]

    assert events(story(tell, bench), "drift found") == []


def test_a_turn_that_begins_within_a_look_waits_for_the_next() -> None:
    """A look that began before the turn is no ground to write on."""
    rig = small()
    turn = Turn()
    bench = _bench(rig, turn)
    observe = rig.driver.observe

    async def observing(identities: Any = None) -> Any:
        found = await observe(identities)
        if len(bench.passes) == 1 and not turn.now:
            turn.now = True
            rig.settle()  # done by the last writer after we had looked
        return found

    rig.driver.observe = observing  # type: ignore[method-assign]

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.until(lambda: len(bench.passes) > 0)
            bench.worker.look_at_everything()
            await bench.settled()
            assert bench.worker.status.writes == 0

    story(tell, bench)


def _recorded(rig: Rig) -> Remembered:
    rig.settle()
    recorded = [(one, rig.planner.owners.get(identity, ())) for identity, one in rig.driver.resources.items()]
    rig.driver.resources.clear()
    rig.driver.log.clear()
    return Remembered(recorded)


def test_a_record_is_put_back_only_by_who_may() -> None:
    """A standby on a device that comes up empty leaves it so; one that says it may restore puts back what stood."""
    for may_restore, there in ((None, False), (lambda: True, True)):
        rig = small()
        memory = _recorded(rig)
        rig.world.config_doubt = "not read yet"
        bench = _bench(rig, Turn(), memory, may_restore=may_restore)

        async def tell(bench: Bench, there: bool = there) -> None:
            async with bench.running():
                await bench.until(lambda: len(bench.passes) > 0)
                assert (ROUTE in bench.driver.resources) is there

        story(tell, bench)


def test_an_old_record_brings_nothing_back_that_is_known_to_be_gone() -> None:
    """A controller whose turn comes late, and who followed the cluster, does not restore what was deleted meanwhile."""
    rig = small()
    memory = _recorded(rig)
    rig.put(node("n2", "192.0.2.12", "10.244.2.0/24"))
    rig.world.put_node("east", "n1", None)
    turn = Turn()
    bench = _bench(rig, turn, memory)

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.until(lambda: len(bench.passes) > 0)
            turn.now = True
            bench.worker.look_at_everything()
            await bench.settled()
            assert ROUTE not in bench.driver.resources
            assert not [change for change in bench.driver.log if change.identity == ROUTE and change.after]

    assert events(story(tell, bench), "restoring the last applied state") == []


def test_a_process_that_is_alone_always_may() -> None:
    """Without a Lease there is one writer, and its epoch is what it was given."""
    assert Always().holds()
    assert (Always().epoch, Always(7).epoch) == (0, 7)
