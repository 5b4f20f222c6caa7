"""A node that swallows packets is found by a probe, named in the status and explained, and cleared when healed."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from packets.joining import Rig, joined_lab

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return three nodes behind flannel with a Service over all of them."""
    async with joined_lab("flannel", nodes=3, families=("ipv4",)) as rig:
        await rig.serve()
        yield rig


async def silent(rig: Rig, *nodes: str) -> None:
    """Wait until exactly ``nodes`` are named in the link's status, ten seconds at most."""
    began = time.monotonic()

    def exactly(link: Mapping[str, Any]) -> bool:
        texts = link["silent"]
        return len(texts) == len(nodes) and all(any(f"node {node}:" in text for text in texts) for node in nodes)

    await rig.until("ClusterLink", "lab", exactly, timeout=12)
    assert time.monotonic() - began < 11


async def test_black_holes_are_found_explained_and_cleared(rig: Rig) -> None:
    """A node with another tunnel MAC than it published and one without its way back are named, and no other; then cleared."""
    (line,) = (await rig.ip("-o", "link", "show", "flannel.1", where="node2")).splitlines()
    right = line.split("link/ether ")[1].split()[0]
    own = next(node for node in rig.lab.api.list("nodes") if "isthmus.dev/device" in node["metadata"]["labels"])
    prefix = own["spec"]["podCIDR"]
    (route,) = (await rig.ip("route", "show", prefix, where="node3")).splitlines()
    await rig.lab.network.set_vtep_mac("node2", "02:bb:00:00:00:01")
    await rig.ip("route", "del", prefix, where="node3")
    assert not await rig.pod_answers("node2")
    assert not await rig.pod_answers("node3")

    await silent(rig, "node2", "node3")
    _, out, _ = await rig.joined.isthmus("status", "--json", "--state", str(rig.joined.state))
    shown = json.loads(out)["objects"]["ClusterLink"]["lab"]["silent"]
    assert [text.split("node ")[1].split(":")[0] for text in shown] == ["node2", "node3"]
    places = ("--config", str(rig.joined.config), "--state", str(rig.joined.state))
    for node, broken in (("node1", False), ("node2", True), ("node3", True)):
        status, out, _ = await rig.joined.isthmus("explain", node, *places)
        assert status == int(broken), out
        assert broken == any(line.startswith("NO") and "answer" in line for line in out.splitlines()), out

    await rig.lab.flanneld.set_vtep_mac("node2", {"ipv4": right})
    await silent(rig, "node3")
    await rig.ip("route", "add", *route.split(), where="node3")
    await silent(rig)
    assert await rig.pod_answers("node2")
    assert await rig.pod_answers("node3")
