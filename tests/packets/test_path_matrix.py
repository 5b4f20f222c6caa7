"""Each path in each family, with one and with several pod CIDRs: who reaches whom, from where, and how big.

The path is joined once per shape, and every test looks at the same lab. Flannel itself routes only a node's first pod CIDR
of a family; the device reaches the others by the same next hop, and answers come back because they leave to the
device's own address.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import product

import pytest
import pytest_asyncio

from isthmus.lab.net.clients import ask_udp
from isthmus.lab.net.matrix import reach, sizes, spread
from isthmus.lab.net.sctp import ask_sctp
from isthmus.lab.net.segment import Announcements, who_has
from isthmus.lab.net.topology import Address, Family, family_of
from packets.joining import CLIENT_FAR, CLIENT_NEAR, GATEWAY, Rig, joined_lab

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAMILIES: dict[str, tuple[Family, ...]] = {"ipv4": ("ipv4",), "ipv6": ("ipv6",), "dual": ("ipv4", "ipv6")}
SHAPES = [
    *product(("direct", "flannel", "overlay"), FAMILIES, (2,)),
    *product(("direct", "flannel", "overlay"), ["dual"], (1,)),
]


@dataclass
class Joined:
    """A joined lab with a Service on its segment and one on a routed address."""

    rig: Rig
    path: str
    vips: list[Address]
    routed: list[Address]
    heard: Announcements

    def sender(self, family: Family) -> str:
        """Return the source address that pods see: the device's own on the path."""
        if self.path == "direct":
            return str(self.rig.lab.network.gateways[0].under.address(family))
        if self.path == "overlay":
            return "172.31." if family == "ipv4" else "fd00:31::"
        return "10.24" if family == "ipv4" else "fd00:10:"

    def mtu(self, family: Family) -> int:
        """Return how many bytes fit on the path."""
        if self.path == "direct":
            return 1500
        outer_is_six = "ipv4" not in self.rig.families if self.path == "overlay" else family == "ipv6"
        return 1430 if outer_is_six else 1450


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=SHAPES, ids=[f"{path}-{f}-{cidrs}" for path, f, cidrs in SHAPES]
)
async def joined(request: pytest.FixtureRequest) -> AsyncIterator[Joined]:
    """Return a joined lab of two nodes with two Services."""
    path, families, cidrs = request.param
    shape = {"nodes": 2, "families": FAMILIES[families], "pod_cidrs_per_node": cidrs}
    async with (
        joined_lab(path, more_cidrs=cidrs > 1, **shape) as rig,
        Announcements(rig.lab.topology.client_near) as heard,
    ):
        ports = ((80, "TCP"), (53, "UDP"), (36412, "SCTP"))
        vips = await rig.serve(ports=ports)
        routed = await rig.serve("routed", annotations={"isthmus.dev/pool": "routed"})
        yield Joined(rig, path, vips, routed, heard)


async def test_the_gateway_reaches_every_pod(joined: Joined) -> None:
    """From the gateway every pod answers on every address it has, those of further pod CIDRs included."""
    found = await reach(joined.rig.lab.network, sources=[GATEWAY])
    assert found.ok, found.rows()
    await joined.rig.reached(timeout=2)


@pytest.mark.parametrize("client", [CLIENT_NEAR, CLIENT_FAR])
async def test_requests_through_the_vip_are_spread_evenly(joined: Joined, client: str) -> None:
    """Every pod answers the same number of requests, and sees the device's own address as the sender."""
    for vip in (*joined.vips, *joined.routed):
        found = await spread(client, vip, 80, requests=10)
        assert found.ok, found
        assert found.pods == {"pod1-1": 5, "pod2-1": 5}
        assert all(source.startswith(joined.sender(family_of(vip))) for source in found.sources), found.sources


async def test_big_things_pass_and_the_mtu_is_exact(joined: Joined) -> None:
    """A 32 KiB body and a packet of exactly the path's MTU reach each pod; one byte more does not."""
    for pod in joined.rig.lab.network.pods:
        for family in joined.rig.families:
            found = await sizes(GATEWAY, pod.address(family), joined.mtu(family))
            assert found.ok, (pod.name, found)
    for client in (CLIENT_NEAR, CLIENT_FAR):
        for vip in joined.vips:
            body = await joined.rig.lab.fetch(client, vip, 80, "/bytes/32768")
            assert body.ok, body
            assert body.size > 32768


async def test_udp_and_sctp_are_served(joined: Joined) -> None:
    """A datagram to port 53 of the VIP comes back from a pod with the VIP as its sender, and so does an SCTP answer."""
    for vip in joined.vips:
        for client in (CLIENT_NEAR, CLIENT_FAR):
            found = await spread(client, vip, 53, requests=6, udp=True)
            assert found.ok, found
            assert found.pods == {"pod1-1": 3, "pod2-1": 3}
            assert (await ask_sctp(client, vip, 36412)).ok
        assert not (await ask_udp(CLIENT_NEAR, vip, 54, timeout=0.3)).ok


async def test_one_machine_answers_for_a_vip_and_says_so_at_take_over(joined: Joined) -> None:
    """ARP and NDP name the gateway's MAC and no other; it announced the VIP when it took it; a routed VIP it does not."""
    topology = joined.rig.lab.topology
    mac = joined.rig.lab.network.gateways[0].front.mac
    for vip in joined.vips:
        assert await who_has(topology.client_near, vip) == (mac,)
        assert {claim.mac for claim in joined.heard.of(vip)} == {mac}
    for vip in joined.routed:
        assert joined.heard.of(vip) == []
