"""One device's worker when all goes well: start, changes, drift, graces, the timer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_address, ip_interface

import pytest

from core.rig import NOW, Rig, endpoints, node, service, vip
from isthmus.core.services import answered
from isthmus.drivers.base import Outcome
from isthmus.model.facts import Endpoint
from isthmus.model.plan import Change, Scope
from isthmus.model.resources import Route, Tunnel

from .bench import ROUTE, Bench, events, small, story
from .clock import START, now, virtually

VIP = ip_address("192.0.2.100")


def test_start_and_changes() -> None:
    """At start everything is looked at and made; a change is one keyed pass that says which scopes it was about."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            assert set(bench.driver.resources) == {ROUTE, "vip 192.0.2.100", "virtual-server 192.0.2.100:80/tcp"}
            planner = bench.worker.planner
            assert answered(planner.wishes.of(Scope("service", "lab", "shop/web")), planner.observed) == {VIP: True}
            assert answered(planner.wishes.of(Scope("service", "lab", "shop/none")), planner.observed) == {}
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


def test_what_is_kept_is_the_state_after_a_plan() -> None:
    """A state that was kept while a plan was under way is kept again after it, or a restart would bring back what went."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            apply, saved = bench.driver.apply, bench.memory.saves

            async def slowly(changes: Sequence[Change]) -> AsyncIterator[Outcome]:
                await asyncio.sleep(3.0)  # there is a save in between
                async for outcome in apply(changes):
                    yield outcome

            bench.driver.apply = slowly  # type: ignore[method-assign]
            bench.rig.world.put_node("east", "n1", None)
            bench.worker.dirty([Scope("node", "lab", "n1")])
            await bench.until(lambda: ROUTE not in bench.driver.resources)
            await asyncio.sleep(3.0)
            assert bench.memory.saves > saved
            assert {resource.identity for resource, _ in bench.memory.recorded} == bench.driver.resources.keys()
            bench.memory.broken = True  # so that the end does not put it right

    story(tell, Bench(small()))


def test_a_delete_that_got_lost_is_made_again_soon() -> None:
    """What no scope wants any more goes in a moment, not with the next look at everything, if its delete was never made."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            apply, lost = bench.driver.apply, list[Change]()

            async def losing(changes: Sequence[Change]) -> AsyncIterator[Outcome]:
                for change in changes:
                    if change.action == "delete" and not lost:
                        lost.append(change)
                        yield Outcome(change, "unknown", "no reply")
                    else:
                        async for outcome in apply([change]):
                            yield outcome

            bench.driver.apply = losing  # type: ignore[method-assign]
            bench.put(node("n1", "192.0.2.11", "10.244.7.0/24"))  # made anew, with other pods
            async with asyncio.timeout(10):
                await bench.until(lambda: bool(lost) and ROUTE not in bench.driver.resources)
            assert [change.identity for change in lost] == [ROUTE]

    story(tell, Bench(small()))


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


def test_virtual_time_is_virtual() -> None:
    """The clock of these tests starts where it says and jumps."""

    async def main() -> float:
        await asyncio.sleep(10_000)
        return asyncio.get_running_loop().time()

    assert virtually(main) == pytest.approx(START + 10_000)
