"""``isthmus controller`` says what is wrong with its options, and runs with a home cluster as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from .rig import Place, node, until

NO_POD = {name: value for name, value in os.environ.items() if not name.startswith("KUBERNETES_")}


async def run(*arguments: str) -> tuple[int, str]:
    """Run ``isthmus controller`` to its end; return its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "isthmus", "controller", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=NO_POD,
    )  # fmt: skip
    async with asyncio.timeout(30):
        said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--home", "/x", "--in-cluster"], 64, "both say which cluster is home"),
        (["--namespace", "x"], 64, "give --home or --in-cluster, too"),
        (["--home", "/nowhere/kubeconfig"], 1, "/nowhere/kubeconfig"),
        (["--in-cluster"], 1, "this is not a pod"),
    ],
)
async def test_wrong_options_are_named(arguments: list[str], status: int, text: str) -> None:
    """What is wrong is said in a sentence, with the exit status that the reference promises."""
    code, said = await run(*arguments)
    assert code == status
    assert text in said
    assert "Traceback" not in said


async def test_a_process_with_a_home_cluster(home: Place, tmp_path: Path) -> None:
    """The real command follows the home cluster, answers there, and ends gracefully at SIGTERM; its state is optional."""
    home.put("KubeCluster", "prod", {"kubeconfig": {"path": str(home.endpoint.kubeconfig_path)}})
    home.put("EdgeDevice", "gw1", {"driver": "memory", "tunnelAddresses": ["192.0.2.1"]})
    home.put("ClusterLink", "main", {"cluster": "prod", "devices": ["gw1"], "path": "direct"})
    home.api.put(node(1))
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "isthmus", "controller", "--home", str(home.endpoint.kubeconfig_path),
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        await until(lambda: home.is_so("ClusterLink", "main", "Ready"), 30, log.read_text)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert "Traceback" not in log.read_text()
    assert "what is applied is not kept" in log.read_text()
