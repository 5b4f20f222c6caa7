"""The node agent as its pod runs it: the account's token, root with NET_ADMIN alone, against a real API server."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from contextlib import AsyncExitStack
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from app.home.rig import node, real_place, until
from deploy.installed import Installed
from deploy.manifests import ROOT, only
from deploy.pods import free_port
from isthmus.agents.node import PREFIX
from isthmus.core.attachment import Attachment, Peer
from realapi import RealApi, require

pytestmark = pytest.mark.packets
NODES, AGENT, TUNNEL = "isthmus-nodes", "isthmus-node", "isth7700"
PEER = Peer("gw1", ip_address("192.0.2.1"), "02:00:00:00:00:99", (ip_address("10.200.0.254"),))
PLACE = Attachment((ip_interface("10.200.0.1/24"),), "02:00:00:00:00:07", 7700, 4790, 1450, (PEER,)).render()


def links() -> str:
    """Return what links there are in this sandbox."""
    return Path("/proc/net/dev").read_text()


async def run(line: str) -> None:
    process = await asyncio.create_subprocess_exec(*shlex.split(line))
    assert await process.wait() == 0, line


async def test_the_agent_runs_as_its_pod_does(tmp_path: Path) -> None:
    """It makes the node's tunnel as its Node says and takes it away again; nothing is refused to it, here or there."""
    server = RealApi(require(), tmp_path / "server", audited=True)
    process = None
    try:
        server.start()
        await run("ip link add underlay type veth peer name wire")
        await run("ip address add 192.0.2.101/24 dev underlay")
        await run("ip link set underlay up")
        async with real_place(tmp_path, server) as place, AsyncExitStack() as stack:
            installed = Installed(server, place, "node-agents", tmp_path)
            place.api.put(node(1, annotations={f"{PREFIX}main": PLACE}))
            container = only(installed.objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
            said = {
                "$(NODE_IP)": "127.0.0.1",
                ":9442": f":{free_port()}",
                "/var/lib/isthmus-node": str(tmp_path / "state"),
            }
            arguments = [str(word) for word in container["args"]]
            for old, new in said.items():
                arguments = [word.replace(old, new) for word in arguments]
            log = stack.enter_context((tmp_path / "agent.log").open("wb"))
            process = await asyncio.create_subprocess_exec(
                *("setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--no-new-privs", "--"),
                *(sys.executable, "-m", "isthmus", *arguments),
                env={
                    **installed.environment(NODES, AGENT),
                    "NODE_NAME": "n1",
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(ROOT / "src"),
                },
                stdout=log,
                stderr=log,
            )
            words = lambda: (tmp_path / "agent.log").read_text() + str(installed.refused(AGENT))  # noqa: E731
            await until(lambda: TUNNEL in links(), 20.0, what=words)
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert f"CapEff:\t{1 << 12:016x}\n" in status  # CAP_NET_ADMIN
            place.api.put(node(1))
            await until(lambda: TUNNEL not in links(), 20.0, what=words)
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 10) == 0, words()
            assert installed.refused(AGENT) == []
            assert {use.resource for use in installed.uses(AGENT)} == {"nodes"}
    finally:
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        server.stop()
        await run("ip link delete underlay")
