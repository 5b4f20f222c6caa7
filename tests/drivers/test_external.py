"""A device that somebody else configures: it is described, and never reached for."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from isthmus.drivers.base import ProbeTarget
from isthmus.drivers.external import ExternalDevice
from isthmus.errors import DeviceUnsupported
from isthmus.model.plan import Change
from isthmus.model.resources import ZERO_MAC, Route, SourceAddress, VirtualServer

ROUTE = Route(ip_network("10.244.1.0/24"), ip_address("10.200.0.1"), "isth7700")


def made(mac: str | None = None) -> ExternalDevice:
    return ExternalDevice((ip_address("192.0.2.60"),), mac, 1500)


async def test_what_was_said_is_what_stands() -> None:
    """What was applied is observed until it is taken back, and asking for one thing shows that one alone."""
    device = made()
    address = SourceAddress(ip_interface("10.200.0.254/24"), "isth7700")
    steps = [Change("create", one.identity, None, one) for one in (ROUTE, address)]
    assert [outcome.result async for outcome in device.apply(steps)] == ["done", "done"]
    assert (await device.observe()).resources == {ROUTE.identity: ROUTE, address.identity: address}
    assert (await device.observe({ROUTE.identity})).resources == {ROUTE.identity: ROUTE}
    assert [o.result async for o in device.apply([Change("delete", ROUTE.identity, ROUTE, None)])] == ["done"]
    assert (await device.observe()).resources == {address.identity: address}


async def test_its_own_mac_is_told_or_found_by_asking() -> None:
    """Nodes get the MAC that its spec says; without one they get the zero MAC, which floods."""
    assert (await made("02:00:5e:10:00:02").observe()).facts.traits.tunnel_mac == "02:00:5e:10:00:02"
    facts = (await made().observe()).facts
    assert facts.traits.tunnel_mac == ZERO_MAC
    assert facts.holding(ip_address("192.0.2.60")) is not None
    assert facts.on_segment(ip_address("192.0.2.61")) is None


def test_services_are_not_described() -> None:
    """How a Service is served is no part of the overlay: such a wish is refused with the way out."""
    server = VirtualServer(ip_address("198.51.100.1"), "tcp", 80)
    adapted = made().adapt({ROUTE.identity: ROUTE, server.identity: server})
    assert list(adapted.resources) == [ROUTE.identity]
    assert "services: false" in adapted.refused[server.identity]


async def test_nobody_is_called_silent() -> None:
    """It cannot be asked to look, and says so instead of calling nodes unreachable."""
    with pytest.raises(DeviceUnsupported, match="cannot be asked"):
        await made().probe([ProbeTarget(ip_address("10.200.0.1"))])
