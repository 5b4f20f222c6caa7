"""A node that swallows packets is found by a probe, named in the status with what it swallows, and cleared when healed."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from isthmus.lab.net.command import command_in
from packets.joining import GATEWAY, Rig, eventually, joined_lab

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODES = 20
LONG = 1450
_FIREWALL = """
table inet long {{
    chain {hook} {{ type filter hook {hook} priority 0; {side} "flannel.1" meta length > 1000 drop; }}
}}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return twenty nodes behind flannel with a Service over all of them."""
    async with joined_lab("flannel", nodes=NODES, families=("ipv4",)) as rig:
        await rig.serve()
        await rig.until("ClusterLink", "lab", lambda link: link["probe"] == f"all {NODES} nodes answer")
        yield rig


async def silent(rig: Rig, *nodes: str) -> dict[str, str]:
    """Wait until exactly ``nodes`` are named in the link's status, ten seconds at most; return what is said of each."""
    began = time.monotonic()
    found: dict[str, str] = {}

    def exactly(link: Mapping[str, Any]) -> bool:
        found.clear()
        found.update({text.partition("node ")[2].split(":")[0]: text for text in link["silent"]})
        return len(link["silent"]) == len(nodes) and found.keys() == set(nodes)

    await rig.until("ClusterLink", "lab", exactly, timeout=12)
    assert time.monotonic() - began < 11
    return found


async def own_route(rig: Rig, node: str) -> str:
    """Return a node's route back to the gateway's own place in the pod network."""
    own = next(node for node in rig.lab.api.list("nodes") if "isthmus.dev/device" in node["metadata"]["labels"])
    (route,) = (await rig.ip("route", "show", own["spec"]["podCIDR"], where=node)).splitlines()
    return route


async def test_black_holes_are_found_explained_and_cleared(rig: Rig) -> None:
    """A node with another tunnel MAC than it published and one without its way back are named, and no other; then cleared."""
    (line,) = (await rig.ip("-o", "link", "show", "flannel.1", where="node2")).splitlines()
    right = line.split("link/ether ")[1].split()[0]
    route = await own_route(rig, "node3")
    await rig.lab.network.set_vtep_mac("node2", "02:bb:00:00:00:01")
    await rig.ip("route", "del", route.split()[0], where="node3")
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


async def test_long_packets_that_are_lost_are_told_with_their_direction(rig: Rig) -> None:
    """Four ways to lose only long packets: each node is named with the size, the way on which they go, and what passes."""
    await rig.ip("link", "set", "eth0", "mtu", "1400", where="node4")
    await rig.ip("link", "set", "flannel.1", "mtu", "1400", where="node5")
    for node, hook, side in (("node6", "input", "iifname"), ("node7", "output", "oifname")):
        await command_in(node, ["nft", "-f", "-"], text=_FIREWALL.format(hook=hook, side=side))
    for node in ("node4", "node6", "node7"):
        assert await rig.pod_answers(node), "short packets pass, so nothing looks wrong"

    said = await silent(rig, "node4", "node5", "node6", "node7")
    for node, way in (("node4", "on the way out"), ("node6", "on the way out"), ("node7", "on the way back")):
        assert f"packets of {LONG} bytes are lost {way}" in said[node], said[node]
        assert "short ones pass" in said[node]
    assert "1350 bytes pass" in said["node4"], said["node4"]
    assert "the way back, from it to gw1, carries less" in said["node5"], said["node5"]
    assert f"an answer of {LONG} bytes comes in pieces of 1" in said["node5"], said["node5"]
    assert all("raise the MTU" in text for text in said.values()), "each says a way out"
    link = await rig.of("ClusterLink")
    assert link["probe"] == "4 nodes lose long packets"
    places = ("--config", str(rig.joined.config), "--state", str(rig.joined.state))
    status, out, _ = await rig.joined.isthmus("explain", "node6", *places)
    assert status == 1
    assert f"short packets pass, packets of {LONG} bytes do not" in out, out
    assert f"packets of {LONG} bytes are lost on the way out, from gw1 to it" in out, out

    await rig.ip("link", "set", "eth0", "mtu", "1500", where="node4")
    await rig.ip("link", "set", "flannel.1", "mtu", str(LONG), where="node5")
    for node in ("node6", "node7"):
        await command_in(node, ["nft", "delete", "table", "inet", "long"])
    await silent(rig)


async def test_a_gateway_without_a_voice_is_told_once(rig: Rig) -> None:
    """When nobody answers at all, no node is blamed twenty times: the gateway is named, once."""
    await command_in(GATEWAY, ["nft", "-f", "-"], text=_MUTE)

    async def told() -> bool:
        link = await rig.of("ClusterLink")
        return len(link["silent"]) == 1 and "look at gw1 itself" in link["silent"][0]

    assert await eventually(told, "the gateway is named", timeout=12) < 11
    assert "node1:" not in str((await rig.of("ClusterLink"))["silent"])
    await command_in(GATEWAY, ["nft", "delete", "table", "inet", "mute"])
    await silent(rig)


_MUTE = """
table inet mute {
    chain out { type filter hook output priority 0; oifname "isthf*" drop; }
}
"""
