"""What a NetScaler is asked to write, counted on its side: the objects themselves, and little besides.

A write is a row of a request that asks for a change, whatever the number of requests that carry the rows; both are counted.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network

import msgspec

from isthmus.drivers.netscaler.driver import NetScalerDriver
from isthmus.lab.nitro.faults import READING
from isthmus.model.resources import (
    ZERO_MAC,
    AnyResource,
    FdbEntry,
    Member,
    Route,
    SourceAddress,
    SourceProfile,
    VirtualAddress,
    VirtualServer,
)

from ..bench import by_identity, converge
from . import things
from .yard import Yard

SOURCE = ip_address("198.18.0.1")


def node(number: int) -> list[AnyResource]:
    """Return what a node is to a device that finds neighbors by flooding."""
    hop = ip_address(int(SOURCE) + number)
    return [
        FdbEntry(
            "isth7001", ZERO_MAC, ip_address(int(ip_address("192.0.2.0")) + 256 * (number // 200) + number % 200 + 20)
        ),
        Route(ip_network((int(ip_address("10.128.0.0")) + 256 * number, 24)), hop, "isth7001"),
    ]


def service(number: int, members: int = 3) -> list[AnyResource]:
    """Return a virtual server with its VIP."""
    vip = ip_address(int(ip_address("198.51.0.0")) + number + 1)
    pods = tuple(
        Member(ip_address(int(ip_address("10.128.0.10")) + 256 * (number + n)), 8080) for n in range(members)
    )
    return [VirtualServer(vip, "tcp", 80, pods, SOURCE), VirtualAddress(vip, "*")]


def cluster(nodes: int, services: int) -> dict[str, AnyResource]:
    """Return a whole cluster's wishes."""
    base: list[AnyResource] = [
        things.tunnel(),
        SourceAddress(ip_interface(f"{SOURCE}/16"), "isth7001"),
        SourceProfile(SOURCE),
    ]
    parts = [*(node(n) for n in range(nodes)), *(service(n) for n in range(services))]
    return by_identity(*base, *(one for part in parts for one in part))


def writes(counts: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Return what was written, by verb and kind."""
    return {f"{verb} {kind}": count for (verb, kind), count in sorted(counts.items()) if verb not in READING}


async def opened(yard: Yard, epoch: int = 1) -> NetScalerDriver:
    driver = yard.driver(epoch=epoch, saveAfter="200ms")
    await driver.open()
    await driver.prepare()
    return driver


async def counted(
    yard: Yard, driver: NetScalerDriver, wanted: Mapping[str, AnyResource]
) -> tuple[Counter[str], Counter[str]]:
    """Bring the device to ``wanted``, saved; return the items and the requests that it was asked to write."""
    yard.device.faults.reset_counters()
    results = await converge(driver, wanted)
    assert [one.reason for one in results if one.result != "done"] == []
    await asyncio.sleep(0.5)  # the debounced save
    items, requests = writes(yard.device.faults.items), writes(yard.device.faults.requests)
    return Counter(items), Counter(requests)


async def test_a_first_sync_writes_the_objects_and_the_ledger(yard: Yard) -> None:
    """50 nodes and 50 virtual servers: each object once, three lines of the ledger with their set, and one save."""
    driver = await opened(yard)
    items, requests = await counted(yard, driver, cluster(50, 50))
    objects = {
        "add vxlan": 1,
        "add vxlan_srcip_binding": 1,
        "add nsip": 1 + 50,  # the address on the overlay, and the VIPs
        "add vxlan_nsip_binding": 1,
        "add netprofile": 1,
        "add bridgetable": 50,
        "add route": 50,
        "add servicegroup": 50,
        "add servicegroup_servicegroupmember_binding": 150,
        "add lbvserver": 50,
        "add lbvserver_servicegroup_binding": 50,
    }
    besides = {"add policypatset": 1, "add policypatset_pattern_binding": 3, "save nsconfig": 1}
    assert items == Counter(objects) + Counter(besides)
    assert items.total() <= 1.05 * Counter(objects).total()
    assert requests.total() <= 18, requests
    await driver.close()


async def test_one_node_that_joins_is_two_objects(yard: Yard) -> None:
    """An entry to flood to and a route lie in what is ours: they need no line of the ledger."""
    driver = await opened(yard)
    await counted(yard, driver, cluster(50, 50))
    items, requests = await counted(yard, driver, cluster(51, 50))
    assert items == Counter({"add bridgetable": 1, "add route": 1, "save nsconfig": 1})
    assert requests == items
    await driver.close()


async def test_one_member_that_changes_is_one_write(yard: Yard) -> None:
    """A member that comes, drains, returns or goes is one row; one that gives way to another is two."""
    driver = await opened(yard)
    wanted = cluster(5, 5)
    await counted(yard, driver, wanted)
    [server, _] = service(2)
    assert isinstance(server, VirtualServer)
    binding = "servicegroup_servicegroupmember_binding"
    last = server.members[-1]
    steps: list[tuple[tuple[Member, ...], dict[str, int]]] = [
        ((*server.members, Member(last.address, 9090)), {f"add {binding}": 1}),
        ((*server.members, Member(last.address, 9090, 0)), {"disable servicegroup": 1}),
        ((*server.members, Member(last.address, 9090)), {"enable servicegroup": 1}),
        (server.members, {f"delete {binding}": 1}),
        ((*server.members[:-1], Member(last.address, 9090)), {f"delete {binding}": 1, f"add {binding}": 1}),
    ]
    for members, expected in steps:
        changed = msgspec.structs.replace(server, members=tuple(sorted(members)))
        items, _ = await counted(yard, driver, {**wanted, changed.identity: changed})
        assert items == Counter({**expected, "save nsconfig": 1})
    await driver.close()


async def test_a_route_of_its_own_needs_its_line(yard: Yard) -> None:
    """A direct route lies in nothing of ours: its line is written before it, and goes after it."""
    driver = await opened(yard)
    route = Route(ip_network("10.244.1.0/24"), ip_address("192.0.2.11"), "vlan1")
    await counted(yard, driver, {})
    items, _ = await counted(yard, driver, by_identity(route))
    assert items == Counter(
        {"add route": 1, "add policypatset": 1, "add policypatset_pattern_binding": 2, "save nsconfig": 1}
    ), "the set and the writer's own line come with the first write"
    moved = msgspec.structs.replace(route, via=ip_address("192.0.2.12"))
    items, _ = await counted(yard, driver, by_identity(moved))
    lines = "policypatset_pattern_binding"
    assert items == Counter(
        {"add route": 1, "delete route": 1, f"add {lines}": 1, f"delete {lines}": 1, "save nsconfig": 1}
    )
    items, _ = await counted(yard, driver, {})
    assert items == Counter({"delete route": 1, f"delete {lines}": 1, "save nsconfig": 1})
    await driver.close()


async def test_a_restart_in_sync_writes_nothing(yard: Yard) -> None:
    """1,000 nodes and 1,000 virtual servers are read back within ten seconds at 20 ms a request, and nothing is written."""
    yard.device.write(
        "POST", "nsip", {"nsip": {"ipaddress": "192.0.3.1", "netmask": "255.255.240.0", "type": "SNIP"}}
    )
    driver = await opened(yard)
    wanted = cluster(1000, 1000)
    await counted(yard, driver, wanted)
    await driver.close()
    yard.device.faults.delay(0.02)
    yard.device.faults.reset_counters()
    began = time.monotonic()
    again = await opened(yard, epoch=2)
    assert await converge(again, wanted) == []
    took = time.monotonic() - began
    assert writes(yard.device.faults.items) == {}
    assert sum(yard.device.faults.requests.values()) <= 40
    assert took <= 10, f"{took:.1f} s"
    yard.device.faults.delay(0.0)
    await again.close()
