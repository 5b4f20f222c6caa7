"""VIPs that may stand on one gateway alone: they lapse without their agent, and are taken only where nobody has them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_address
from typing import Any

import pytest

from isthmus.drivers.base import Outcome
from isthmus.drivers.linux import LinuxDriver, vips
from isthmus.drivers.linux.kernel import Kernel
from isthmus.drivers.linux.links import NEW_ADDRESS
from isthmus.drivers.linux.netlink import Message, Reply
from isthmus.drivers.linux.owner import Owner
from isthmus.drivers.linux.segment import answering, read_claim
from isthmus.model.plan import Change
from isthmus.model.resources import IPAddress, VirtualAddress

from ..bench import by_identity, settle
from .conftest import run
from .yard import inside, ping

pytestmark = pytest.mark.packets

VIPS = {4: "192.0.2.50", 6: "2001:db8::50"}
OTHER_MAC = "02:00:00:00:00:99"


@pytest.fixture
async def gateway(underlay: str, other_networks: list[str]) -> AsyncIterator[LinuxDriver]:
    """Return an open driver whose segment's other end is a host with addresses of its own."""
    run("ip", "-n", "seg", "link", "set", "seg0", "address", OTHER_MAC)
    run("ip", "-n", "seg", "address", "add", "192.0.2.100/24", "dev", "seg0")
    run("ip", "-n", "seg", "address", "add", "2001:db8::100/64", "dev", "seg0", "nodad")
    driver = LinuxDriver()
    await driver.open()
    await driver.prepare()
    yield driver
    await driver.close()


def vip(version: int, *, lapses: bool = True) -> VirtualAddress:
    return VirtualAddress(ip_address(VIPS[version]), "up0", lapses)


def length(version: int) -> str:
    return "32" if version == 4 else "128"


def standing(version: int) -> str:
    """Return what ``ip`` says of the VIP."""
    return run("ip", "-o", "address", "show", "dev", "up0", "to", f"{VIPS[version]}/{length(version)}")


async def until(true: bool, version: int, *, timeout: float) -> float:
    """Wait until the VIP stands, or does not, and return how many seconds that took."""
    began = time.monotonic()
    while bool(standing(version)) != true:
        assert time.monotonic() - began < timeout, standing(version)
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def other_takes(version: int) -> None:
    nodad = ["nodad"] if version == 6 else []
    run("ip", "-n", "seg", "address", "add", f"{VIPS[version]}/{length(version)}", "dev", "seg0", *nodad)


def other_leaves(version: int) -> None:
    run("ip", "-n", "seg", "address", "del", f"{VIPS[version]}/{length(version)}", "dev", "seg0")


async def one(driver: LinuxDriver, change: Change) -> Outcome:
    [outcome] = [outcome async for outcome in driver.apply([change])]
    return outcome


@pytest.mark.parametrize("version", [4, 6])
async def test_a_lapsing_vip_stands_while_its_agent_lives(gateway: LinuxDriver, version: int) -> None:
    """Far beyond one lifetime it answers, reads back as wanted, and its refreshing is no drift."""
    await settle(gateway, by_identity(vip(version)))
    drift = asyncio.create_task(gateway.drift())
    for _ in range(45):
        assert "valid_lft 3sec" in standing(version) or "valid_lft 2sec" in standing(version)
        await asyncio.sleep(0.1)
    await ping(VIPS[version])
    assert (await gateway.observe()).resources[f"vip {VIPS[version]}"] == vip(version)
    assert not drift.done()
    drift.cancel()


@pytest.mark.parametrize("version", [4, 6])
async def test_it_lapses_when_nobody_refreshes_it(gateway: LinuxDriver, version: int) -> None:
    """Between two and four seconds after the agent's end the kernel has taken it down; a permanent one stays."""
    other = ip_address("192.0.2.51" if version == 4 else "2001:db8::51")
    await settle(gateway, by_identity(vip(version), VirtualAddress(other, "up0")))
    await gateway.close()
    assert 1.5 < await until(False, version, timeout=6) < 4.5
    assert str(other) in run("ip", "address", "show", "dev", "up0")


@pytest.mark.parametrize("version", [4, 6])
async def test_the_next_process_keeps_what_the_last_put_up(gateway: LinuxDriver, version: int) -> None:
    """An agent that is back within the lifetime refreshes what it finds of ours, before any order."""
    await settle(gateway, by_identity(vip(version)))
    await gateway.close()
    await gateway.open()
    await gateway.prepare()
    for _ in range(45):
        assert standing(version)
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("version", [4, 6])
async def test_a_vip_can_become_permanent_and_back(gateway: LinuxDriver, version: int) -> None:
    """Its lifetime is a value like any other: one update, no gap, and the second plan is empty."""
    await settle(gateway, by_identity(vip(version)))
    await settle(gateway, by_identity(vip(version, lapses=False)))
    assert "valid_lft forever" in standing(version)
    await asyncio.sleep(1.2)
    assert "valid_lft forever" in standing(version)
    await settle(gateway, by_identity(vip(version)))
    assert "sec" in standing(version)
    await settle(gateway, {})
    await asyncio.sleep(1.2)
    assert not standing(version)


@pytest.mark.parametrize("version", [4, 6])
async def test_it_is_not_taken_while_somebody_answers(gateway: LinuxDriver, version: int) -> None:
    """The outcome is unknown and names the other's MAC; nothing stands here; once the other left, it is taken."""
    other_takes(version)
    wanted = vip(version)
    change = Change("create", wanted.identity, None, wanted)
    outcome = await one(gateway, change)
    assert (outcome.result, standing(version)) == ("unknown", "")
    assert OTHER_MAC in outcome.reason
    assert VIPS[version] in outcome.reason
    assert wanted.identity not in (await gateway.observe()).resources
    other_leaves(version)
    assert (await one(gateway, change)).result == "done"
    await ping(VIPS[version])


@pytest.mark.parametrize("version", [4, 6])
async def test_who_was_stopped_after_asking_asks_again(
    gateway: LinuxDriver, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the question and the deed another has taken it: it is not put up, and taken once it is free."""
    monkeypatch.setattr(vips, "_FRESH", 0.0)
    asked = []

    async def answers(*question: Any) -> dict[IPAddress, str]:
        found = await answering(*question)
        if not asked:
            other_takes(version)
        asked.append(found)
        return found

    monkeypatch.setattr(vips, "answering", answers)
    wanted = vip(version)
    outcome = await one(gateway, Change("create", wanted.identity, None, wanted))
    assert (outcome.result, len(asked)) == ("unknown", 2)
    assert OTHER_MAC in outcome.reason
    assert not standing(version)
    monkeypatch.undo()
    other_leaves(version)
    await settle(gateway, by_identity(wanted))


@pytest.mark.parametrize("version", [4, 6])
async def test_who_was_stopped_in_the_deed_takes_it_down(
    gateway: LinuxDriver, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that came up long after its question goes again if another has it by now."""
    send = Kernel.send

    async def stopped(self: Kernel, messages: Sequence[Message]) -> Sequence[Reply]:
        if any(message.kind == NEW_ADDRESS for message in messages) and not standing(version):
            other_takes(version)
            await asyncio.sleep(1.2)
        return await send(self, messages)

    monkeypatch.setattr(Kernel, "send", stopped)
    wanted = vip(version)
    await one(gateway, Change("create", wanted.identity, None, wanted))
    assert not standing(version)
    await asyncio.sleep(1.5)
    assert not standing(version)


@pytest.mark.parametrize("version", [4, 6])
async def test_a_vip_that_was_let_go_is_announced_no_more(gateway: LinuxDriver, version: int) -> None:
    """Announcements are repeated for seconds; one after another has taken it would lead the segment back to us."""
    heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
    with heard:
        heard.bind(("up0", 3))
        wanted = vip(version)

        def claims() -> int:
            found = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    claim = read_claim(heard.recv(2048))
                    found += claim is not None and claim[2] and claim[0] == wanted.address.packed
            return found

        await settle(gateway, by_identity(wanted))
        await asyncio.sleep(0.2)
        assert claims(), "it was announced"
        assert (await one(gateway, Change("delete", wanted.identity, wanted, None))).result == "done"
        claims()
        await asyncio.sleep(2.5)
        assert claims() == 0


async def test_a_vip_moves_between_two_links_of_one_segment(gateway: LinuxDriver) -> None:
    """Our own answer from the link where it still stands is nobody else's."""
    run("ip", "link", "add", "up1", "type", "veth", "peer", "name", "seg1", "netns", "seg")
    run("ip", "-n", "seg", "link", "add", "br0", "type", "bridge")
    for port in ("seg0", "seg1"):
        run("ip", "-n", "seg", "link", "set", port, "master", "br0", "up")
    run("ip", "-n", "seg", "link", "set", "br0", "up")
    run("ip", "link", "set", "up1", "up")
    await asyncio.sleep(0.2)
    await settle(gateway, by_identity(vip(4)))
    moved = VirtualAddress(ip_address(VIPS[4]), "up1", lapses=True)
    outcome = await one(gateway, Change("update", moved.identity, vip(4), moved))
    assert (outcome.result, outcome.reason) == ("done", "")
    assert not standing(4)


@pytest.mark.parametrize("version", [4, 6])
async def test_of_two_who_ask_at_once_one_goes_on(gateway: LinuxDriver, version: int) -> None:
    """Neither has the address; the one with the lower MAC hears of nobody, the other hears of it."""
    address = ip_address(VIPS[version])

    def there() -> dict[object, str]:
        async def ask() -> dict[object, str]:
            kernel = Kernel(Owner("main", 200))
            try:
                return dict(await answering((await kernel.links()).by_name["seg0"], [address]))
            finally:
                kernel.close()

        return asyncio.run(ask())

    kernel = Kernel(Owner("main", 200))
    try:
        link = (await kernel.links()).by_name["up0"]
        mine, theirs = await asyncio.gather(answering(link, [address]), asyncio.to_thread(inside, "seg", there))
    finally:
        kernel.close()
    assert mine == {}
    assert theirs == {address: link.mac}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("taken", [False, True])
async def test_after_a_pause_it_is_taken_back_only_if_free(gateway: LinuxDriver, version: int, taken: bool) -> None:
    """A process that stood still for longer than the lifetime asks before it answers again, and needs no order for it."""
    await settle(gateway, by_identity(vip(version)))
    opened = gateway._open
    assert opened is not None
    refresher = opened.vips._refresher
    with refresher._lock:  # the thread that refreshes stands still
        await until(False, version, timeout=6)
        if taken:
            other_takes(version)
    if not taken:
        assert await until(True, version, timeout=4) < 2.5
        await ping(VIPS[version])
        return
    for _ in range(30):
        assert not standing(version)
        await asyncio.sleep(0.1)
    other_leaves(version)
    await asyncio.sleep(1.5)
    assert not standing(version), "whoever was replaced waits for an order"


@pytest.mark.parametrize("version", [4, 6])
async def test_a_process_whose_loop_hangs_lets_its_vips_lapse(gateway: LinuxDriver, version: int) -> None:
    """The thread that refreshes does so for a loop that turns; once it turns again, the VIP is taken back."""
    await settle(gateway, by_identity(vip(version)))
    opened = gateway._open
    assert opened is not None
    refresher = opened.vips._refresher
    beat = refresher.beat
    refresher.beat = lambda: None  # type: ignore[method-assign]
    refresher._beat -= 20
    assert await until(False, version, timeout=6) < 4.5
    refresher.beat = beat  # type: ignore[method-assign]
    assert await until(True, version, timeout=6) < 4.5


async def test_many_are_kept_alive(gateway: LinuxDriver) -> None:
    """A thousand VIPs put up in one plan all stand, through several lifetimes."""
    many = [VirtualAddress(ip_address("10.1.0.0") + number, "up0", lapses=True) for number in range(1000)]
    wanted = by_identity(*many)
    outcomes = [
        one async for one in gateway.apply([Change("create", name, None, one) for name, one in wanted.items()])
    ]
    assert {one.result for one in outcomes} == {"done"}
    for _ in range(12):
        await asyncio.sleep(0.5)
        assert dict((await gateway.observe()).resources) == wanted


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("taken", [False, True])
async def test_without_a_carrier_it_is_let_go(gateway: LinuxDriver, version: int, taken: bool) -> None:
    """Before another could take it, a VIP goes that nobody can ask about; with the carrier it is back if it is free."""
    await settle(gateway, by_identity(vip(version)))
    run("ip", "-n", "seg", "link", "set", "seg0", "down")
    assert await until(False, version, timeout=4) < 2
    wanted = vip(version)
    outcome = await one(gateway, Change("create", wanted.identity, None, wanted))
    assert outcome.result == "unknown"
    assert "no carrier" in outcome.reason
    if taken:
        other_takes(version)
    run("ip", "-n", "seg", "link", "set", "seg0", "up")
    if not taken:
        assert await until(True, version, timeout=4) < 3
        return
    for _ in range(25):
        assert not standing(version)
        await asyncio.sleep(0.1)
