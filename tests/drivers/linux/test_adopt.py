"""What is not taken over on a Linux gateway even by order, because packets would be lost by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network

import pytest

from isthmus.drivers.linux import LinuxDriver
from isthmus.model.plan import Change
from isthmus.model.resources import AnyResource, Route, Tunnel, VirtualAddress

from ..bench import outcomes
from .conftest import run

pytestmark = pytest.mark.packets


@pytest.fixture
async def driver(underlay: str) -> AsyncIterator[LinuxDriver]:
    driver = LinuxDriver()
    await driver.open()
    await driver.prepare()
    yield driver
    await driver.close()


async def adopt(driver: LinuxDriver, wanted: AnyResource) -> tuple[str, str]:
    """Order ``wanted`` in the place of what stands there; return the result and its reason."""
    foreign = (await driver.observe()).foreign[wanted.identity]
    [one] = await outcomes(driver, [Change("create", wanted.identity, None, wanted, adopts=foreign)])
    return one.result, one.reason


async def test_an_interfaces_own_address_is_left_alone(driver: LinuxDriver, underlay: str) -> None:
    """The address by which the gateway reaches its segment does not become a VIP elsewhere."""
    result, reason = await adopt(driver, VirtualAddress(ip_address("192.0.2.1"), "lo"))
    assert result == "refused"
    assert "with its subnet" in reason
    assert "192.0.2.1/24" in run("ip", "addr", "show", "dev", underlay)
    assert "192.0.2.1/32" not in run("ip", "addr", "show", "dev", "lo")


async def test_a_segments_route_is_left_alone(driver: LinuxDriver, underlay: str) -> None:
    """The kernel's own route of a connected subnet stays."""
    result, reason = await adopt(driver, Route(ip_network("192.0.2.0/24"), ip_address("192.0.2.9"), underlay))
    assert result == "refused"
    assert "kernel's own" in reason
    assert "proto kernel" in run("ip", "route", "show", "192.0.2.0/24")


async def test_a_host_address_moves_to_where_it_is_wanted(driver: LinuxDriver, underlay: str) -> None:
    """A foreign host address on another link comes up where it is wanted before it goes where it was."""
    run("ip", "addr", "add", "203.0.113.60/32", "dev", "lo")
    assert await adopt(driver, VirtualAddress(ip_address("203.0.113.60"), underlay)) == ("done", "")
    assert "203.0.113.60" not in run("ip", "addr", "show", "dev", "lo")
    assert "203.0.113.60/32" in run("ip", "addr", "show", "dev", underlay)


async def test_an_address_other_than_the_one_named_is_left_alone(driver: LinuxDriver, underlay: str) -> None:
    """What has come to stand there since the order was given was not in it."""
    wanted = VirtualAddress(ip_address("203.0.113.60"), underlay)
    run("ip", "addr", "add", "203.0.113.60/32", "dev", "lo")
    named = (await driver.observe()).foreign[wanted.identity]
    run("ip", "addr", "del", "203.0.113.60/32", "dev", "lo")
    run("ip", "link", "add", "theirs", "up", "type", "bridge")
    run("ip", "addr", "add", "203.0.113.60/32", "dev", "theirs")
    [one] = await outcomes(driver, [Change("create", wanted.identity, None, wanted, adopts=named)])
    assert one.result == "refused"
    assert "not what was to be taken over" in one.reason
    assert "203.0.113.60" in run("ip", "addr", "show", "dev", "theirs")


async def test_several_routes_at_one_prefix_become_one(driver: LinuxDriver, underlay: str) -> None:
    """Where others have left routes of several metrics, ours alone is left."""
    for metric in ("0", "50", "100"):
        run("ip", "route", "add", "10.97.0.0/16", "via", "192.0.2.200", "dev", underlay, "metric", metric)
    wanted = Route(ip_network("10.97.0.0/16"), ip_address("192.0.2.11"), underlay)
    assert await adopt(driver, wanted) == ("done", "")
    assert (
        run("ip", "route", "show", "10.97.0.0/16").strip() == f"10.97.0.0/16 via 192.0.2.11 dev {underlay} proto 200"
    )


async def test_a_tunnel_is_refused(driver: LinuxDriver, underlay: str) -> None:
    """A foreign link at our tunnel's name stays, whatever the order."""
    run("ip", "link", "add", "isth0", "type", "bridge")
    tunnel = Tunnel("isth0", 7001, 47001, ip_address("192.0.2.1"), "02:00:00:00:70:01", 1450, underlay)
    result, reason = await adopt(driver, tunnel)
    assert result == "refused"
    assert "not ours" in reason
    assert "bridge" in run("ip", "-d", "link", "show", "isth0")
