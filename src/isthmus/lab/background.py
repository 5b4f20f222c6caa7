"""A lab that stays up behind your back: ``lab up``, ``lab enter``, ``lab down``.

The holder listens on a Unix socket; whoever wants something of it asks there. Its process id is never read from a file but
from the socket's peer (``SO_PEERCRED``), so that a reused id is never signalled or entered. When the holder ends, however it
ends, the lab goes with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from isthmus.errors import LabError
from isthmus.lab.joined import JoinedLab, prompt_topology
from isthmus.lab.net.topology import Device
from isthmus.lab.prompt import environment, serve, write_tools

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
# What the holder ends with where this host cannot have a lab; it has said why.
_UNTRIED = 3


def folder() -> Path:
    """Return this user's own directory for the socket and the log; nobody else can enter it."""
    path = Path(tempfile.gettempdir()) / f"isthmus-lab-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or path.is_symlink():
        raise LabError(f"{path} is not this user's own private directory; remove it")
    return path


def start(nodes: int, path: str, device: Device = "linux", *, as_json: bool = False) -> int:
    """Start a lab in the background and wait until it serves; return 0, or 3 where this host cannot have one."""
    if _ask("ping") is not None:
        raise LabError("a lab is up already; enter it with `isthmus lab enter`, end it with `isthmus lab down`")
    place = folder()
    log = place / "log"
    with log.open("wb") as output:
        holder = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "isthmus",
                "lab",
                "hold",
                "--nodes",
                str(nodes),
                "--path",
                path,
                "--device",
                device,
                "--at",
                str(place),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    while (answer := _ask("ping")) is None:
        if holder.poll() is not None or time.monotonic() > deadline:
            holder.terminate()
            told = log.read_text(errors="replace")[-2000:]
            if holder.returncode == _UNTRIED:
                _forget()
                print(told, end="", file=sys.stderr)
                return _UNTRIED
            raise LabError(f"the lab did not come up:\n{told}")
        time.sleep(0.05)
    if as_json:
        shown = {"up": True, "vip": answer.vip, "environment": answer.env, "made": answer.made}
        print(json.dumps(shown, indent=2, sort_keys=True))
        return 0
    print(f"the lab is up; Service default/web has {answer.vip}")
    for line in answer.made:
        print(line)
    print("  isthmus lab enter                 a prompt in it")
    print("  isthmus lab enter isthmus status  one command in it")
    print("  isthmus lab down                  its end")
    return 0


def enter(argv: list[str]) -> int:
    """Run a command (a shell by default) in the lab that is up; return its exit status."""
    answer = _ask("ping")
    if answer is None:
        raise LabError("no lab is up; start one with `isthmus lab up`")
    command = argv or ["bash", "--rcfile", f"{answer.tools}/bashrc", "-i"]
    own = os.readlink(f"/proc/{answer.pid}/ns/user") != os.readlink("/proc/self/ns/user")
    flags = ["--user", "--preserve-credentials"] if own else []
    nsenter = ["nsenter", "--target", str(answer.pid), *flags, "--mount", "--net", "--pid", "--"]
    return subprocess.run([*nsenter, *command], env={**os.environ, **answer.env}, check=False).returncode


def stop(*, as_json: bool = False) -> int:
    """End the lab that is up, and wait until it has ended; none is fine, too."""
    answer = _ask("stop")
    if answer is None:
        print(json.dumps({"up": False, "ended": False}) if as_json else "no lab is up")
        _forget()
        return 0
    with contextlib.suppress(ProcessLookupError):
        holder = os.pidfd_open(answer.pid)
        try:
            if not select.select([holder], [], [], _STOP_SECONDS)[0]:
                raise LabError("the lab does not end")
        finally:
            os.close(holder)
    _forget()
    print(json.dumps({"up": False, "ended": True}) if as_json else "the lab is gone")
    return 0


def _forget() -> None:
    """Remove our directory; nobody listens in it any more."""
    shutil.rmtree(folder(), ignore_errors=True)


async def hold(nodes: int, path: str, device: Device, at: Path) -> int:
    """Be the lab: bring it up, answer on the socket in ``at``, end when asked.

    ``at`` is said from outside: in the sandbox everybody is called root, so ``folder`` would be another one here.
    """
    stopping = asyncio.Event()
    async with JoinedLab(prompt_topology(nodes, path, device), path) as joined:
        vip = await serve(joined)
        tools = write_tools(joined)
        about = {"vip": vip, "tools": str(tools), "env": environment(joined, tools), "made": joined.made()}

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                word = (await reader.readline()).strip()
                writer.write(json.dumps(about).encode() + b"\n")
                await writer.drain()
                writer.close()
                if word == b"stop":
                    stopping.set()

        place = at / "socket"
        place.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(answer, place)
        try:
            await stopping.wait()
        finally:
            server.close()
            place.unlink(missing_ok=True)
    return 0


@dataclass(frozen=True, slots=True)
class _Answer:
    pid: int
    vip: str
    tools: str
    env: dict[str, str]
    made: list[str]


def _ask(word: str) -> _Answer | None:
    """Ask the holder; return what it says with its process id, or none if there is no holder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(5.0)
        try:
            asking.connect(str(folder() / "socket"))
            asking.sendall(word.encode() + b"\n")
            with asking.makefile("rb") as reply:
                text = reply.readline()
        except OSError:
            return None
        pid, _, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return _Answer(pid, **json.loads(text)) if text else None
