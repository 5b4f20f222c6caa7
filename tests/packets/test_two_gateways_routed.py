"""Two gateways behind a router that spreads flows over them: both carry, and one carries all when the other is withdrawn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.net.clients import fetch
from isthmus.lab.net.netns import socket_in
from isthmus.lab.net.topology import CLIENT_FAR, Address, Family
from packets.gateways import SeveralRig, several_gateways
from packets.joining import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

FLOWS = 24


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["flannel", "overlay"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[SeveralRig]:
    """Return two gateways in sync, over two nodes, and a router that spreads."""
    async with several_gateways(request.param, nodes=2) as rig:
        await rig.joined.spread_routed()
        yield rig


async def served(rig: SeveralRig, family: Family) -> Address:
    """Publish a Service with a routed VIP and return it once every flow is answered."""
    vip = rig.lab.topology.vip(5 if family == "ipv4" else 6, family, routed=True)
    await rig.lab.publish(rig.workload(f"routed-{family}", families=[family], extra={"loadBalancerIP": str(vip)}))

    async def all_answer() -> bool:
        return all([(await fetch(CLIENT_FAR, vip, 80, timeout=0.5)).ok for _ in range(8)])

    await until(all_answer, timeout=20)
    await rig.in_sync()
    return vip


async def sources(vip: Address) -> Counter[str]:
    """Return how many of some flows came to a pod from each gateway's own address; every one must be answered."""
    found: Counter[str] = Counter()
    for _ in range(FLOWS):
        answer = await fetch(CLIENT_FAR, vip, 80, timeout=1)
        assert answer.ok, answer
        found[answer.source] += 1
    return found


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
async def test_both_carry_and_one_carries_all(rig: SeveralRig, family: Family) -> None:
    """The VIP is on both gateways for good; pods answer to whichever sent; with one withdrawn no new flow fails."""
    vip = await served(rig, family)
    for name in rig.joined.plans:
        shown = await rig.ip("-o", "address", "show", "dev", "lo", "to", str(vip), where=name)
        assert "valid_lft forever" in shown
    both = await sources(vip)
    assert len(both) == 2
    await rig.joined.power("gw1", on=False)
    await rig.joined.route_routed(("gw2",))
    try:
        (alone,) = await sources(vip)
        assert alone in both
    finally:
        await rig.joined.power("gw1", on=True)
        await rig.joined.route_routed(("gw1", "gw2"))
    await rig.in_sync()
    assert len(await sources(vip)) == 2


async def test_a_rehash_ends_the_flows_that_it_moves_and_no_others(rig: SeveralRig) -> None:
    """Open flows through the gateway that stays go on; those of the other are reset, and do not hang."""
    vip = await served(rig, "ipv4")
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        flows = [stack.enter_context(socket_in(CLIENT_FAR, socket.AF_INET, socket.SOCK_STREAM)) for _ in range(FLOWS)]
        for flow in flows:
            await asyncio.wait_for(loop.sock_connect(flow, (str(vip), 80)), 3)
        await rig.joined.route_routed(("gw2",))
        try:
            ended = Counter([await _ask(flow) for flow in flows])
        finally:
            await rig.joined.route_routed(("gw1", "gw2"))
    assert ended["answered"] >= 1
    assert ended["reset"] >= 1
    assert ended["answered"] + ended["reset"] == FLOWS


async def _ask(flow: socket.socket) -> str:
    loop = asyncio.get_running_loop()
    try:
        await asyncio.wait_for(loop.sock_sendall(flow, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), 3)
        return "answered" if await asyncio.wait_for(loop.sock_recv(flow, 100), 3) else "closed"
    except ConnectionError:
        return "reset"
    except TimeoutError:
        return "silent"
