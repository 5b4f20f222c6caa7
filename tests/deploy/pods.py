"""Run what a workload's container runs, as far as a test can be a kubelet: its arguments, user, environment and files.

The process is the user that the pod says, has no capability and may gain none, and sees every file system read-only, its
account's directory too, and no program. What is missing is the image: the interpreter is that of the tests.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from deploy.manifests import ROOT

Json = dict[str, Any]


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def confined(user: int) -> list[str]:
    """Return what goes before a command so that it is ``user`` with no power and nothing to write on; nothing if not root."""
    if os.geteuid() != 0:
        return []
    become = f"$(command -v setpriv) --reuid={user} --regid={user} --clear-groups --bounding-set=-all --inh-caps=-all"
    only_read = (
        "mount --make-rprivate / && for at in / /tmp; do ! mountpoint -q $at || mount -o remount,bind,ro $at; done"
    )
    # The path is gone for what is started: a controller calls no program.
    start = f'exec env PATH=/nonexistent {become} --no-new-privs -- "$@"'
    return ["unshare", "--mount", "sh", "-c", f"{only_read} && {start}", "sh"]


class Pod:
    """One container of a pod, as a process; ``port`` is where its probes ask."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        self.process = process
        self._port = port
        self._log = log

    def probe(self, path: str) -> str:
        """Return what a kubelet's probe is told: ``ok``, or what is wrong."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=2.0) as answer:
                return str(answer.read().decode().strip())
        except urllib.error.HTTPError as error:
            return str(error.read().decode().strip())
        except OSError as error:
            return f"no answer: {error}"

    def log(self) -> str:
        """Return what it has said."""
        return self._log.read_text(errors="replace")


@asynccontextmanager
async def running(workload: Json, environment: dict[str, str], log: Path, *more: str) -> AsyncIterator[Pod]:
    """Run the first container of a workload, with ``more`` arguments, until the block ends; it is killed then.

    Its variables are those that the manifest has values for, and over them ``environment``.
    """
    pod = workload["spec"]["template"]["spec"]
    container, port = pod["containers"][0], free_port()
    listens = container["ports"][0]["containerPort"]
    arguments = [
        str(word).replace("$(POD_IP)", "127.0.0.1").replace(f":{listens}", f":{port}") for word in container["args"]
    ]
    stated = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    kept = stated | {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *confined(pod["securityContext"]["runAsUser"]), sys.executable, "-m", "isthmus", *arguments, *more,
            env={**kept, **environment}, cwd="/", stdout=out, stderr=out,
        )  # fmt: skip
    try:
        yield Pod(process, port, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
