"""A real controller on a gateway, asked over HTTP as a kubelet and Prometheus would."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.net.command import command_in
from packets.joining import GATEWAY, Rig, eventually, joined_lab

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASK = """
import sys, urllib.request, urllib.error
try:
    with urllib.request.urlopen("http://127.0.0.1:9441" + sys.argv[1], timeout=5) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return two nodes and a controller that listens on the gateway's loopback."""
    async with joined_lab("direct", nodes=2, families=("ipv4",)) as rig:
        await rig.joined.stop_controller()
        await rig.start("--listen", "127.0.0.1:9441", "--log-format", "json")
        yield rig


async def ask(path: str) -> tuple[int, str]:
    status, _, text = (await command_in(GATEWAY, ["python3", "-c", ASK, path])).out.partition(" ")
    return int(status), text


async def figure(series: str) -> float:
    """Return one series' value, 0 where it is not there."""
    _, text = await ask("/metrics")
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


async def test_it_is_healthy_ready_and_shows_what_it_did(rig: Rig) -> None:
    """A Service that is published is a convergence, in seconds that can be believed; a probe has asked every node."""
    assert (await ask("/healthz"))[0] == 200
    assert await ask("/readyz") == (200, "ok\n\n")
    before = await figure('isthmus_convergence_seconds_count{kind="services"}')
    await rig.serve()
    count = await figure('isthmus_convergence_seconds_count{kind="services"}')
    slices = await figure('isthmus_convergence_seconds_count{kind="endpointslices"}')
    assert count + slices > before
    took = await figure('isthmus_convergence_seconds_sum{kind="services"}')
    assert 0 <= took < 10 * max(1, count)

    async def asked() -> bool:
        return await figure('isthmus_probe_nodes{device="gw1",link="lab"}') == 2

    await eventually(asked, "both nodes are asked")
    assert await figure('isthmus_device_in_sync{device="gw1"}') == 1
    assert await figure('isthmus_probe_silent_nodes{device="gw1",link="lab",trouble="unreachable"}') == 0
    assert await figure('isthmus_api_request_seconds_count{cluster="lab",result="ok",verb="watch"}') >= 4
    assert await figure("isthmus_leader") == 1


@pytest.mark.slow
async def test_an_api_that_falls_silent_makes_it_unready(rig: Rig) -> None:
    """The cable is pulled, TCP stays up: within a minute readiness says which watch is dead; health stays; it heals."""
    await rig.cut_api()

    async def blind() -> bool:
        status, text = await ask("/readyz")
        return status == 503 and "the watch of nodes is dead" in text

    await eventually(blind, "readiness fails", timeout=60)
    assert (await ask("/healthz"))[0] == 200
    assert await figure("isthmus_ready") == 0
    assert await figure('isthmus_watch_freshness_seconds{cluster="lab",kind="nodes"}') > 30
    said = [line for line in rig.log().splitlines() if '"cluster not heard"' in line]
    assert len(said) == 1, "four watches fail, one line says so"
    await rig.mend_api()

    async def sees() -> bool:
        return (await ask("/readyz"))[0] == 200

    await eventually(sees, "it sees again", timeout=60)
