"""No credential leaves the place it was written to: not by logs, status, state, plan, errors or the list of processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from isthmus.lab.kube import KubeApi

PLANTED = "planted-3f9c1d7e55aa-token"
_DEVICE = {"driver": "memory", "tunnelAddresses": ["192.0.2.1"]}


def _write(folder: Path, kind: str, name: str, spec: Mapping[str, object]) -> None:
    document = {"apiVersion": "isthmus.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}
    (folder / f"{kind.lower()}.yaml").write_text(yaml.safe_dump(document))


async def _run(*arguments: str, seconds: float = 20.0) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "isthmus",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(seconds):
        out, _ = await process.communicate()
    return out


async def test_a_token_is_found_nowhere(tmp_path: Path) -> None:
    """A controller that is let in, refused and let in again, and every command beside it, never show the token."""
    api = KubeApi(tokens={PLANTED: "isthmus"})
    config, state = tmp_path / "config", tmp_path / "state"
    config.mkdir()
    async with api.serving() as endpoint:
        _write(config, "KubeCluster", "lab", {"kubeconfig": {"path": str(endpoint.kubeconfig_path)}})
        _write(config, "EdgeDevice", "gw", _DEVICE)
        link = {"cluster": "lab", "devices": ["gw"], "path": "overlay", "overlay": {"networks": ["10.200.0.0/24"]}}
        _write(config, "ClusterLink", "lab", link)
        where = ("--config", str(config), "--state", str(state))
        log = tmp_path / "log"
        command = [sys.executable, "-m", "isthmus", "controller", *where, "--log-level", "debug"]
        with log.open("wb") as output:
            controller = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            async with asyncio.timeout(20):
                while not api.watches("nodes"):
                    await asyncio.sleep(0.05)
            commands = Path(f"/proc/{controller.pid}/cmdline").read_bytes()
            seen = await asyncio.gather(_run("plan", *where, "--json"), _run("explain", "nothing", *where))
            api.access.tokens.clear()  # from now on the token is refused: errors are where secrets like to show
            api.close_watches()
            async with asyncio.timeout(20):
                while b"401" not in log.read_bytes():
                    await asyncio.sleep(0.05)
            seen += await asyncio.gather(_run("plan", *where), _run("status", "--state", str(state), "--json"))
        finally:
            controller.terminate()
            await controller.wait()
    kept = b"".join(file.read_bytes() for file in sorted(state.rglob("*")) if file.is_file())
    for place in (commands, log.read_bytes(), kept, *seen):
        assert place
        assert PLANTED.encode() not in place
