"""`isthmus doctor` at a gateway: well when all is well, and each planted trouble is named with its way out."""

from __future__ import annotations

import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from isthmus.lab.net.command import command_in
from isthmus.lab.net.netns import write_sysctls
from packets.joining import GATEWAY, Rig, joined_lab
from packets.watching import Quiet

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILTER = "table inet guard {\nchain pass {\ntype filter hook forward priority 0\npolicy drop\n}\n}\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return two nodes on our overlay, and a Service."""
    async with joined_lab("overlay", nodes=2) as rig:
        await rig.serve()
        yield rig


async def doctor(rig: Rig, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """Run the doctor with the lab's directories and return its exit code and answers."""
    where = ("--config", str(rig.joined.config), "--state", str(rig.joined.state))
    status, out, err = await rig.joined.isthmus("doctor", *where, "--json", *arguments)
    assert out, err
    answers: list[dict[str, str]] = json.loads(out)["answers"]
    return status, answers


async def test_a_good_gateway_is_well(rig: Rig, tmp_path: Path) -> None:
    """Beside a running controller nothing fails or warns, nothing is changed, and the bundle holds the network."""
    bundle = tmp_path / "bundle.tar.gz"
    writes = rig.lab.api.faults.writes
    async with Quiet(rig) as quiet:
        status, answers = await doctor(rig, "--bundle", str(bundle))
    assert status == 0
    assert [one for one in answers if one["level"] != "ok"] == []
    assert quiet.heard == []
    assert rig.lab.api.faults.writes == writes
    texts = [one["text"] for one in answers]
    assert "gw1 is set to reach all 2 nodes" in texts
    assert any(text.startswith("packets go both ways") for text in texts)
    assert any(text.startswith("nobody else answers") for text in texts)
    with tarfile.open(bundle) as archive:
        names = set(archive.getnames())
        routes = archive.extractfile("isthmus-bundle/network/routes4.json")
        assert routes is not None
        assert str(rig.lab.network.nodes["node1"].pod_cidr("ipv4")) in routes.read().decode()
    assert "isthmus-bundle/network/nft-isthmus_main.txt" in names


async def test_planted_troubles_are_named(rig: Rig) -> None:
    """A foreign filter, forwarding that was switched off, and a VIP that somebody else has, too: one answer each."""
    (vip, *_) = await rig.vips("web")
    await command_in(GATEWAY, ["nft", "-f", "-"], text=FILTER)
    await rig.ip("addr", "add", f"{vip}/32", "dev", "eth0", where="client-near")
    write_sysctls(GATEWAY, [("ipv4/ip_forward", "0")])
    try:
        status, answers = await doctor(rig, "--quiet")
    finally:
        write_sysctls(GATEWAY, [("ipv4/ip_forward", "1")])
        await rig.ip("addr", "del", f"{vip}/32", "dev", "eth0", where="client-near")
        await command_in(GATEWAY, ["nft", "delete", "table", "inet", "guard"])
    assert status == 1
    found = {one["text"].split(" (")[0]: one for one in answers}
    assert "nft chain inet guard pass" in found
    assert "does not forward IPv4" in found
    assert any(text.startswith(f"VIP {vip} is answered for by") for text in found)
    assert all(one["remedy"] for one in answers if one["level"] == "fail")
