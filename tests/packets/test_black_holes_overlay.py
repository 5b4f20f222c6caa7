"""Black holes on our own overlay, in both IP versions: named with the version that is lost, and cleared when healed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from isthmus.lab.net.command import command_in
from packets.joining import Rig, joined_lab

pytestmark = pytest.mark.asyncio(loop_scope="module")

_LONG6 = """
table inet long {
    chain input { type filter hook input priority 0; iifname "isth7700" meta nfproto ipv6 meta length > 1000 drop; }
}
"""
_BACK = """
table inet back {
    chain output { type filter hook output priority 0; oifname "isth7700" meta nfproto ipv4 meta length > 1000 drop; }
}
"""
_DEAD6 = """
table inet dead {
    chain input { type filter hook input priority 0; iifname "isth7700" meta nfproto ipv6 drop; }
}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return four dual-stack nodes on our overlay."""
    async with joined_lab("overlay", nodes=4, families=("ipv4", "ipv6")) as rig:
        await rig.until("ClusterLink", "lab", lambda link: link["probe"] == "all 4 nodes answer")
        yield rig


async def silent(rig: Rig, *nodes: str) -> dict[str, str]:
    """Wait until exactly ``nodes`` are named, ten seconds at most."""
    found: dict[str, str] = {}

    def exactly(link: Mapping[str, Any]) -> bool:
        found.clear()
        found.update({text.partition("node ")[2].split(":")[0]: text for text in link["silent"]})
        return found.keys() == set(nodes)

    await rig.until("ClusterLink", "lab", exactly, timeout=11)
    return found


async def test_each_ip_version_is_a_path_of_its_own(rig: Rig) -> None:
    """One node loses IPv6, one only long IPv6 packets on the way out, one long IPv4 packets on the way back."""
    faults = {"node1": ("dead", _DEAD6), "node2": ("long", _LONG6), "node3": ("back", _BACK)}
    for node, (_, text) in faults.items():
        await command_in(node, ["nft", "-f", "-"], text=text)
    said = await silent(rig, *faults)
    assert "does not answer fd" in said["node1"], said
    assert "packets of 1450 bytes are lost on the way out" in said["node2"], said
    assert "packets of 1450 bytes are lost on the way back" in said["node3"], said
    assert "set spec.overlay.mtu of ClusterLink lab" in said["node2"], said
    for node, (table, _) in faults.items():
        await command_in(node, ["nft", "delete", "table", "inet", table])
    await silent(rig)


async def test_a_tunnel_of_the_gateways_own_that_is_too_small(rig: Rig) -> None:
    """Lowered by hand, it is put right again as drift, and no node is blamed for it."""
    await rig.ip("link", "set", "isth7700", "mtu", "1300")
    await rig.until("EdgeDevice", "gw1", lambda device: device["drift"] >= 1)
    await silent(rig)
    assert "mtu 1450" in await rig.ip("link", "show", "isth7700")
