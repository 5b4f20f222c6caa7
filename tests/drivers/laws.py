"""Random lives of a device, and what must hold in every one of them whatever the driver.

A life is a list of steps: wishes (some of all there is to wish, in one of two values), restarts of the driver, a route
taken away by somebody's hand. After each step the device is what it should be by the present wish alone (law 1), a second
look finds nothing to do (law 2), and the foreign route that stood there from the start still stands (law 4).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Literal

import msgspec
from hypothesis import strategies as st

from isthmus.drivers.base import Driver
from isthmus.model.resources import AnyResource, Neighbor, Route, VirtualServer

from .bench import Fit, Hand, by_identity, converge, overlay, services, settle

FOREIGN = Route(ip_network("10.99.0.0/24"), ip_address("192.0.2.99"), "")
_MAC = "02:00:00:00:99:99"


@dataclass(frozen=True)
class Step:
    """One thing that happens: a wish says which things are wanted, and which of those in their second value."""

    what: Literal["wish", "restart", "steal"]
    wanted: frozenset[int] = frozenset()
    changed: frozenset[int] = frozenset()


def lives(things: int) -> st.SearchStrategy[list[Step]]:
    """Return lives over ``things`` things to wish for."""
    # One bit a thing, so that a usual wish holds half of them and consecutive wishes differ in many.
    some = st.integers(0, 2**things - 1).map(lambda bits: frozenset(i for i in range(things) if bits >> i & 1))
    wish = st.builds(Step, st.just("wish"), some, some)
    return st.lists(st.one_of(wish, wish, st.sampled_from([Step("restart"), Step("steal")])), min_size=2, max_size=6)


def things(underlay: str) -> tuple[list[AnyResource], list[AnyResource]]:
    """Return what everything else stands on, and what may be wished for one by one."""
    tunnel, *rest = [thing for thing in overlay(underlay) if thing.rank >= 10]
    return [tunnel], [*rest, *services()]


def second(thing: AnyResource) -> AnyResource:
    """Return the same thing in another value, where it has one."""
    if isinstance(thing, Neighbor):
        return msgspec.structs.replace(thing, mac=_MAC)
    if isinstance(thing, VirtualServer):
        return msgspec.structs.replace(thing, members=thing.members[:1])
    return thing


async def live(
    steps: Sequence[Step],
    underlay: str,
    make: Callable[[], Awaitable[Driver]],
    hand: Callable[[Driver], Hand],
    fit: Fit = dict,
) -> None:
    """Live through ``steps`` and check the laws after each; the device is empty of ours at the end."""
    base, pool = things(underlay)
    foreign = msgspec.structs.replace(FOREIGN, link=underlay)
    driver = await make()
    somebody = hand(driver)
    somebody.add_foreign_route(foreign)
    desired = fit(by_identity(*base))
    try:
        for step in steps:
            if step.what == "restart":
                await driver.close()
                driver = await make()
                somebody = hand(driver)
            elif step.what == "steal":
                route = next((thing for thing in desired.values() if isinstance(thing, Route)), None)
                if route is not None and route.identity in (await driver.observe()).resources:
                    somebody.remove_route(route)
            else:
                wanted = [second(pool[i]) if i in step.changed else pool[i] for i in sorted(step.wanted)]
                desired = fit(by_identity(*base, *_supported(list(fit(by_identity(*wanted)).values()))))
            await settle(driver, desired)
            assert await converge(driver, desired) == [], "a second look finds nothing to do"
            assert somebody.has_foreign_route(foreign)
        await settle(driver, {})
        assert somebody.has_foreign_route(foreign)
    finally:
        await driver.close()


def _supported(wanted: Sequence[AnyResource]) -> list[AnyResource]:
    """Return ``wanted`` without routes whose next hop nobody can reach yet: their source address is not wished for."""
    sources = {thing.address.version for thing in wanted if thing.identity.startswith("source ")}
    return [thing for thing in wanted if not isinstance(thing, Route) or thing.onlink or thing.via.version in sources]
