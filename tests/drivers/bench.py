"""A driver on the bench: what somebody else can do to its device, and the states and steps that its tests are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Protocol, TypeAlias

from isthmus.drivers.base import Driver, Outcome
from isthmus.model.plan import Action, Change
from isthmus.model.resources import (
    ZERO_MAC,
    AnyResource,
    FdbEntry,
    Member,
    MssClamp,
    Neighbor,
    PortFilter,
    Route,
    SourceAddress,
    Tunnel,
    VirtualAddress,
    VirtualServer,
)


class Hand(Protocol):
    """Somebody else with access to the device."""

    def add_foreign_route(self, route: Route) -> None:
        """Put up a route that is not ours."""

    def has_foreign_route(self, route: Route) -> bool:
        """Say whether that foreign route still stands exactly so."""

    def add_foreign_neighbor(self, neighbor: Neighbor) -> None:
        """Put up a permanent neighbor that is not ours."""

    def add_foreign_address(self, address: VirtualAddress) -> None:
        """Put up a host address that is not ours."""

    def remove_route(self, route: Route) -> None:
        """Take one of our routes away behind the driver's back."""


Fit: TypeAlias = Callable[[Mapping[str, AnyResource]], dict[str, AnyResource]]


@dataclass(frozen=True)
class Bench:
    """An open driver, a somebody else, and what stands on the device from the start."""

    driver: Driver
    hand: Hand
    underlay: str
    """A link with 192.0.2.1/24 and 2001:db8::1/64."""
    other_installation: Callable[[], Driver] | None = None
    fit: Fit = dict
    """What of a wish can be wished for of this kind of device, and in which shape; all of it as it is, by default."""
    seen_by_others: frozenset[str] = frozenset({"tunnel isth0", "route 10.244.11.0/24", "vip 203.0.113.10"})
    """What another installation sees of everything, as things that are not its own."""

    def everything(self) -> dict[str, AnyResource]:
        """Return one of each kind that this device has, and more."""
        return self.fit(everything(self.underlay))


def by_identity(*resources: AnyResource) -> dict[str, AnyResource]:
    """Return the resources keyed as drivers want them."""
    return {resource.identity: resource for resource in resources}


def changes_between(before: Mapping[str, AnyResource], after: Mapping[str, AnyResource]) -> list[Change]:
    """Return the ordered changes from one state to another (make before break)."""
    forward: list[Change] = []
    for identity, resource in after.items():
        standing = before.get(identity)
        if standing != resource:
            action: Action = "create" if standing is None else "update"
            forward.append(Change(action, identity, standing, resource))
    gone = [
        Change("delete", identity, resource, None) for identity, resource in before.items() if identity not in after
    ]
    forward.sort(key=lambda change: (change.resource.rank, change.identity))
    gone.sort(key=lambda change: (-change.resource.rank, change.identity))
    return forward + gone


async def outcomes(driver: Driver, changes: Sequence[Change]) -> list[Outcome]:
    """Apply and return the outcomes."""
    return [outcome async for outcome in driver.apply(changes)]


async def converge(driver: Driver, desired: Mapping[str, AnyResource]) -> list[Outcome]:
    """Bring the device to ``desired`` in one pass and return the outcomes; none means it was in sync."""
    adapted = driver.adapt(desired)
    assert not adapted.refused
    observed = await driver.observe()
    changes = changes_between(observed.resources, adapted.resources)
    return await outcomes(driver, changes)


async def settle(driver: Driver, desired: Mapping[str, AnyResource]) -> None:
    """Converge, follow up what was disturbed, and check that the device reads back exactly as desired."""
    for _ in range(3):
        results = await converge(driver, desired)
        assert all(outcome.result == "done" for outcome in results), [o for o in results if o.result != "done"]
        if not any(outcome.disturbed for outcome in results):
            break
    observed = await driver.observe()
    assert dict(observed.resources) == dict(driver.adapt(desired).resources)


def overlay(underlay: str, name: str = "isth0", vni: int = 7001, port: int = 47001) -> list[AnyResource]:
    """Return a whole overlay: tunnel, source address, FDB, neighbors and routes of three nodes, both families."""
    things: list[AnyResource] = [
        PortFilter(port, (ip_address("192.0.2.11"), ip_address("192.0.2.12"), ip_address("2001:db8::11"))),
        Tunnel(name, vni, port, ip_address("192.0.2.1"), "02:00:00:00:70:01", 1450, underlay),
        SourceAddress(ip_interface("198.18.0.1/24"), name),
        SourceAddress(ip_interface("2001:db8:f::1/64"), name),
        MssClamp(name, 1450),
        FdbEntry(name, ZERO_MAC, ip_address("192.0.2.11")),
        FdbEntry(name, ZERO_MAC, ip_address("192.0.2.12")),
    ]
    for number in (11, 12, 13):
        mac = f"02:00:00:00:71:{number:02x}"
        things += [
            FdbEntry(name, mac, ip_address(f"192.0.2.{number}")),
            Neighbor(name, ip_address(f"198.18.0.{number}"), mac),
            Neighbor(name, ip_address(f"2001:db8:f::{number:x}"), mac),
            Route(ip_network(f"10.244.{number}.0/24"), ip_address(f"198.18.0.{number}"), name, onlink=True),
            Route(
                ip_network(f"2001:db8:f{number:x}::/64"),
                ip_address(f"2001:db8:f::{number:x}"),
                name,
                source=ip_address("2001:db8:f::1"),
            ),
        ]
    return things


def services() -> list[AnyResource]:
    """Return virtual servers of every shape, and the addresses they stand on."""
    v4, v6 = ip_address("203.0.113.10"), ip_address("2001:db8:cafe::10")
    pods4 = [ip_address(f"10.244.11.{n}") for n in range(2, 8)]
    pods6 = [ip_address(f"2001:db8:fb::{n:x}") for n in range(2, 8)]
    return [
        VirtualServer(v4, "tcp", 80, tuple(Member(pod, 8080) for pod in pods4[:3]), ip_address("198.18.0.1")),
        VirtualServer(v4, "udp", 53, (Member(pods4[0], 5353), Member(pods4[1], 5353, 0)), algorithm="source-hash"),
        VirtualServer(v4, "sctp", 3868, (Member(pods4[0], 3868, 3), Member(pods4[1], 3868, 1))),
        VirtualServer(v4, "tcp", 443, ()),
        VirtualServer(v6, "tcp", 80, tuple(Member(pod, 8080) for pod in pods6[:5]), ip_address("2001:db8:f::1")),
        VirtualServer(v6, "udp", 53, (Member(pods6[0], 5353, 0),)),
        VirtualAddress(v4, "lo"),
        VirtualAddress(v6, "lo"),
    ]


def adoptions(wanted: Mapping[str, AnyResource], foreign: Mapping[str, str]) -> list[Change]:
    """Return the changes that take over what stands in the place of ``wanted``, in order."""
    changes = [Change("create", one.identity, None, one, adopts=foreign[one.identity]) for one in wanted.values()]
    return sorted(changes, key=lambda change: (change.resource.rank, change.identity))


def everything(underlay: str) -> dict[str, AnyResource]:
    """Return one of each kind, and more."""
    return by_identity(*overlay(underlay), *services())
