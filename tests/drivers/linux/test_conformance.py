"""The Linux gateway answers what every driver is asked, in a network namespace of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from isthmus.drivers.linux import LinuxDriver
from isthmus.model.resources import Neighbor, Route, VirtualAddress

from ..bench import Bench
from ..conformance import ConformanceSuite
from .conftest import run

pytestmark = pytest.mark.packets


class IpHand:
    """Change routes with ``ip``, as a person at the gateway would."""

    def add_foreign_route(self, route: Route) -> None:
        run("ip", "route", "add", str(route.prefix), "via", str(route.via), "dev", route.link, "proto", "static")

    def has_foreign_route(self, route: Route) -> bool:
        shown = run("ip", f"-{route.prefix.version}", "route", "show", str(route.prefix)).strip()
        return shown == f"{route.prefix} via {route.via} dev {route.link} proto static"

    def add_foreign_neighbor(self, neighbor: Neighbor) -> None:
        run(
            "ip",
            "neigh",
            "add",
            str(neighbor.address),
            "lladdr",
            neighbor.mac,
            "dev",
            neighbor.link,
            "nud",
            "permanent",
        )

    def add_foreign_address(self, address: VirtualAddress) -> None:
        run("ip", "addr", "add", str(address.address), "dev", address.link)

    def remove_route(self, route: Route) -> None:
        run("ip", f"-{route.prefix.version}", "route", "del", str(route.prefix))


class TestLinux(ConformanceSuite):
    @pytest.fixture
    async def bench(self, underlay: str) -> AsyncIterator[Bench]:
        driver = LinuxDriver()
        await driver.open()
        await driver.prepare()
        yield Bench(driver, IpHand(), underlay, lambda: LinuxDriver("other", 201))
        await driver.close()
