"""What a Service asks for by name, gets or does not get, and what it is told: condition, Event, status."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.net.clients import fetch
from isthmus.lab.net.matrix import spread
from packets.joining import CLIENT_FAR, CLIENT_NEAR, Rig, eventually, joined_lab

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADDRESSES = "isthmus.dev/addresses"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return two nodes on the gateway's segment."""
    async with joined_lab("direct", nodes=2) as rig:
        yield rig


async def events(rig: Rig, name: str, reason: str) -> list[str]:
    """Return what the Events of that reason on a Service say."""
    found = (await rig.lab.client.get("/api/v1/namespaces/default/events"))["items"]
    return [one["message"] for one in found if one["involvedObject"]["name"] == name and one["reason"] == reason]


async def test_a_requested_address_is_given(rig: Rig) -> None:
    """An address asked for by spec.loadBalancerIP or by annotation is the Service's, in each family, and serves."""
    topology = rig.lab.topology
    four, six = topology.vip(40), topology.vip(41, "ipv6")
    assert await rig.serve("field", families=["ipv4"], extra={"loadBalancerIP": str(four)}) == [four]
    assert await rig.serve("noted", families=["ipv6"], annotations={ADDRESSES: str(six)}) == [six]
    for vip in (four, six):
        assert len((await spread(CLIENT_FAR, vip, 80, requests=4)).pods) == 2
    condition = await rig.until_condition("field", "Served")
    assert condition["status"] == "True"
    assert str(four) in condition["message"]


async def test_an_address_that_somebody_has_is_refused_until_it_is_free(rig: Rig) -> None:
    """The second to ask is told who holds it, by condition and Event; it gets the address when the first one goes."""
    taken = rig.lab.topology.vip(50)
    await rig.serve("first", families=["ipv4"], extra={"loadBalancerIP": str(taken)})
    second = rig.workload("second", families=["ipv4"], extra={"loadBalancerIP": str(taken)})
    await rig.lab.publish(second)
    condition = await rig.until_condition("second", "AddressTaken")
    assert condition["status"] == "False"
    assert "default/first" in condition["message"]

    async def told() -> bool:
        return any("default/first" in text for text in await events(rig, "second", "AddressTaken"))

    await eventually(told, "the Event")
    assert (await fetch(CLIENT_NEAR, taken, 80)).ok
    await rig.lab.cluster.retract(rig.workload("first"))
    assert await rig.vips("second") == [taken]
    await rig.answers(taken)


async def test_an_address_outside_every_pool_is_refused(rig: Rig) -> None:
    """An address that no pool has is not given, whether it is nobody's or the gateway's own; the gateway keeps it."""
    own = rig.lab.network.gateways[0].front.address("ipv4")
    for name, asked in (("nowhere", "192.0.2.77"), ("greedy", str(own))):
        await rig.lab.publish(rig.workload(name, families=["ipv4"], extra={"loadBalancerIP": asked}))
        condition = await rig.until_condition(name, "AddressNotAllowed")
        assert asked in condition["message"]

        async def told(name: str = name, asked: str = asked) -> bool:
            return any(asked in text for text in await events(rig, name, "AddressNotAllowed"))

        await eventually(told, "the Event")
    assert not (await fetch(CLIENT_NEAR, own, 80, timeout=0.5)).ok


async def test_a_pool_that_is_asked_for_and_missing_is_named(rig: Rig) -> None:
    """A Service that names a pool which does not exist says so; once the annotation goes it gets an address."""
    await rig.lab.publish(rig.workload("lost", families=["ipv4"], annotations={"isthmus.dev/pool": "nowhere"}))

    async def told() -> bool:
        return "nowhere" in (await rig.service_condition("lost")).get("message", "")

    await eventually(told, "the condition names the pool")
    path = "/api/v1/namespaces/default/services/lost"
    await rig.lab.client.patch(path, {"metadata": {"annotations": {"isthmus.dev/pool": None}}})
    (vip,) = await rig.vips("lost")
    await rig.answers(vip)
