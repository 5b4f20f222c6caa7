"""One device's worker, on the device in memory and virtual time: start, drift, lost replies, outages, the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.rig import NOW, Rig, endpoints, node, service, vip
from isthmus.core.planner import DevicePlanner
from isthmus.drivers.base import Outcome
from isthmus.drivers.memory import MemoryDriver, lose_reply, raise_error, refuse
from isthmus.errors import StateError
from isthmus.loop.device import DeviceWorker, Recorded
from isthmus.model.facts import Endpoint
from isthmus.model.plan import Change, Scope
from isthmus.model.resources import AnyResource, Route, Tunnel

from .clock import START, now, virtually

ROUTE = "route 10.244.1.0/24"


class Remembered:
    """A memory that can be asked what it holds, and can fail."""

    def __init__(self, recorded: Recorded = ()) -> None:
        self.recorded = recorded
        self.saves = 0
        self.broken = False

    async def load(self, device: str) -> Recorded:
        return self.recorded

    async def save(self, device: str, recorded: Recorded) -> None:
        if self.broken:
            raise StateError("the disk is full")
        self.saves += 1
        self.recorded = list(recorded)


class Bench:
    """A worker over a rig's world, with what it said and what it did."""

    def __init__(self, rig: Rig, memory: Remembered | None = None, resync: float = 300.0) -> None:
        self.rig, self.driver = rig, rig.driver
        self.memory = memory or Remembered()
        self.passes: list[set[Scope]] = []
        self.worker = DeviceWorker(
            DevicePlanner(rig.world, "gw", rig.driver.adapt),
            rig.driver,
            self.memory,
            on_pass=lambda worker, scopes: self.passes.append(set(scopes)),
            resync=lambda: resync,
            clock=lambda: NOW + now(),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.worker.run())
        try:
            yield task
        finally:
            await self.worker.stop()
            await task

    async def until(self, true: Callable[[], bool], within: float = 60.0) -> None:
        """Let time pass until something is true; fail if it does not become so."""
        end = now() + within
        while not true():
            assert now() < end, f"not within {within} s: {self.worker.status}"
            await asyncio.sleep(0.01)

    def put(self, *facts: Any) -> None:
        self.worker.dirty(self.rig.put(*facts))

    async def settled(self) -> None:
        await self.until(lambda: self.worker.status.in_sync)


def small(**rest: Any) -> Rig:
    """Return a rig with one node and one Service."""
    rig = Rig(**rest)
    rig.put(
        node("n1", "192.0.2.11", "10.244.1.0/24"),
        service("shop/web", 80),
        endpoints("shop/web-1", "web", Endpoint(ip_address("10.244.1.5"), "n1")),
        vip("192.0.2.100", "shop/web"),
    )
    return rig


def story(tell: Callable[[Bench], Coroutine[Any, Any, None]], bench: Bench) -> list[dict[str, Any]]:
    """Run a story on virtual time and return what was logged."""
    with capture_logs() as logs:
        virtually(lambda: tell(bench))
    return [dict(entry) for entry in logs]


def events(logs: Iterable[dict[str, Any]], *names: str) -> list[str]:
    return [entry["event"] for entry in logs if entry["event"] in names]


def test_start_and_changes() -> None:
    """At start everything is looked at and made; a change is one keyed pass that says which scopes it was about."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            assert set(bench.driver.resources) == {ROUTE, "vip 192.0.2.100", "virtual-server 192.0.2.100:80/tcp"}
            assert bench.worker.serves(Scope("service", "lab", "shop/web"))
            assert not bench.worker.serves(Scope("service", "lab", "shop/none"))
            observes, writes = bench.driver.observes, bench.driver.writes
            bench.put(node("n1", "192.0.2.12", "10.244.1.0/24"))
            await bench.until(lambda: bench.driver.writes > writes)
            await bench.until(lambda: Scope("node", "lab", "n1") in bench.passes[-1])
            route = bench.driver.resources[ROUTE]
            assert isinstance(route, Route)
            assert str(route.via) == "192.0.2.12"
            assert (bench.driver.writes - writes, bench.driver.observes) == (1, observes), "one write, no look around"
            assert bench.worker.status.owned == 3

    story(tell, Bench(small()))


def test_a_node_that_becomes_reachable_is_news_for_its_services() -> None:
    """Who hears of a pass hears of the Services that the planner asked for itself, not only of what was dirty."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            bench.rig.world.put_node("east", "n1", None)
            bench.worker.dirty([Scope("node", "lab", "n1")])
            await bench.until(lambda: ROUTE not in bench.driver.resources)
            assert any(Scope("service", "lab", "shop/web") in scopes for scopes in bench.passes[1:])

    story(tell, Bench(small()))


def test_a_restart_in_sync_writes_nothing() -> None:
    """A worker that starts on a device as it should be makes no change at all (CIS 2077)."""
    rig = small()
    rig.settle()

    async def tell(bench: Bench) -> None:
        writes = rig.driver.writes
        async with bench.running():
            await bench.settled()
            assert Scope("service", "lab", "shop/web") in bench.passes[0], (
                "who shows its status hears of it all the same"
            )
        assert (rig.driver.writes, rig.driver.applies) == (writes, rig.driver.applies)
        assert bench.worker.status.writes == 0
        assert {resource.identity for resource, _ in bench.memory.recorded} == rig.driver.resources.keys()

    logs = story(tell, Bench(rig))
    assert events(logs, "plan applied") == []


def test_drift_is_repaired_at_once_and_counted() -> None:
    """What somebody else took away is back in a moment, and one warning says how much it was."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            began = now()
            bench.driver.lose(ROUTE)
            await bench.until(lambda: ROUTE in bench.driver.resources)
            assert now() - began < 1
            await bench.until(lambda: bench.worker.status.drift == 1)

    logs = story(tell, Bench(small()))
    assert events(logs, "drift found") == ["drift found"]


def test_what_nobody_announced_is_found_on_the_timer() -> None:
    """A change that the device did not tell of is found by the slow look at everything."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            del bench.driver.resources[ROUTE]
            await bench.until(lambda: ROUTE in bench.driver.resources, within=700)
            assert 299 < now() < 302

    story(tell, Bench(small()))


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
            assert "route 10.244.2.0/24" in bench.driver.resources

    logs = story(tell, Bench(small()))
    assert events(logs, "device failed", "device recovered") == ["device failed", "device recovered"] * 2


def test_a_device_that_fails_at_every_change_has_not_recovered() -> None:
    """Answering questions is not enough: as long as changes end in an error, that is one outage."""

    async def tell(bench: Bench) -> None:
        bench.driver.fail_next(*(raise_error() for _ in range(5)))
        async with bench.running():
            await bench.settled()

    logs = story(tell, Bench(small()))
    assert events(logs, "device failed", "device recovered") == ["device failed", "device recovered"]


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


def test_a_tunnel_made_anew_is_no_drift() -> None:
    """What our own change took along is made again, and nobody is told that somebody tampered."""
    rig = Rig("overlay", link={"overlay": {"networks": ["10.200.0.0/24"]}})
    rig.world.device_addresses["lab", "gw"] = (ip_interface("10.200.0.254/24"),)
    text = '{"addresses":["10.200.0.1/24"],"mac":"02:00:00:00:01:01","vni":7700,"port":7700,"mtu":1450}'
    rig.put(node("n1", "192.0.2.11", "10.244.1.0/24", annotations={"isthmus.dev/overlay.lab": text}))

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            held = bench.driver.resources.keys()
            spec = {"networks": ["10.200.0.0/24"], "port": 7800}
            rig.kind("ClusterLink", "lab", {"cluster": "east", "devices": ["gw"], "path": "overlay", "overlay": spec})
            bench.worker.look_at_everything()

            def moved() -> bool:
                tunnel = bench.driver.resources.get("tunnel isth7700")
                return isinstance(tunnel, Tunnel) and tunnel.port == 7800 and len(bench.driver.resources) == 6

            await bench.until(moved)
            await bench.settled()
            assert bench.driver.resources.keys() == held
            assert bench.worker.status.drift == 0

    logs = story(tell, Bench(rig))
    assert events(logs, "drift found") == []


def test_time_alone_ends_a_grace_period() -> None:
    """A NotReady node's pods go when its grace is over, with no event and no look at everything in between."""
    rig = small(link={"nodeGracePeriod": "40s"})
    rig.put(node("n1", "192.0.2.11", "10.244.1.0/24", not_ready_since=NOW - 10))

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            assert "10.244.1.5" in bench.driver.resources["virtual-server 192.0.2.100:80/tcp"].describe()
            for _ in range(20):
                await asyncio.sleep(1)
                bench.worker.dirty([Scope("service", "lab", "shop/web")])
            await bench.until(
                lambda: "no members" in bench.driver.resources["virtual-server 192.0.2.100:80/tcp"].describe()
            )
            assert 30 <= now() < 31
            assert len(bench.passes) < 30

    story(tell, Bench(rig, resync=10000.0))


def test_every_grace_period_ends_by_itself() -> None:
    """After the first of several graces the next one is waited for, too."""
    rig = small(link={"nodeGracePeriod": "40s"})
    rig.put(
        node("n1", "192.0.2.11", "10.244.1.0/24", not_ready_since=NOW - 10),
        node("n2", "192.0.2.12", "10.244.2.0/24", not_ready_since=NOW + 20),
        service("shop/api", 80),
        endpoints("shop/api-1", "api", Endpoint(ip_address("10.244.2.5"), "n2")),
        vip("192.0.2.101", "shop/api"),
    )

    async def tell(bench: Bench) -> None:
        async with bench.running():
            for at, address in ((30, "192.0.2.100"), (60, "192.0.2.101")):
                text = f"virtual-server {address}:80/tcp"
                await bench.until(
                    lambda text=text: (
                        text in bench.driver.resources  # type: ignore[misc]
                        and "no members" in bench.driver.resources[text].describe()
                    ),
                    within=100,
                )
                assert at <= now() < at + 1

    story(tell, Bench(rig, resync=10000.0))


def test_an_unread_cluster_costs_no_passes() -> None:
    """A grace period that ends while the cluster cannot be read does not make the worker run in circles."""
    rig = small(link={"nodeGracePeriod": "40s"})
    rig.put(node("n1", "192.0.2.11", "10.244.1.0/24", not_ready_since=NOW - 10))

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            rig.world.view("east").pending.add("nodes")
            await asyncio.sleep(250)
            assert len(bench.passes) < 5
            assert "10.244.1.5" in bench.driver.resources["virtual-server 192.0.2.100:80/tcp"].describe()

    story(tell, Bench(rig))


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


def test_a_foreign_thing_in_the_way_is_not_in_sync() -> None:
    """While something foreign stands where ours should, the device does not hold what it should, and says so once."""

    async def tell(bench: Bench) -> None:
        bench.driver.plant(ROUTE, "somebody's route")
        async with bench.running():
            await bench.until(lambda: bench.worker.status.passes > 0)
            assert not bench.worker.status.in_sync
            assert "somebody's route" in bench.worker.status.conflicts[0]
            bench.driver.unplant(ROUTE)
            await bench.settled()
            assert ROUTE in bench.driver.resources

    story(tell, Bench(small()))


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


def test_virtual_time_is_virtual() -> None:
    """The clock of these tests starts where it says and jumps."""

    async def main() -> float:
        await asyncio.sleep(10_000)
        return asyncio.get_running_loop().time()

    assert virtually(main) == pytest.approx(START + 10_000)
