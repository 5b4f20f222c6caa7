"""The device in memory answers the same questions as a real one, and can be made to fail."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from isthmus.drivers.base import ProbeTarget
from isthmus.drivers.memory import MemoryDriver, lose_reply, raise_error, refuse
from isthmus.errors import DeviceUnreachable
from isthmus.model.facts import DeviceFacts, Interface
from isthmus.model.plan import Change
from isthmus.model.resources import Neighbor, Route, VirtualAddress

from .bench import Bench, by_identity, changes_between, converge, outcomes
from .conformance import ConformanceSuite

FACTS = DeviceFacts(
    (
        Interface("lo", mtu=65536, addresses=(ip_interface("127.0.0.1/8"),)),
        Interface("eth0", "02:00:00:00:00:01", 1500, (ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64"))),
    )
)


class MemoryHand:
    """Change the dicts directly."""

    def __init__(self, driver: MemoryDriver) -> None:
        self.driver = driver

    def add_foreign_route(self, route: Route) -> None:
        self.driver.plant(route.identity, f"kernel {route.describe()} proto static")

    def has_foreign_route(self, route: Route) -> bool:
        return route.describe() in self.driver.foreign.get(route.identity, "")

    def add_foreign_neighbor(self, neighbor: Neighbor) -> None:
        self.driver.plant(neighbor.identity, f"{neighbor.describe()} permanent")

    def add_foreign_address(self, address: VirtualAddress) -> None:
        self.driver.plant(address.identity, f"{address.describe()} (not ours)")

    def remove_route(self, route: Route) -> None:
        self.driver.lose(route.identity)


@pytest.fixture
async def memory() -> MemoryDriver:
    driver = MemoryDriver(facts=FACTS)
    await driver.open()
    return driver


class TestMemory(ConformanceSuite):
    @pytest.fixture
    async def bench(self, memory: MemoryDriver) -> Bench:
        return Bench(memory, MemoryHand(memory), "eth0")


ROUTES = [Route(ip_network(f"10.244.{n}.0/24"), ip_address(f"192.0.2.{n}"), "eth0") for n in range(1, 5)]


async def test_what_stands_costs_no_write(memory: MemoryDriver) -> None:
    """Writes count what altered something; applying it again alters nothing."""
    changes = changes_between({}, by_identity(*ROUTES))
    await outcomes(memory, changes)
    await outcomes(memory, changes)
    assert memory.writes == len(ROUTES)
    assert memory.applies == 2


async def test_a_refusal_strikes_once(memory: MemoryDriver) -> None:
    """A planted refusal hurts the change it names, once, with its reason."""
    memory.fail_next(refuse("table full", identity=ROUTES[2].identity))
    results = await converge(memory, by_identity(*ROUTES))
    assert [(o.change.identity, o.reason) for o in results if o.result == "refused"] == [
        (ROUTES[2].identity, "table full")
    ]
    assert [o.result for o in await converge(memory, by_identity(*ROUTES))] == ["done"]


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_lost_reply_hides_what_happened(memory: MemoryDriver, carried_out: bool) -> None:
    """After a lost reply the change may or may not stand; reading that identity tells."""
    memory.fail_next(lose_reply(carried_out=carried_out))
    [outcome] = await outcomes(memory, [Change("create", ROUTES[0].identity, None, ROUTES[0])])
    assert outcome.result == "unknown"
    assert (ROUTES[0].identity in (await memory.observe([ROUTES[0].identity])).resources) == carried_out


async def test_a_death_half_way_leaves_half(memory: MemoryDriver) -> None:
    """When the device dies in the middle, what came before stands and the rest does not."""
    memory.fail_next(raise_error(identity=ROUTES[2].identity))
    with pytest.raises(DeviceUnreachable):
        await converge(memory, by_identity(*ROUTES))
    assert set(memory.resources) == {route.identity for route in ROUTES[:2]}
    assert len(await converge(memory, by_identity(*ROUTES))) == 2


async def test_adapt_declines_what_it_is_told_to(memory: MemoryDriver) -> None:
    """A declined identity is left out with its reason; others stay."""
    memory.refuses[ROUTES[0].identity] = "not on this device"
    adapted = memory.adapt(by_identity(*ROUTES))
    assert adapted.refused == {ROUTES[0].identity: "not on this device"}
    assert set(adapted.resources) == {route.identity for route in ROUTES[1:]}


async def test_our_own_writes_are_no_drift(memory: MemoryDriver) -> None:
    """Drift is what somebody else did."""
    drifting = asyncio.create_task(memory.drift())
    await converge(memory, by_identity(*ROUTES))
    await asyncio.sleep(0)
    assert not drifting.done()
    memory.tamper(Route(ROUTES[0].prefix, ip_address("192.0.2.77"), "eth0"))
    await asyncio.wait_for(drifting, 1)


async def test_an_unreachable_device_says_so(memory: MemoryDriver) -> None:
    """Switched off, it neither opens nor observes."""
    memory.reachable = False
    with pytest.raises(DeviceUnreachable):
        await memory.open()
    with pytest.raises(DeviceUnreachable):
        await memory.observe()


async def test_probes_answer_unless_silent(memory: MemoryDriver) -> None:
    """Each target gets an answer in order."""
    memory.silent.add(ip_address("192.0.2.9"))
    answers = await memory.probe([ProbeTarget(ip_address("192.0.2.8")), ProbeTarget(ip_address("192.0.2.9"))])
    assert [answer.reached for answer in answers] == [True, False]
    assert answers[1].why
