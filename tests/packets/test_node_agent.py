"""The agent on a node: whom it lets in, what it leaves alone, what it brings back, and that it goes without a trace."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.net.command import command_in
from isthmus.lab.net.matrix import spread
from isthmus.lab.net.netns import socket_in
from packets.joining import CLIENT_FAR, GATEWAY, Rig, eventually, joined_lab
from packets.watching import Load, Quiet

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODE = "node1"
TUNNEL, VNI, PORT = "isth7700", 7700, 7700
ANNOTATION = "isthmus.dev/overlay.lab"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return two nodes by our overlay."""
    async with joined_lab("overlay", nodes=2) as rig:
        yield rig


async def standing(rig: Rig, node: str = NODE) -> str:
    """Return what of ours stands on a node: links, addresses, entries and tables."""
    links = await rig.ip("-o", "link", "show", "type", "vxlan", where=node)
    addresses = await rig.ip("-o", "addr", where=node)
    tables = await rig.nft("list", "ruleset", where=node)
    ours = [line for line in addresses.splitlines() if "isth" in line]
    return links + "\n".join(ours) + tables


async def received(rig: Rig) -> int:
    """Return how many packets have come out of the tunnel on the node."""
    (link,) = json.loads(await rig.ip("-j", "-s", "link", "show", TUNNEL, where=NODE))
    return int(link["stats64"]["rx"]["packets"])


def forge(rig: Rig, place: str, target_mac: str) -> None:
    """Send a VXLAN packet (RFC 7348) from ``place`` to the node's tunnel port: an ARP reply for the device's address."""
    frame = bytes.fromhex(target_mac.replace(":", "")) + bytes.fromhex("020000bad001") + b"\x08\x06"
    frame += struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + bytes.fromhex("020000bad001")
    frame += socket.inet_aton("172.31.255.254") + bytes(6) + socket.inet_aton("172.31.0.1")
    packet = struct.pack("!II", 0x08000000, VNI << 8) + frame
    with socket_in(place, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(packet, (str(rig.lab.network.nodes[NODE].leg.address("ipv4")), PORT))


async def restarted(rig: Rig) -> None:
    """Stop the node's agent and start it, and wait until it watches its Node."""
    await rig.joined.agents[NODE].stop()
    requests = rig.lab.api.faults.requests
    watches = requests["watch", "nodes"]
    await rig.joined.start_agent(rig.lab.network.nodes[NODE])

    async def watching() -> bool:
        return requests["watch", "nodes"] > watches

    await eventually(watching, "the agent watches")


async def test_only_the_device_gets_into_the_tunnel(rig: Rig) -> None:
    """A forged VXLAN packet from another node, or from anywhere, is dropped; the same from the device's end comes through."""
    attached = json.loads(rig.lab.api.get("nodes", NODE)["metadata"]["annotations"][ANNOTATION])
    await rig.settled()
    await rig.joined.stop_controller()  # so that its probes do not count
    before = await received(rig)
    for place in ("node2", ""):
        for _ in range(5):
            forge(rig, place, attached["mac"])
    forge(rig, GATEWAY, attached["mac"])

    async def through() -> bool:
        return await received(rig) > before

    await eventually(through, "the device's packet comes through")
    assert await received(rig) == before + 1
    await rig.start()


async def test_an_agent_that_restarts_changes_nothing(rig: Rig) -> None:
    """A restart in sync is not noticed by the node's kernel, nor by a client; afterwards drift heals as before."""
    (vip, _) = await rig.serve()
    async with Quiet(rig, NODE) as quiet, Load(CLIENT_FAR, vip) as load:
        await restarted(rig)
        await load.count(100)
    assert quiet.heard == []
    assert load.errors == {}
    (entry,) = [line for line in (await rig.bridge(NODE)).splitlines() if f"dev {TUNNEL} dst" in line]
    await command_in(
        NODE, ["bridge", "fdb", "del", entry.split()[0], "dev", TUNNEL, "dst", entry.split("dst ")[1].split()[0]]
    )

    async def healed() -> bool:
        return entry in await rig.bridge(NODE) and await rig.pod_answers(NODE)

    await eventually(healed, "the entry is back")


async def test_a_node_that_boots_while_the_api_is_away_is_reached(rig: Rig) -> None:
    """After a reboot with no API to ask, the agent puts back what it had, and the gateway reaches the node's pods."""
    before = await standing(rig)
    await rig.joined.agents[NODE].stop()
    await rig.ip("link", "del", TUNNEL, where=NODE)
    await command_in(NODE, ["nft", "delete", "table", "inet", "isthmus_node"])
    assert not await rig.pod_answers(NODE)
    cut = "table inet cut { chain out { type filter hook output priority -300; tcp dport 6443 drop; }; }"
    await command_in(NODE, ["nft", "-f", "-"], text=cut + "\n")
    await rig.joined.start_agent(rig.lab.network.nodes[NODE])
    await rig.reached([NODE], timeout=10)
    await command_in(NODE, ["nft", "delete", "table", "inet", "cut"])
    await restarted(rig)
    now, then = await standing(rig), before
    assert [line.split(": ", 1)[-1] for line in now.splitlines()] == [
        line.split(": ", 1)[-1] for line in then.splitlines()
    ]


async def test_a_node_whose_annotation_goes_is_left_without_a_trace(rig: Rig) -> None:
    """When the annotation is removed, link, addresses and table go from that node; the other node stays; it can return."""
    await rig.joined.stop_controller()  # it would write the annotation again
    other = await standing(rig, "node2")
    await rig.lab.cluster.annotate(NODE, {ANNOTATION: None})

    async def gone() -> bool:
        return await standing(rig) == ""

    await eventually(gone, "nothing is left")
    assert await standing(rig, "node2") == other
    assert await rig.pod_answers("node2")
    await rig.start()
    await rig.reached(timeout=10)
    (vip, _) = await rig.serve("returned")
    assert (await spread(CLIENT_FAR, vip, 80, requests=4)).ok


async def test_cleaning_by_hand_leaves_nothing(rig: Rig) -> None:
    """`isthmus agent node --clean` takes everything of ours from the node, whatever the API says."""
    await rig.joined.agents["node2"].stop()
    state = rig.lab.directory / "agent-node2"
    argv = [
        "agent",
        "node",
        "--node",
        "node2",
        "--state",
        str(state),
        "--kubeconfig",
        str(rig.lab.kubeconfig),
        "--clean",
    ]
    running = await rig.lab.start_process("node2", [*rig.joined.agents["node2"].argv[:3], *argv])
    assert await running.wait() == 0, running.tail()
    assert "things removed" in running.read_log()
    assert await standing(rig, "node2") == ""
