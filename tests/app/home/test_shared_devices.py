"""Devices shared over replicas: each is written by one at a time, all are looked after, and none moves without need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from isthmus.app.controller import Controller
from isthmus.app.sharing import Sharing
from isthmus.core.election import PROFILES, Terms
from isthmus.kube.kubeconfig import load

from .rig import Place, node, service, until

FAST = PROFILES["fast"]
DEVICES = [f"gw{number}" for number in range(1, 31)]


def sharing(home: Place, me: str, terms: Terms = FAST) -> Sharing:
    """Return the turn of a replica called ``me``."""
    return Sharing(load(home.endpoint.kubeconfig_path), "isthmus-system", terms, me=me)


def configure(home: Place) -> None:
    """Write thirty devices on one link, and nodes for them to reach."""
    home.join()
    for device in DEVICES:
        home.put("EdgeDevice", device, {"driver": "memory"})
    home.put("ClusterLink", "main", {"cluster": "prod", "devices": DEVICES, "path": "direct"})


def owners(*running: Controller) -> dict[str, list[str]]:
    """Return which of the replicas write to each device."""
    found: dict[str, list[str]] = {device: [] for device in DEVICES}
    for one in running:
        assert isinstance(one.turn, Sharing)
        for device in one.turn.shares.mine():
            found[device].append(one.turn.told()["identity"])
    return found


def once_each(*running: Controller) -> bool:
    """Say whether each device has exactly one writer."""
    return all(len(names) == 1 for names in owners(*running).values())


def rising(home: Place) -> bool:
    """Say whether the terms in which each device was written only rise: no older writer came after a newer one."""
    return all(home.epochs[device] == sorted(home.epochs[device]) for device in DEVICES)


async def everywhere(home: Place, routes: int) -> None:
    """Wait until every device has that many routes."""
    await until(lambda: all(len(home.routes(device)) == routes for device in DEVICES), 20)


async def die(running: Controller) -> None:
    """End what a controller does to the outside, as SIGKILL would: nothing is given back."""
    assert isinstance(running.turn, Sharing)

    async def nothing() -> None:
        return None

    running.turn.release = nothing  # type: ignore[method-assign]
    running.stop()


@asynccontextmanager
async def watched(*running: Controller) -> AsyncIterator[None]:
    """See all the time that no device has two writers."""

    async def watch() -> None:
        while True:
            assert all(len(names) <= 1 for names in owners(*running).values()), owners(*running)
            await asyncio.sleep(0.005)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        for ended in await asyncio.gather(task, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended


async def test_thirty_devices_over_three_replicas(home: Place) -> None:
    """Shared fairly, written once each; a death and a newcomer move what they must and nothing else."""
    configure(home)
    async with AsyncExitStack() as stack:
        one, two, three = [
            await stack.enter_async_context(home.controller(turn=sharing(home, name))) for name in "abc"
        ]
        async with watched(one, two, three):
            await until(lambda: once_each(one, two, three), 20, lambda: owners(one, two, three))
            await everywhere(home, 3)
            shared = {name: [d for d, who in owners(one, two, three).items() if who == [name]] for name in "abc"}
            assert all(len(devices) >= 4 for devices in shared.values())
            before = owners(one, two, three)
            await die(three)
            home.api.put(node(4))
            await until(lambda: once_each(one, two), 8, lambda: owners(one, two))
            kept = {device: who for device, who in before.items() if who != ["c"]}
            assert {device: owners(one, two)[device] for device in kept} == kept
            await everywhere(home, 4)
            assert rising(home)
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(home.controller(turn=sharing(home, "a")))]
        await until(lambda: once_each(*running), 20, lambda: owners(*running))
        before = owners(*running)
        running.append(await stack.enter_async_context(home.controller(turn=sharing(home, "d"))))
        async with watched(*running):
            await until(lambda: sum(who == ["d"] for who in owners(*running).values()) >= 8, 20)
            await until(lambda: once_each(*running), 20, lambda: owners(*running))
            home.api.put(node(5))
            await everywhere(home, 5)
            assert rising(home)


async def test_each_says_how_its_own_devices_stand_and_the_leader_the_rest(home: Place) -> None:
    """Statuses of devices and of all else are true whoever writes them; a Service on another's device is served."""
    configure(home)
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    async with (
        home.controller(turn=sharing(home, "a")) as one,
        home.controller(turn=sharing(home, "b")) as two,
    ):
        await until(lambda: once_each(one, two), 20, lambda: owners(one, two))
        home.api.put(service("web"))
        for device in DEVICES:
            await until(
                lambda d=device: home.is_so("EdgeDevice", d, "Ready"),
                20,
                lambda d=device: home.status("EdgeDevice", d),
            )  # type: ignore[misc]
        await until(lambda: home.is_so("VirtualIP", "198.51.100.0", "Ready"), 20)
        vip = "vip 198.51.100.0"
        await until(lambda: all(vip in home.device(device).resources for device in DEVICES), 20)
        await until(lambda: home.is_so("ClusterLink", "main", "Ready"), 20)
        leaders = [one.turn.told()["role"], two.turn.told()["role"]]
        assert sorted(leaders) == ["leader", "standby"]


async def test_a_late_heartbeat_makes_sure_before_it_writes_on(home: Place) -> None:
    """Past the renew deadline nothing is written; after it each device is confirmed, in the term that it was in."""
    configure(home)
    async with home.controller(turn=sharing(home, "a")) as one:
        await until(lambda: once_each(one), 20, lambda: owners(one))
        await everywhere(home, 3)
        terms = {device: one.turn.of(device).epoch for device in DEVICES}
        home.api.faults.fail_next(10_000, status=503, resource="leases")
        await until(lambda: not any(owners(one).values()))
        writes = home.device("gw1").writes
        home.api.put(node(4))
        await asyncio.sleep(0.5)
        assert home.device("gw1").writes == writes
        home.api.faults._failures.clear()
        await everywhere(home, 4)
        assert {device: one.turn.of(device).epoch for device in DEVICES} == terms
