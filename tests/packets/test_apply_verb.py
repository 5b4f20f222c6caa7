"""`isthmus plan --out`, `apply` and `adopt` as a person at the gateway uses them, and what the network then does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from isthmus.lab.net.matrix import spread
from packets.joining import CLIENT_FAR, GATEWAY, Rig, eventually, joined_lab
from packets.watching import Quiet

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return two nodes and a Service, with nothing joined, and no controller."""
    async with joined_lab("direct", join=False, nodes=2) as rig:
        await rig.lab.publish(rig.workload("web"))
        yield rig


async def isthmus(rig: Rig, verb: str, *arguments: str) -> tuple[int, str, str]:
    """Run a verb with the lab's directories."""
    return await rig.joined.isthmus(
        verb, *arguments, "--config", str(rig.joined.config), "--state", str(rig.joined.state)
    )


async def test_a_reviewed_plan_makes_the_network_work(rig: Rig, tmp_path: Path) -> None:
    """What was planned into a file and applied carries packets: the client reaches every pod through the VIP."""
    file = tmp_path / "plan.json"
    status, _, err = await isthmus(rig, "plan", "--out", str(file))
    assert status == 2, err
    status, out, err = await isthmus(rig, "apply", "--plan", str(file))
    assert status == 0, (out, err)
    assert "changes done" in out
    (vip, *_) = await rig.vips("web")
    found = await spread(CLIENT_FAR, vip, 80, requests=8)
    assert found.ok
    assert len(found.pods) == 2
    status, out, _ = await isthmus(rig, "plan")
    assert status == 0, out


async def test_a_world_that_moved_is_not_touched(rig: Rig, tmp_path: Path) -> None:
    """A plan that is not true any more is refused, with what is new and what is gone, and the kernel hears nothing."""
    file = tmp_path / "plan.json"
    route = str(rig.lab.network.nodes["node1"].pod_cidr("ipv4"))
    await rig.ip("route", "del", route)
    await isthmus(rig, "plan", "--out", str(file))
    other = str(rig.lab.network.nodes["node2"].pod_cidr("ipv4"))
    await rig.ip("route", "del", other)
    async with Quiet(rig) as quiet:
        status, out, err = await isthmus(rig, "apply", "--plan", str(file))
    assert status == 2, (out, err)
    assert quiet.heard == []
    assert f"new:     + route {other}" in out
    assert "the world has moved" in err
    status, out, err = await isthmus(rig, "apply", "--plan", str(file), "--json")
    assert status == 2
    assert list(json.loads(out)["moved"]) == [GATEWAY]
    edited = tmp_path / "edited.json"
    edited.write_text(file.read_text().replace(route, other))
    status, _, err = await isthmus(rig, "apply", "--plan", str(edited))
    assert status == 1
    assert "was changed since it was made" in err
    status, out, err = await isthmus(rig, "apply", "--yes")
    assert status == 0, (out, err)
    assert await rig.reached(timeout=5) < 5


async def test_nobody_is_asked_in_a_pipe(rig: Rig) -> None:
    """Without a terminal and without --yes, apply says what to give, and does nothing."""
    status, _, err = await isthmus(rig, "apply")
    assert status == 64
    assert "--yes" in err


async def test_a_foreign_route_is_taken_over_without_losing_a_packet(rig: Rig) -> None:
    """An order turns the conflict into the path to the pods; beside a running controller nothing is applied by hand."""
    newcomer = rig.lab.topology.node(9)
    taken = str(newcomer.pod_cidr("ipv4"))
    await rig.ip("route", "add", taken, "via", "192.0.2.254", "proto", "static")
    await rig.start()
    await rig.lab.add_node(9)
    await rig.device(lambda one: any(taken in text for text in one["conflicts"]))
    status, _, err = await isthmus(rig, "apply", "--yes")
    assert status == 1
    assert "stop it first" in err

    status, out, err = await isthmus(rig, "adopt", GATEWAY, f"route {taken}", "route 10.1.2.0/24")
    assert status == 1
    assert "nothing foreign stands there" in err
    status, out, err = await isthmus(rig, "adopt", GATEWAY, f"route {taken}", "--dry-run")
    assert (status, err) == (0, "")
    assert out.startswith(f"> adopt route {taken}")
    assert "proto static" in await rig.ip("route", "show", taken)
    status, out, err = await isthmus(rig, "adopt", GATEWAY, f"route {taken}")
    assert (status, out.splitlines()[-1]) == (0, "1 order placed")
    assert await rig.reached(["node9"], timeout=10) < 10
    assert "proto static" not in await rig.ip("route", "show", taken)
    await rig.device(lambda one: one["inSync"] and not one["conflicts"])

    async def spent() -> bool:
        return not list((rig.joined.state / "orders").iterdir())

    await eventually(spent, "the order is spent")


async def test_drift_that_is_only_reported(rig: Rig) -> None:
    """Under spec.drift alert another hand's change stays and is told by status and plan; apply puts it right."""
    path = rig.joined.config / "device.yaml"
    written = json.loads(path.read_text())
    written["spec"]["drift"] = "alert"
    path.write_text(json.dumps(written))
    route = str(rig.lab.network.nodes["node1"].pod_cidr("ipv4"))
    if rig.joined.controller is not None:
        await rig.joined.stop_controller()
    await rig.start()
    await rig.ip("route", "del", route)
    status = await rig.device(lambda one: one["drifted"])
    assert not status["inSync"]
    assert route in status["drifted"][0]
    assert route not in await rig.routes()
    await rig.joined.stop_controller()
    _, out, _ = await isthmus(rig, "plan")
    assert f"* drift: was route {route}" in out
    assert route not in await rig.routes()
    await rig.joined.start_controller()
    await rig.device(lambda one: one["passes"] >= 2 and one["drifted"])
    assert route not in await rig.routes(), "a restart is no order"
    await rig.joined.stop_controller()
    code, out, err = await isthmus(rig, "apply", "--yes")
    assert code == 0, (out, err)
    assert await rig.pod_answers("node1", timeout=2)
