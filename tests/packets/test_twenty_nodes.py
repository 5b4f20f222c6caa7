"""Twenty nodes on one gateway: all reached, one VIP over all of them, and one node more costs its own share only."""

from __future__ import annotations

import time

import pytest

from isthmus.lab.net.matrix import reach, spread
from packets.joining import CLIENT_FAR, GATEWAY, joined_lab


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
        before = (await rig.settled())["writes"]
        began = time.monotonic()
        plan = await rig.lab.add_node()
        await rig.reached([plan.name])
        assert time.monotonic() - began < 3
        after = (await rig.device(lambda one: one["writes"] > before))["writes"]
        assert after - before <= 8
