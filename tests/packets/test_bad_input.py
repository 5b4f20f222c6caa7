"""Wrong files and odd nodes while everything runs: the trouble is named, and hurts nobody but itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from isthmus.lab.net.matrix import reach, spread
from packets.joining import CLIENT_NEAR, GATEWAY, Rig, joined_lab
from packets.watching import Load, Quiet

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return two nodes on the gateway's segment."""
    async with joined_lab("direct", nodes=2) as rig:
        yield rig


async def node(rig: Rig, name: str, cidr: str, address: str | None) -> None:
    """Register a Node by hand, with an address or without."""
    spec: dict[str, Any] = {"podCIDR": cidr, "podCIDRs": [cidr]}
    own = [] if address is None else [{"type": "InternalIP", "address": address}]
    rig.lab.api.put(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "spec": spec,
            "status": {"addresses": own, "conditions": [{"type": "Ready", "status": "True"}]},
        }
    )


@pytest.mark.parametrize("name", ["new.yaml", "link.yaml", "device.yaml", "cluster.yaml", "pools.yaml"])
async def test_a_broken_file_changes_nothing(rig: Rig, name: str) -> None:
    """YAML that does not parse is named with its file; what it described stands, and traffic goes on; mended, all is well."""
    (vip, _) = await rig.serve()
    await rig.settled()
    place = rig.joined.config / name
    before = place.read_text() if place.exists() else None
    async with Quiet(rig) as quiet, Load(CLIENT_NEAR, vip) as load:
        place.write_text("apiVersion: isthmus.dev/v1alpha1\nkind: [ClusterLink\n  spec: }{\n")
        status = await rig.until("Controller", "controller", lambda one: one["problems"])
        await load.count(100)
        if before is None:
            place.unlink()
        else:
            place.write_text(before)
        await rig.until("Controller", "controller", lambda one: not one["problems"])
    assert any(name in problem for problem in status["problems"]), status
    assert load.errors == {}
    assert quiet.heard == []
    await rig.settled()


async def test_an_unknown_field_is_named_and_the_object_stands_as_it_was(rig: Rig) -> None:
    """A misspelt field is refused with its place; the link works on as it was."""
    (vip, _) = await rig.serve()
    document = rig.joined.documents()["link.yaml"]
    document["spec"]["nodeGracePeriode"] = "1s"
    async with Load(CLIENT_NEAR, vip) as load:
        rig.joined.write("link.yaml", document)
        status = await rig.until("Controller", "controller", lambda one: one["problems"])
        await load.count(50)
        rig.joined.write("link.yaml", rig.joined.documents()["link.yaml"])
        await rig.until("Controller", "controller", lambda one: not one["problems"])
    assert any("nodeGracePeriode" in problem and "link.yaml" in problem for problem in status["problems"]), status
    assert load.errors == {}
    assert (await reach(rig.lab.network, sources=[GATEWAY])).ok


async def test_a_node_that_claims_anothers_pods_gets_nothing(rig: Rig) -> None:
    """Of two nodes with one pod CIDR the first keeps it and the other is named; when that one goes, so does the conflict."""
    (vip, _) = await rig.serve()
    taken = str(rig.lab.network.nodes["node1"].pod_cidr("ipv4"))
    async with Load(CLIENT_NEAR, vip) as load:
        await node(rig, "twin", taken, "192.0.2.99")
        status = await rig.device(lambda one: any(taken in text for text in one["conflicts"]))
        await load.count(50)
        places = ("--config", str(rig.joined.config), "--state", str(rig.joined.state))
        code, out, _ = await rig.joined.isthmus("explain", "twin", *places)
        assert code == 1
        assert taken in out
        rig.lab.api.delete("nodes", "twin")
        await rig.device(lambda one: not one["conflicts"])
    assert load.errors == {}
    assert any("node1" in text for text in status["conflicts"]), status
    assert await rig.pod_answers("node1")


async def test_a_node_without_an_address_waits(rig: Rig) -> None:
    """A node that has no address is named as waiting, with the reason; the others are served."""
    await node(rig, "bare", "10.244.98.0/24", None)
    link = await rig.until("ClusterLink", "lab", lambda one: any("bare" in text for text in one["waiting"]))
    assert link["nodesJoined"] == 2
    (vip, _) = await rig.serve()
    assert (await spread(CLIENT_NEAR, vip, 80, requests=4)).ok
    rig.lab.api.delete("nodes", "bare")
    await rig.until("ClusterLink", "lab", lambda one: not one["waiting"])
