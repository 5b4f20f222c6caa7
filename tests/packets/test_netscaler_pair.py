"""A pair of NetScalers: whoever leads has the addresses and the servers, and a fail-over is followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.net.command import command_in
from isthmus.lab.net.segment import who_has
from packets.joining import Rig, joined_lab
from packets.test_netscaler_life import served_by

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[Rig]:
    """Return a lab of two nodes joined to a pair of appliances."""
    async with joined_lab("direct", device="netscaler", nodes=2, gateways=2, families=("ipv4",)) as rig:
        yield rig


async def test_a_fail_over_is_followed(pair: Rig) -> None:
    """The other node of the pair takes addresses and servers over within moments, and changes go to it from then on."""
    [vip] = await pair.serve()
    await served_by(pair, vip, "pod1-1", "pod2-1")
    first, second = pair.joined.devices
    leg = pair.lab.topology.client_near
    assert await who_has(leg, vip) == (first.plan.front.mac,)
    assert first.appliance.pair is not None
    first.appliance.pair.fail_over()
    await served_by(pair, vip, "pod1-1", "pod2-1", timeout=5)
    assert await who_has(leg, vip) == (second.plan.front.mac,)
    assert (await command_in(first.plan.name, ["ip", "-4", "-o", "addr", "show", "dev", "front"])).out == ""
    [other] = await pair.serve("second", nodes=["node1"])
    await served_by(pair, other, "pod1-1")
    assert await who_has(leg, other) == (second.plan.front.mac,)


async def test_a_pair_that_loses_its_leader_serves_on(pair: Rig) -> None:
    """The leader reboots; its peer leads at once with all that was configured, and none of that is written again."""
    [vip] = await pair.serve("third")
    await served_by(pair, vip, "pod1-1", "pod2-1")
    await pair.device(lambda status: status.get("inSync"))
    first, second = pair.joined.devices
    leader, other = (first, second) if first.appliance.primary else (second, first)
    for device in (first, second):
        device.appliance.faults.reset_counters()
    leader.appliance.reboot(0.5)
    await served_by(pair, vip, "pod1-1", "pod2-1", timeout=5)
    await asyncio.sleep(1)  # the window in which it would write; there is nothing else to wait for
    asked = {**first.appliance.faults.requests, **other.appliance.faults.requests}
    written = {f"{verb} {kind}" for verb, kind in asked if verb in ("add", "update", "delete", "enable", "disable")}
    # The writer's new session is noted in the ledger, so that a later writer can end it.
    assert written <= {"add policypatset_pattern_binding", "delete policypatset_pattern_binding"}, asked
