"""What somebody takes from the gateway by hand comes back within ten seconds, and is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from isthmus.lab.net.clients import fetch
from isthmus.lab.net.command import command_in
from isthmus.lab.net.matrix import reach, spread
from isthmus.lab.net.topology import Address
from packets.joining import CLIENT_FAR, CLIENT_NEAR, GATEWAY, Rig, eventually, joined_lab

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return two nodes behind flannel, with a tunnel of ours for each family."""
    async with joined_lab("flannel", nodes=2) as rig:
        yield rig


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vip(rig: Rig) -> Address:
    """Return the address of a Service over both pods."""
    return (await rig.serve())[0]


async def tunnel(rig: Rig) -> str:
    """Return the name of a tunnel of ours on the gateway."""
    names = [
        line.split(":")[1].strip() for line in (await rig.ip("-o", "link", "show", "type", "vxlan")).splitlines()
    ]
    return names[0]


async def _route(rig: Rig, vip: Address) -> None:
    await rig.ip("route", "del", str(rig.lab.network.nodes["node1"].pod_cidr("ipv4")))


async def _neighbor(rig: Rig, vip: Address) -> None:
    (line, *_) = (await rig.ip("neigh", "show", "dev", await tunnel(rig), "nud", "permanent")).splitlines()
    await rig.ip("neigh", "del", line.split()[0], "dev", await tunnel(rig))


async def _entry(rig: Rig, vip: Address) -> None:
    name = await tunnel(rig)
    line = next(line for line in (await rig.bridge()).splitlines() if f"dev {name} dst" in line)
    await command_in(
        GATEWAY, ["bridge", "fdb", "del", line.split()[0], "dev", name, "dst", line.split("dst ")[1].split()[0]]
    )


async def _address(rig: Rig, vip: Address) -> None:
    await rig.ip("addr", "del", f"{vip}/32", "dev", "front")


async def _source(rig: Rig, vip: Address) -> None:
    name = await tunnel(rig)
    words = (await rig.ip("-o", "addr", "show", "dev", name, "scope", "global")).split()
    await rig.ip("addr", "del", words[3], "dev", name)


async def _elements(rig: Rig, vip: Address) -> None:
    await command_in(GATEWAY, ["nft", "flush", "map", "inet", "isthmus_main", "services4"])


async def _rules(rig: Rig, vip: Address) -> None:
    await command_in(GATEWAY, ["nft", "flush", "chain", "inet", "isthmus_main", "prerouting"])


async def _table(rig: Rig, vip: Address) -> None:
    await command_in(GATEWAY, ["nft", "delete", "table", "inet", "isthmus_main"])


async def _tunnel(rig: Rig, vip: Address) -> None:
    await rig.ip("link", "del", await tunnel(rig))


async def _tunnel_down(rig: Rig, vip: Address) -> None:
    await rig.ip("link", "set", await tunnel(rig), "down")


async def _everything(rig: Rig, vip: Address) -> None:
    await rig.wipe_gateway()


THEFTS: dict[str, Callable[[Rig, Address], Awaitable[None]]] = {
    "a route": _route,
    "a neighbor": _neighbor,
    "an FDB entry": _entry,
    "a VIP": _address,
    "the device's own address": _source,
    "the nft elements": _elements,
    "the nft rules": _rules,
    "the nft table": _table,
    "the tunnel": _tunnel,
    "the tunnel's being up": _tunnel_down,
    "everything": _everything,
}


@pytest.mark.parametrize("what", THEFTS)
async def test_what_is_taken_away_comes_back(rig: Rig, vip: Address, what: str) -> None:
    """Within ten seconds the gateway has all it had, every pod is reached, every request answered, and drift is counted."""
    before = await rig.settled()
    routes = await rig.routes()
    await THEFTS[what](rig, vip)

    async def whole() -> bool:
        return await rig.routes() == routes and (await spread(CLIENT_NEAR, vip, 80, requests=2, timeout=0.3)).ok

    assert await eventually(whole, f"{what} comes back", timeout=10) < 10
    found = await spread(CLIENT_FAR, vip, 80, requests=8)
    assert found.pods == {"pod1-1": 4, "pod2-1": 4}
    assert (await reach(rig.lab.network, sources=[GATEWAY])).ok
    after = await rig.device(lambda one: one["drift"] > before["drift"] and one["inSync"])
    assert after["conflicts"] == []
    assert (await fetch(CLIENT_NEAR, vip, 80)).ok
