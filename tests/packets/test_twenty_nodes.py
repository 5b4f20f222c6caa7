"""Twenty nodes on one gateway: all reached, one VIP over all of them, and one node more costs its own share only."""

from __future__ import annotations

import json
import time

import pytest

from isthmus.lab.net.matrix import reach, spread
from packets.joining import CLIENT_FAR, GATEWAY, Rig, joined_lab


def done(rig: Rig) -> int:
    """Return how many changes the controller says that it has made."""
    entries = [json.loads(line) for line in rig.log().splitlines() if line.startswith("{")]
    return sum(entry["done"] for entry in entries if entry["event"] == "plan applied")


@pytest.mark.parametrize("path", ["direct", "flannel"])
async def test_twenty_nodes_are_joined(path: str) -> None:
    """Twenty nodes are reached in both families, one VIP serves from all twenty, and a new node is reached in a second."""
    async with joined_lab(path, nodes=20) as rig:
        found = await reach(rig.lab.network, sources=[GATEWAY])
        assert found.ok, found.failed
        (vip, _) = await rig.serve()
        shared = await spread(CLIENT_FAR, vip, 80, requests=60)
        assert shared.ok
        assert set(shared.pods.values()) == {3}, shared.pods
        await rig.settled()
        before = done(rig)
        began = time.monotonic()
        plan = await rig.lab.add_node()
        await rig.reached([plan.name])
        assert time.monotonic() - began < 3
        assert done(rig) - before <= 6, "tunnel entry, neighbor and route, per family"
