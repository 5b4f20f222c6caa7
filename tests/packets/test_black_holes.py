"""A node that swallows packets is found by a probe, named in the status and explained, and cleared when healed."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

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


async def named(rig: Rig, node: str) -> None:
    """See that exactly ``node`` is named within ten seconds: in the status and by ``isthmus explain``."""
    began = time.monotonic()
    link = await rig.until("ClusterLink", "lab", lambda one: one["silent"], timeout=12)
    assert time.monotonic() - began < 11
    assert len(link["silent"]) == 1
    assert f"node {node}" in link["silent"][0]
    _, out, _ = await rig.joined.isthmus("status", "--json", "--state", str(rig.joined.state))
    assert node in json.loads(out)["objects"]["ClusterLink"]["lab"]["silent"][0]
    places = ("--config", str(rig.joined.config), "--state", str(rig.joined.state))
    status, out, _ = await rig.joined.isthmus("explain", node, *places)
    assert status == 1
    assert any(line.startswith("NO") and "answer" in line for line in out.splitlines()), out
    status, out, _ = await rig.joined.isthmus("explain", "node1", *places)
    assert status == 0, out


async def test_a_wrong_tunnel_mac_is_found_and_cleared(rig: Rig) -> None:
    """A node whose tunnel MAC is not the one it published is named; with the right one back it is named no more."""
    plan = rig.lab.network.nodes["node2"]
    (line,) = (await rig.ip("-o", "link", "show", "flannel.1", where="node2")).splitlines()
    right = line.split("link/ether ")[1].split()[0]
    await rig.lab.network.set_vtep_mac("node2", "02:bb:00:00:00:01")
    assert not await rig.pod_answers("node2")
    await named(rig, "node2")
    await rig.lab.flanneld.set_vtep_mac("node2", {"ipv4": right})
    await rig.until("ClusterLink", "lab", lambda one: not one["silent"])
    assert await rig.pod_answers(plan.name)


async def test_a_missing_way_back_is_found_and_cleared(rig: Rig) -> None:
    """A node without its route to the device is named, although the gateway has all it needs; the route clears it."""
    own = next(node for node in rig.lab.api.list("nodes") if "isthmus.dev/device" in node["metadata"]["labels"])
    prefix = own["spec"]["podCIDR"]
    (route,) = (await rig.ip("route", "show", prefix, where="node3")).splitlines()
    await rig.ip("route", "del", prefix, where="node3")
    await named(rig, "node3")
    await rig.ip("route", "add", *route.split(), where="node3")
    await rig.until("ClusterLink", "lab", lambda one: not one["silent"])
    assert await rig.pod_answers("node3")
