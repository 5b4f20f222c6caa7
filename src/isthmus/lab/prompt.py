"""A joined lab with a prompt in it: the shell says what to try, and leaving it ends the lab.

Commands run in the sandbox's root namespace; ``on NAMESPACE COMMAND`` runs one elsewhere, and
``isthmus`` runs where the controller is: on a Linux gateway, or beside an appliance.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from isthmus.errors import LabError
from isthmus.lab.joined import JoinedLab, prompt_topology
from isthmus.lab.net.matrix import spread
from isthmus.lab.net.nodes import Workload
from isthmus.lab.net.topology import CLIENT_NEAR, Device

_TRY = (
    ("isthmus status", "how everything stands"),
    ("isthmus plan", "what would change, and why"),
    ("isthmus explain node1", "hop by hop"),
    ("isthmus explain {vip}", "also: default/web, 10.244.1.10"),
    ("on client-near curl -s {url}", "from the VIP's own segment"),
    ("on client-far curl -s {url}", "from behind a router"),
    ("kubectl get nodes,svc,endpointslices", "if kubectl is installed"),
)
_TRY_LINUX = (
    ("on gw1 ip route del 10.244.1.0/24", "break something, look"),
    ("on gw1 nft list map inet isthmus_main services4", ""),
)

_VERBS = ("ADOPT", "APPLY", "CLEAN", "CONFIG", "CONTROLLER", "DOCTOR", "EXPLAIN", "PLAN", "STATUS")
"""The verbs that read objects or state."""


def welcome(nodes: int, vip: str, gateway: str = "gw1", made: Sequence[str] = ()) -> str:
    """Return what the prompt says first: what is there and what to try, in lines of 80 columns; ``made`` is said as it is."""
    listed = _TRY if made else (*_TRY, *_TRY_LINUX)
    tries = [(command.format(vip=vip, url=f"http://{vip}/"), what) for command, what in listed]
    width = max(len(command) for command, what in tries if what)
    lines = [
        "",
        f"The lab is up: {nodes} nodes with pods, gateway {gateway} with Isthmus, and clients.",
        f"Service default/web has {vip}.",
        *made,
        f"`on NAME COMMAND` runs it on node1 ..., {gateway}, client-near, client-far. Try:",
        "",
        *(f"  {command:<{width}}  {what}".rstrip() for command, what in tries),
        "",
        "exit (or Ctrl-D) ends the lab and removes every trace of it.",
    ]
    return "\n".join(lines) + "\n"


async def prompt(nodes: int, path: str, device: Device = "linux") -> int:
    """Bring the lab up, open a shell in it, and end it when the shell ends; return 0."""
    async with JoinedLab(prompt_topology(nodes, path, device), path) as joined:
        print(f"building a lab of {nodes} nodes, path {path} ...", flush=True)
        vip = await serve(joined)
        files = write_tools(joined)
        print(welcome(nodes, vip, joined.gateway, joined.made()), flush=True)
        shell = await asyncio.create_subprocess_exec(
            "bash", "--rcfile", str(files / "bashrc"), "-i", env={**os.environ, **environment(joined, files)}
        )
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C is the shell's
        await shell.wait()
        print("ending the lab ...", flush=True)
    return 0


async def serve(joined: JoinedLab) -> str:
    """Join the lab, publish a Service over all pods, and return its VIP once it answers (or why it does not)."""
    await joined.join()
    names = [pod.name for pod in joined.lab.network.pods]
    await joined.lab.publish(Workload(name="web", pods=dict.fromkeys(names, "ready")))
    try:
        vip = (await joined.vip_of("web"))[0]
        await spread(CLIENT_NEAR, ip_address(vip), 80, requests=1)
    except LabError as error:
        return f"(no address yet: {error})"
    return vip


def write_tools(joined: JoinedLab) -> Path:
    """Write the shell's start file and the two commands of the lab; return their directory."""
    folder = joined.lab.directory / "tools"
    folder.mkdir(exist_ok=True)
    python = shlex.quote(sys.executable)
    _script(folder / "on", 'ns=$1; shift; exec ip netns exec "$ns" "$@"')
    there = f"ip netns exec {joined.seat} " if joined.seat else ""
    _script(
        folder / "isthmus", f'export {settings(joined.state, joined.config)}\nexec {there}{python} -m isthmus "$@"'
    )
    (folder / "bashrc").write_text("PS1='lab$ '\nunset PROMPT_COMMAND\n")
    return folder


def settings(state: Path, config: Path) -> str:
    """Return what the command `isthmus` gets, so that each verb finds the lab's own objects and state; for a shell."""
    found = {
        **{f"ISTHMUS_{verb}_STATE": state for verb in _VERBS},
        **{f"ISTHMUS_{verb}_CONFIG": config for verb in _VERBS if verb != "STATUS"},
        "ISTHMUS_GATEWAY_ENROL_DIRECTORY": state / "gateways",
        "ISTHMUS_GATEWAY_SHOW_DIRECTORY": state / "gateways",
    }
    return " ".join(f"{name}={shlex.quote(str(path))}" for name, path in found.items())


def environment(joined: JoinedLab, tools: Path) -> dict[str, str]:
    """Return what the shell's environment gets: the lab's own commands first on the PATH, and its kubeconfig."""
    return {"PATH": f"{tools}:{os.environ.get('PATH', '')}", "KUBECONFIG": str(joined.lab.kubeconfig)}


def _script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
