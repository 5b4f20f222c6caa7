"""A controller joins a NetScaler to the pods by each path, in IPv4 and IPv6: who reaches whom, from which address.

A lab is built once per path, and every test looks at the same one. Flannel uses one VNI for both families and the device has
a VXLAN of one id once, so that path is tried with one family at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from isthmus.lab.adc.appliances import Device, node_source
from isthmus.lab.net.matrix import BIG_BODY, reach, spread
from isthmus.lab.net.segment import who_has
from isthmus.lab.net.topology import Address, Family, family_of
from packets.joining import CLIENT_FAR, CLIENT_NEAR, Rig, eventually, joined_lab

pytestmark = pytest.mark.asyncio(loop_scope="module")

DUAL: tuple[Family, ...] = ("ipv4", "ipv6")
SHAPES: dict[str, tuple[str, tuple[Family, ...], dict[str, Any]]] = {
    "direct": ("direct", DUAL, {}),
    "overlay-flooded": ("overlay", DUAL, {}),
    "overlay-joined": ("overlay", DUAL, {"neighbors": "joined"}),
    "flannel-ipv4": ("flannel", ("ipv4",), {}),
    "flannel-ipv6": ("flannel", ("ipv6",), {}),
    "policy-overlay": ("overlay", DUAL, {}),
    "policy-direct": ("direct", DUAL, {}),
}


@dataclass
class Joined:
    """A joined lab with a Service on its segment and one on a routed address."""

    rig: Rig
    shape: str
    path: str
    vips: list[Address]
    routed: list[Address]

    @property
    def device(self) -> Device:
        """Return the appliance."""
        return self.rig.joined.devices[0]

    def sender(self, family: Family) -> str:
        """Return how the source address begins that pods see."""
        if self.path == "direct":
            return str(node_source(self.rig.lab.topology, family, 1))
        if self.path == "overlay":
            return "172.31." if family == "ipv4" else "fd00:31::"
        return "10.24" if family == "ipv4" else "fd00:10:"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SHAPES)
async def joined(request: pytest.FixtureRequest) -> AsyncIterator[Joined]:
    """Return a lab of two nodes, joined, with two Services that answer."""
    path, families, netscaler = SHAPES[request.param]
    options: dict[str, Any] = {}
    if request.param.startswith("policy"):
        sources = ["192.0.2.220", "2001:db8:1::2:1"] if path == "direct" else []
        options["policyRoutes"] = {"sources": sources} if sources else {}
    async with netscaler_lab(path, families=families, options=options, netscaler=netscaler) as rig:
        vips = await rig.serve(ports=((80, "TCP"), (53, "UDP")))
        routed = await rig.serve("routed", annotations={"isthmus.dev/pool": "routed"})
        yield Joined(rig, request.param, path, vips, routed)


def netscaler_lab(path: str, *, netscaler: dict[str, Any] | None = None, **numbers: Any) -> Any:
    """Return a lab of two nodes that is joined through an appliance."""
    numbers.setdefault("nodes", 2)
    return joined_lab(path, device="netscaler", netscaler=netscaler, **numbers)


@pytest.mark.parametrize("client", [CLIENT_NEAR, CLIENT_FAR])
async def test_requests_through_the_vip_are_spread_evenly(joined: Joined, client: str) -> None:
    """Every pod answers the same number of requests, and sees the address that the device has on the path."""
    for vip in (*joined.vips, *joined.routed):

        async def evenly(vip: Address = vip) -> bool:
            found = await spread(client, vip, 80, requests=10)
            right = all(source.startswith(joined.sender(family_of(vip))) for source in found.sources)
            return found.ok and found.pods == {"pod1-1": 5, "pod2-1": 5} and right

        await eventually(evenly, f"{vip} is spread evenly", timeout=8)


async def test_datagrams_and_big_things_pass(joined: Joined) -> None:
    """A datagram comes back with the VIP as its sender, and a 32 KiB body arrives."""
    for vip in joined.vips:
        body = await joined.rig.lab.fetch(CLIENT_FAR, vip, 80, f"/bytes/{BIG_BODY}")
        assert body.ok, body
        assert body.size > BIG_BODY

        async def answered(vip: Address = vip) -> bool:
            found = await spread(CLIENT_NEAR, vip, 53, requests=6, udp=True, timeout=0.5)
            return found.ok and found.pods == {"pod1-1": 3, "pod2-1": 3}

        await eventually(answered, f"{vip} answers datagrams", timeout=8)


async def test_the_device_answers_for_its_vips(joined: Joined) -> None:
    """ARP and NDP name the appliance's MAC and no other."""
    for vip in joined.vips:
        assert await who_has(joined.rig.lab.topology.client_near, vip) == (joined.device.plan.front.mac,)


async def test_the_device_itself_reaches_every_pod(joined: Joined) -> None:
    """From the device every pod answers, by routes; with policy routes alone only the chosen sources do."""
    found = await reach(joined.rig.lab.network, sources=[joined.rig.gateway], timeout=0.5)
    assert found.ok is not joined.shape.startswith("policy"), found.rows()


async def test_a_restart_writes_nothing(joined: Joined) -> None:
    """A controller that starts again finds everything as it should be and asks for no change, not even to say who it is."""
    faults = joined.device.appliance.faults
    await joined.rig.joined.stop_controller()
    faults.reset_counters()
    before = joined.device.appliance.running.revision
    await joined.rig.start()
    assert faults.requests[("get", "lbvserver")] > 0, "it has looked"
    assert faults.writes == 0, faults.requests
    assert joined.device.appliance.running.revision == before
