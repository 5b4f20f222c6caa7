"""``services-cold``: thousands of Services with a quarter of a million members, from facts to live in nft.

Each round begins with an empty kernel and a worker that knows nothing; its nodes are joined first, outside the clock. The
reference is ``nft -f`` of the same table: same rules, same maps, same elements. Ours adds the VIPs' addresses as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bench.gateway import Gateway, make_network, tool, tool_seconds
from bench.measure import in_turns, profiled, progress, scaled
from bench.row import Row, compared
from bench.world import empty_world, put_nodes, put_services
from isthmus.drivers.linux import ruleset
from isthmus.drivers.linux.services import service_key, shard_of
from isthmus.drivers.linux.slots import fill
from isthmus.model.resources import VirtualServer

_MEMBERS, _NODES = 50, 500
_TABLE = "byhand"
_NFT = ("nft", "-f", "-")
_AT_ONCE = 2000
_MOST_SECONDS = 10.0


async def measure() -> list[Row]:
    """Return the row."""
    count, nodes = scaled(5000), scaled(_NODES)
    make_network()
    written: list[VirtualServer] = []

    async def ours() -> float:
        world = empty_world()
        put_nodes(world, nodes)
        async with Gateway(world) as gateway:
            put_services(world, count, _MEMBERS, nodes)
            progress("writing")
            with profiled():
                taken = await gateway.seconds_to_sync()
            observed = gateway.worker.planner.observed.values()
            written[:] = [one for one in observed if isinstance(one, VirtualServer)]
        _check(count)
        _clear()
        return taken

    async def theirs() -> float:
        parts = list(_table(written))
        try:
            taken = await tool_seconds([(_NFT, "".join(parts))])
        except RuntimeError as error:
            if "Message too long" not in str(error):
                raise
            # An ordinary user's netlink buffer is smaller than one transaction; several then.
            taken = await tool_seconds([(_NFT, part) for part in parts])
        tool("nft", "delete", "table", "inet", _TABLE)
        return taken

    # The text of the reference comes from what ours wrote, so ours is always first once.
    await ours()
    found = await in_turns(ours, theirs)
    return [
        compared(
            "services-cold",
            found,
            "s",
            ("≤ 4x", found.ratio <= 4),
            (f"≤ {_MOST_SECONDS:.0f} s", found.value <= _MOST_SECONDS),
            note=f"{count} Services, {count * _MEMBERS} members; reference: nft -f of the same table",
        )
    ]


def _check(count: int) -> None:
    """Raise unless every VIP's address stands."""
    shown = tool("ip", "-4", "-o", "address", "show", "dev", "lo")
    standing = shown.count("inet 198.18.") + shown.count("inet 198.19.")
    if standing != count:
        raise RuntimeError(f"{standing} VIPs instead of {count}")


def _clear() -> None:
    tool("nft", "flush", "ruleset")
    tool("ip", "-4", "address", "flush", "dev", "lo")
    tool("ip", "address", "add", "127.0.0.1/8", "dev", "lo")
    for line in tool("ip", "-o", "link", "show", "type", "vxlan").splitlines():
        tool("ip", "link", "delete", line.split(": ")[1])


def _table(servers: Iterable[VirtualServer]) -> Iterator[str]:
    """Yield the table as ``nft -f`` reads it."""
    yield ruleset.text(_TABLE, "made by hand")
    elements: dict[str, list[str]] = {}
    for server in servers:
        key = f"{server.address} . {server.protocol} . {server.port}"
        shard = shard_of(service_key(server.address, server.protocol, server.port))
        active, order = fill(server.members, server.algorithm)
        chain = ruleset.chain_of(server.algorithm, len(order), shard)
        elements.setdefault("services4", []).append(f"{key} : goto {chain}")
        elements.setdefault("vips4", []).append(str(server.address))
        elements.setdefault("sources4", []).append(f"{key} : {server.source}")
        elements.setdefault(f"slots4_{shard}", []).extend(
            f"{key} . {slot} : {active[number].address} . {active[number].port}" for slot, number in enumerate(order)
        )
    for name, found in elements.items():
        for start in range(0, len(found), _AT_ONCE):
            yield f"add element inet {_TABLE} {name} {{ {', '.join(found[start : start + _AT_ONCE])} }}\n"
