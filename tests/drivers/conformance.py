"""The same questions for every driver.

A driver's test class subclasses :class:`ConformanceSuite` and gives one fixture, ``bench``: an open driver on an empty
device, the names of two links that stand there, and a :class:`Hand`, the somebody else who changes things behind the
driver's back without using the driver's code. The suite plans with a small diff of its own, so that it leans on no
other room.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_interface, ip_network

import msgspec

from isthmus.model.plan import Change
from isthmus.model.resources import (
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

from .bench import (
    Bench,
    Hand,
    adoptions,
    by_identity,
    changes_between,
    converge,
    outcomes,
    overlay,
    settle,
)


class ConformanceSuite:
    """The cases; ``bench`` comes from the subclass."""

    async def test_what_is_applied_is_what_is_observed(self, bench: Bench) -> None:
        """After an apply the device reads back exactly as ``adapt`` spelled it, kind by kind."""
        desired = bench.driver.adapt(bench.everything()).resources
        results = await converge(bench.driver, desired)
        assert [(outcome.change.identity, outcome.reason) for outcome in results if outcome.result != "done"] == []
        observed = await bench.driver.observe()
        for identity in sorted({*desired, *observed.resources}):
            assert observed.resources.get(identity) == desired.get(identity)

    async def test_the_second_plan_is_empty(self, bench: Bench) -> None:
        """Applying twice writes nothing the second time."""
        desired = bench.everything()
        await converge(bench.driver, desired)
        assert await converge(bench.driver, desired) == []

    async def test_an_outcome_comes_for_each_change_in_order(self, bench: Bench) -> None:
        """Outcomes come in the order of the changes, one each."""
        changes = changes_between({}, bench.driver.adapt(bench.everything()).resources)
        results = await outcomes(bench.driver, changes)
        assert [outcome.change for outcome in results] == changes

    async def test_what_stands_already_is_done(self, bench: Bench) -> None:
        """Creating again what stands exactly so is done, not an error."""
        changes = changes_between({}, bench.driver.adapt(bench.everything()).resources)
        await outcomes(bench.driver, changes)
        again = await outcomes(bench.driver, changes)
        assert [(outcome.change.identity, outcome.reason) for outcome in again if outcome.result != "done"] == []
        assert not any(outcome.disturbed for outcome in again)

    async def test_values_are_updated_in_place(self, bench: Bench) -> None:
        """Each kind takes a new value by an update, and the device reads back the new one."""
        desired = bench.everything()
        await settle(bench.driver, desired)
        tunnel = desired["tunnel isth0"]
        assert isinstance(tunnel, Tunnel)
        route6 = desired["route 2001:db8:fb::/64"]
        assert isinstance(route6, Route)
        server = desired["virtual-server 203.0.113.10:80/tcp"]
        assert isinstance(server, VirtualServer)
        changed = by_identity(
            msgspec.structs.replace(tunnel, mtu=1400, mac="02:00:00:00:70:02"),
            SourceAddress(ip_interface("198.18.0.1/16"), "isth0"),
            SourceAddress(ip_interface("2001:db8:f::1/60"), "isth0"),
            MssClamp("isth0", 1400),
            PortFilter(47001, (ip_address("192.0.2.99"),)),
            FdbEntry("isth0", "02:00:00:00:71:0b", ip_address("192.0.2.77")),
            Neighbor("isth0", ip_address("198.18.0.11"), "02:00:00:00:71:77"),
            Neighbor("isth0", ip_address("2001:db8:f::b"), "02:00:00:00:71:77"),
            Route(ip_network("10.244.11.0/24"), ip_address("198.18.0.12"), "isth0", onlink=True),
            Route(ip_network("10.244.12.0/24"), ip_address("198.18.0.12"), "isth0", True, ip_address("198.18.0.1")),
            msgspec.structs.replace(route6, via=ip_address("2001:db8:f::c")),
            Route(ip_network("2001:db8:fc::/64"), ip_address("2001:db8:f::c"), "isth0"),
            msgspec.structs.replace(server, members=(*server.members[1:], Member(ip_address("10.244.12.9"), 8080))),
            VirtualServer(server.address, "udp", 53, (Member(ip_address("10.244.11.3"), 5353),)),
            VirtualServer(server.address, "tcp", 443, (Member(ip_address("10.244.11.3"), 8443),)),
            VirtualAddress(server.address, bench.underlay),
        )
        assert not set(bench.fit(changed)) - set(desired)
        await settle(bench.driver, bench.fit({**desired, **changed}))

    async def test_a_fixed_field_of_a_tunnel_disturbs(self, bench: Bench) -> None:
        """A tunnel that must be made anew says that it took other things along, and one more pass heals them."""
        desired = bench.everything()
        await settle(bench.driver, desired)
        tunnel = desired["tunnel isth0"]
        assert isinstance(tunnel, Tunnel)
        changed = {**desired, "tunnel isth0": msgspec.structs.replace(tunnel, vni=7002)}
        assert bench.driver.replaces(tunnel, changed["tunnel isth0"]), "the plan can say so beforehand"
        assert not bench.driver.replaces(tunnel, msgspec.structs.replace(tunnel, mtu=1400)), "that is done in place"
        results = await converge(bench.driver, changed)
        assert any(outcome.disturbed for outcome in results)
        await settle(bench.driver, changed)

    async def test_deletes_leave_nothing(self, bench: Bench) -> None:
        """Desiring nothing removes all that is ours, and deleting what is gone is done."""
        desired = bench.everything()
        await settle(bench.driver, desired)
        observed = await bench.driver.observe()
        deletes = changes_between(observed.resources, {})
        assert {outcome.result for outcome in await outcomes(bench.driver, deletes)} == {"done"}
        assert dict((await bench.driver.observe()).resources) == {}
        assert {outcome.result for outcome in await outcomes(bench.driver, deletes)} == {"done"}

    async def test_parts_come_and_go_alone(self, bench: Bench) -> None:
        """Half of the things can go while the other half stays as it was."""
        desired = bench.everything()
        await settle(bench.driver, desired)
        needed = {"tunnel isth0", "source 198.18.0.1", "source 2001:db8:f::1"}
        half = {
            identity: desired[identity] for n, identity in enumerate(sorted(desired)) if n % 2 or identity in needed
        }
        await settle(bench.driver, half)
        await settle(bench.driver, desired)

    async def test_a_foreign_route_is_told_and_never_touched(self, bench: Bench) -> None:
        """A foreign route at a wanted prefix is seen as foreign, refused at apply, and outlives our delete."""
        foreign = Route(ip_network("10.99.0.0/16"), ip_address("192.0.2.200"), bench.underlay)
        bench.hand.add_foreign_route(foreign)
        observed = await bench.driver.observe()
        assert "192.0.2.200" in observed.foreign["route 10.99.0.0/16"]
        assert "route 10.99.0.0/16" not in observed.resources
        wanted = Route(foreign.prefix, ip_address("192.0.2.11"), bench.underlay)
        [created] = await outcomes(bench.driver, [Change("create", wanted.identity, None, wanted)])
        assert created.result == "refused"
        assert "not ours" in created.reason
        before = msgspec.structs.replace(wanted, via=ip_address("192.0.2.12"))
        [updated] = await outcomes(bench.driver, [Change("update", wanted.identity, before, wanted)])
        assert updated.result == "refused"
        [deleted] = await outcomes(bench.driver, [Change("delete", wanted.identity, wanted, None)])
        assert deleted.result in ("done", "refused")
        assert bench.hand.has_foreign_route(foreign)

    async def test_an_order_takes_over_what_is_foreign(self, bench: Bench) -> None:
        """By order alone: ours stands in the place of foreign routes, neighbors and addresses, and nothing else has moved."""
        four, six = ip_network("10.99.0.0/16"), ip_network("2001:db8:99::/48")
        bench.hand.add_foreign_route(Route(four, ip_address("192.0.2.200"), bench.underlay))
        bench.hand.add_foreign_route(Route(six, ip_address("2001:db8::200"), bench.underlay))
        bench.hand.add_foreign_neighbor(Neighbor(bench.underlay, ip_address("192.0.2.50"), "02:00:00:00:99:01"))
        bench.hand.add_foreign_address(VirtualAddress(ip_address("203.0.113.60"), bench.underlay))
        bystander = Route(ip_network("10.98.0.0/16"), ip_address("192.0.2.200"), bench.underlay)
        bench.hand.add_foreign_route(bystander)
        wanted = bench.fit(
            by_identity(
                Route(four, ip_address("192.0.2.11"), bench.underlay),
                Route(six, ip_address("2001:db8::11"), bench.underlay),
                Neighbor(bench.underlay, ip_address("192.0.2.50"), "02:00:00:00:71:50"),
                VirtualAddress(ip_address("203.0.113.60"), bench.underlay),
            )
        )
        seen = await bench.driver.observe()
        assert wanted.keys() <= seen.foreign.keys()
        wanted = dict(bench.driver.adapt(wanted).resources)
        results = await outcomes(bench.driver, adoptions(wanted, seen.foreign))
        assert [(outcome.change.identity, outcome.reason) for outcome in results if outcome.result != "done"] == []
        observed = await bench.driver.observe()
        assert dict(observed.resources) == wanted
        assert wanted.keys().isdisjoint(observed.foreign)
        assert bench.hand.has_foreign_route(bystander)
        assert await converge(bench.driver, wanted) == []

    async def test_an_adoption_of_equal_values_changes_the_mark(self, bench: Bench) -> None:
        """What stands exactly as wanted becomes ours as it is."""
        wanted = by_identity(
            Route(ip_network("10.99.0.0/16"), ip_address("192.0.2.200"), bench.underlay),
            Route(ip_network("2001:db8:99::/48"), ip_address("2001:db8::200"), bench.underlay),
            VirtualAddress(ip_address("203.0.113.60"), bench.underlay),
            VirtualAddress(ip_address("2001:db8:cafe::60"), bench.underlay),
        )
        for resource in wanted.values():
            if isinstance(resource, Route):
                bench.hand.add_foreign_route(resource)
            elif isinstance(resource, VirtualAddress):
                bench.hand.add_foreign_address(resource)
        seen = await bench.driver.observe()
        wanted = dict(bench.driver.adapt(wanted).resources)
        results = await outcomes(bench.driver, adoptions(wanted, seen.foreign))
        assert [(outcome.change.identity, outcome.reason) for outcome in results if outcome.result != "done"] == []
        observed = await bench.driver.observe()
        assert dict(observed.resources) == wanted
        assert wanted.keys().isdisjoint(observed.foreign)

    async def test_only_what_was_named_is_taken_over(self, bench: Bench) -> None:
        """When something else stands there than what the order was about, it stays, and the outcome says so."""
        foreign = Route(ip_network("10.99.0.0/16"), ip_address("192.0.2.200"), bench.underlay)
        bench.hand.add_foreign_route(foreign)
        wanted = Route(foreign.prefix, ip_address("192.0.2.11"), bench.underlay)
        stale = Change("create", wanted.identity, None, wanted, adopts="a route that stood there yesterday")
        [result] = await outcomes(bench.driver, [stale])
        assert result.result == "refused"
        assert "192.0.2.200" in result.reason
        assert bench.hand.has_foreign_route(foreign)

    async def test_one_bad_change_hurts_itself_only(self, bench: Bench) -> None:
        """Among good changes the refused one is alone, with a reason; the others stand."""
        bench.hand.add_foreign_route(Route(ip_network("10.99.0.0/16"), ip_address("192.0.2.200"), bench.underlay))
        bad = Route(ip_network("10.99.0.0/16"), ip_address("192.0.2.11"), bench.underlay)
        desired = bench.everything()
        changes = changes_between({}, {**bench.driver.adapt(desired).resources, bad.identity: bad})
        results = await outcomes(bench.driver, changes)
        refused = [outcome for outcome in results if outcome.result != "done"]
        assert [outcome.change.identity for outcome in refused] == [bad.identity]
        assert refused[0].reason
        assert dict((await bench.driver.observe()).resources) == dict(bench.driver.adapt(desired).resources)

    async def test_some_identities_can_be_read_alone(self, bench: Bench) -> None:
        """Observing a few identities gives these and says so; one that stands nowhere is simply absent."""
        desired = bench.everything()
        await settle(bench.driver, desired)
        full = await bench.driver.observe()
        for identity in desired:
            part = await bench.driver.observe([identity])
            assert dict(part.resources) == {identity: full.resources[identity]}
            assert part.identities == frozenset([identity])
        nowhere = {"route 10.1.2.0/24", "vip 203.0.113.99", "neighbor nolink 10.0.0.1", "tunnel nolink"}
        part = await bench.driver.observe(nowhere)
        assert not part.resources
        assert not part.foreign
        assert part.identities == frozenset(nowhere)

    async def test_drift_is_noticed(self, bench: Bench) -> None:
        """When somebody else removes what is ours, ``drift`` returns, and one more pass heals it."""
        desired = bench.everything()
        await settle(bench.driver, desired)
        drifting = asyncio.create_task(bench.driver.drift())
        await asyncio.sleep(0.05)
        route = desired["route 10.244.11.0/24"]
        assert isinstance(route, Route)
        bench.hand.remove_route(route)
        await asyncio.wait_for(drifting, 5)
        assert "route 10.244.11.0/24" not in (await bench.driver.observe()).resources
        await settle(bench.driver, desired)

    async def test_another_installations_things_are_foreign(self, bench: Bench) -> None:
        """Two installations share a device: neither reads nor removes what is the other's."""
        if bench.other_installation is None:
            return
        desired = bench.everything()
        await settle(bench.driver, desired)
        other = bench.other_installation()
        await other.open()
        try:
            observed = await other.observe()
            assert dict(observed.resources) == {}
            assert bench.seen_by_others <= set(observed.foreign)
            theirs = by_identity(
                *overlay(bench.underlay, "isth1", 7009, 47009)[1:2],
                Route(ip_network("10.245.0.0/24"), ip_address("192.0.2.50"), bench.underlay),
                VirtualServer(ip_address("203.0.113.77"), "tcp", 80, (Member(ip_address("10.244.11.3"), 8443),)),
                VirtualAddress(ip_address("203.0.113.77"), "lo"),
            )
            await settle(other, theirs)
            assert dict((await bench.driver.observe()).resources) == dict(bench.driver.adapt(desired).resources)
            await settle(bench.driver, {})
            await settle(other, theirs)
        finally:
            await settle(other, {})
            await other.close()

    async def test_a_restart_in_sync_finds_everything(self, bench: Bench) -> None:
        """A driver that is opened anew on the same device reads all of it back and has nothing to write."""
        desired = bench.everything()
        await settle(bench.driver, desired)
        await bench.driver.close()
        await bench.driver.open()
        assert await converge(bench.driver, desired) == []

    async def test_facts_tell_the_interfaces(self, bench: Bench) -> None:
        """The device tells its own interfaces, and which of them are ours."""
        await settle(bench.driver, bench.everything())
        facts = (await bench.driver.observe()).facts
        underlay = facts.holding(ip_address("192.0.2.1"))
        assert underlay is not None
        assert underlay.name == bench.underlay
        assert facts.on_segment(ip_address("192.0.2.77")) == underlay


__all__ = ["Bench", "ConformanceSuite", "Hand", "by_identity", "changes_between", "converge", "outcomes", "settle"]
