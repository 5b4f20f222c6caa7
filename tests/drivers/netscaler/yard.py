"""The lab's appliance with a segment of its own, drivers that talk to it, and a hand that changes it past them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import msgspec

from isthmus.drivers.netscaler.driver import NetScalerDriver
from isthmus.lab.nitro import Appliance, Endpoint, serving
from isthmus.model.resources import (
    AnyResource,
    MssClamp,
    Neighbor,
    PortFilter,
    Route,
    SourceProfile,
    VirtualAddress,
    VirtualServer,
)

from .nitro.rig import Given, appliance, options

UNDERLAY = "vlan1"


@dataclass
class Yard:
    """One device, and as many drivers as a test makes."""

    device: Appliance
    endpoint: Endpoint
    drivers: list[NetScalerDriver] = field(default_factory=list)

    def driver(self, *, epoch: int = 1, interval: float = 0.2, sleep: Any = None, **more: Any) -> NetScalerDriver:
        """Return a driver, not yet open; ``more`` is what a user writes besides."""
        said = options(self.endpoint.url, **{"tunnelMac": "02:00:00:00:70:01", **more})
        timing = {} if sleep is None else {"sleep": sleep}
        made = NetScalerDriver("adc1", said, Given(), lambda: epoch, interval=interval, **timing)
        self.drivers.append(made)
        return made

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Return what the device holds of a kind."""
        return [dict(row) for row in self.device.running.table(kind).values()]


@contextlib.asynccontextmanager
async def open_yard(**more: Any) -> AsyncIterator[Yard]:
    """Let a device listen that has a segment with 192.0.2.1/24 and 2001:db8::1/64, and load balancing on."""
    device = appliance(**more)
    device.write("POST", "nsip", {"nsip": {"ipaddress": "192.0.2.1", "netmask": "255.255.255.0", "type": "SNIP"}})
    device.write("POST", "nsip6", {"nsip6": {"ipv6address": "2001:db8::1/64", "type": "SNIP"}})
    device.write("POST", "nsfeature", {"nsfeature": {"feature": ["LB"]}}, "action=enable")
    device.config.end_save()
    async with serving(device) as endpoint:
        yard = Yard(device, endpoint)
        try:
            yield yard
        finally:
            device.faults.clear()
            for driver in yard.drivers:
                await driver.close()


@dataclass
class AdcHand:
    """Somebody else who logs in and changes things."""

    device: Appliance

    def add(self, kind: str, **fields: Any) -> None:
        self.device.write("POST", kind, {kind: fields})

    def add_foreign_route(self, route: Route) -> None:
        kind, row = _route(route)
        self.add(kind, **row)

    def has_foreign_route(self, route: Route) -> bool:
        kind, row = _route(route)
        return bool(self.device.running.find(kind, **row))

    def add_foreign_neighbor(self, neighbor: Neighbor) -> None:
        self.add("arp", ipaddress=str(neighbor.address), mac=neighbor.mac)

    def add_foreign_address(self, address: VirtualAddress) -> None:
        if address.address.version == 4:
            self.add("nsip", ipaddress=str(address.address), netmask="255.255.255.255", type="VIP")
        else:
            self.add("nsip6", ipv6address=f"{address.address}/128", type="VIP")

    def remove_route(self, route: Route) -> None:
        kind, row = _route(route)
        words = ",".join(f"{name}:{text}" for name, text in row.items())
        self.device.write("DELETE", kind, query=f"args={words}")


def _route(route: Route) -> tuple[str, dict[str, str]]:
    if route.prefix.version == 4:
        mask = str(route.prefix.netmask)
        return "route", {"network": str(route.prefix.network_address), "netmask": mask, "gateway": str(route.via)}
    return "route6", {"network": str(route.prefix), "gateway": str(route.via)}


def fit(wished: Mapping[str, AnyResource]) -> dict[str, AnyResource]:
    """Return what of a Linux gateway's wishes a NetScaler can have, as a path would wish it of one.

    No filters, clamps and SCTP, neighbors with their tunnel end and none on segments, routes through subnets alone, and a net
    profile for each sender that stands.
    """
    found: list[AnyResource] = []
    for one in wished.values():
        match one:
            case MssClamp() | PortFilter() | VirtualServer(protocol="sctp"):
                continue
            case Neighbor(link=link) if link == UNDERLAY:
                continue
            case Neighbor(address=address):
                found.append(msgspec.structs.replace(one, vtep=ip_address(f"192.0.2.{int(address) & 255}")))
            case Route():
                found.append(msgspec.structs.replace(one, onlink=False, source=None))
            case VirtualServer(source=source) if source is not None:
                if f"source {source}" in wished:
                    found += [SourceProfile(source), one]
                else:
                    found.append(msgspec.structs.replace(one, source=None))
            case _:
                found.append(one)
    return {one.identity: one for one in found}
