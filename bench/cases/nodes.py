"""``nodes-5000``: the FDB entry, neighbor and route of every node, from facts in sync to the last acknowledgement.

The reference is ``bridge -batch`` and ``ip -batch`` with the same content on a tunnel made by hand. Ours looks at the
device first, works everything out and compares; the reference is told what to write.
"""

from __future__ import annotations

from bench.gateway import Gateway, make_network, tool, tool_seconds
from bench.measure import in_turns, profiled, scaled
from bench.row import Row, compared
from bench.world import CLUSTER, empty_world, hop, mac, node, pod_cidr, vtep

_BY_HAND = "byhand0"


async def measure() -> list[Row]:
    """Return the row."""
    count = scaled(5000)
    make_network()
    world = empty_world()
    facts = [node(number) for number in range(count)]
    numbers = range(count)
    fdb = "".join(f"fdb add {mac(n)} dev {_BY_HAND} dst {vtep(n)} self permanent\n" for n in numbers)
    neighbors = "".join(
        f"neighbor add {hop(n)} lladdr {mac(n)} dev {_BY_HAND} nud permanent protocol 201\n" for n in numbers
    )
    routes = "".join(f"route add {pod_cidr(n)} via {hop(n)} dev {_BY_HAND} protocol 201 onlink\n" for n in numbers)

    async with Gateway(world) as gateway:

        async def ours() -> float:
            for one in facts:
                world.put_node(CLUSTER, one.name, one)
            with profiled():
                taken = await gateway.seconds_to_sync()
            _check(count, "isthmus")
            for one in facts:
                world.put_node(CLUSTER, one.name, None)
            await gateway.seconds_to_sync()
            return taken

        async def theirs() -> float:
            tool("ip", "link", "add", _BY_HAND, "type", "vxlan", "id", "99", "dstport", "9999", "nolearning")
            tool("ip", "link", "set", _BY_HAND, "up")
            try:
                return await tool_seconds(
                    [(("bridge", "-batch", "-"), fdb), (("ip", "-batch", "-"), neighbors + routes)]
                )
            finally:
                _check(count, _BY_HAND)
                tool("ip", "link", "delete", _BY_HAND)

        found = await in_turns(ours, theirs)
    return [
        compared(
            "nodes-5000",
            found,
            "s",
            ("≤ 1.5x", found.ratio <= 1.5),
            note=f"{count} nodes, {3 * count} resources; reference: bridge -batch, then ip -batch",
        )
    ]


def _check(count: int, what: str) -> None:
    """Raise unless as many routes stand as there are nodes: a fast failure is no result."""
    standing = sum(1 for line in tool("ip", "route").splitlines() if " via 10.200." in line)
    if standing != count:
        raise RuntimeError(f"{what}: {standing} routes instead of {count}")
