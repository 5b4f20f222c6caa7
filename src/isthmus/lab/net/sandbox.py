"""A place where the lab may be root over a network of its own, and that leaves nothing behind.

The sandbox is a set of fresh Linux namespaces (user, network, mount, pid) made by ``unshare``. Inside, an ordinary user
is root over the sandbox's network only; fixed names cannot collide with anything; and the end of the outermost process,
``kill -9`` included, ends every process and with them every namespace, link and mount of the lab. Where user namespaces
are forbidden, real root gets the same sandbox without one. So there is no lab outside a sandbox, and no janitor.

The confusing thing: three processes stand between you and your command. The outer one (this module) forwards signals and
waits; ``unshare`` makes the namespaces; ``_init`` is pid 1 inside. Files are the host's, except /run, /proc and /sys.

    python -m isthmus.lab.net.sandbox -- pytest -m packets
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from isthmus.errors import LabError

Mode = Literal["user", "root"]

MARKER = "ISTHMUS_LAB_SANDBOX"
_PROBE_SECONDS = 15
_TOOLS = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "bridge": "iproute2", "nft": "nftables"}
_COMMON = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_FLAGS: dict[Mode, tuple[str, ...]] = {"user": ("--user", "--map-root-user", *_COMMON), "root": _COMMON}
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PR_SET_PDEATHSIG = 1
# What the lab cannot do without, tried in one go inside a throwaway sandbox: an underlay, a tunnel, a NAT table.
_TRIAL = """
ip link add probe0 type veth peer name probe1 &&
ip link add probe-br type bridge &&
ip link add probe-vx type vxlan id 1 dstport 4789 dev probe0 &&
nft add table ip isthmus_probe
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """What this host allows: the sandbox's mode, or none and the reasons, each a sentence."""

    mode: Mode | None
    reasons: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.mode is not None


def in_sandbox() -> bool:
    """Return whether this process is inside a sandbox (the marker names the pid namespace, so it cannot be stale)."""
    marker = os.environ.get(MARKER)
    try:
        return marker is not None and marker == os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


def probe() -> Probe:
    """Find out whether this host can run the lab, and how; takes about 50 ms and changes nothing."""
    missing = [
        f"{tool} is not on the PATH (install {package})" for tool, package in _TOOLS.items() if not shutil.which(tool)
    ]
    if not sys.platform.startswith("linux"):
        return Probe(None, ("The lab needs Linux.",))
    if missing:
        return Probe(None, tuple(f"{reason}." for reason in missing))
    reasons: list[str] = []
    modes: tuple[Mode, ...] = ("user", "root") if os.geteuid() == 0 else ("user",)
    for mode in modes:
        reason = _try(mode)
        if reason is None:
            return Probe(mode)
        reasons.append(reason)
    if os.geteuid() != 0:
        reasons.append("Running as root would do as well.")
    return Probe(None, tuple(reasons))


def _try(mode: Mode) -> str | None:
    """Return why a sandbox of ``mode`` cannot work here, None if it can."""
    what = "a user namespace" if mode == "user" else "namespaces as root"
    if reason := _run_trial(_FLAGS[mode], ("true",)):
        return f"This host refuses {what}: {reason}."
    if reason := _run_trial(_FLAGS[mode], ("sh", "-c", _TRIAL)):
        return f"Inside {what} the kernel or a tool lacks something that the lab needs: {reason}."
    return None


def _run_trial(flags: Sequence[str], command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            ["unshare", *flags, *command], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]


def run_in_sandbox(argv: Sequence[str], *, env: Mapping[str, str] | None = None, mode: Mode | None = None) -> int:
    """Run ``argv`` in a fresh sandbox and return its exit status; LabError where this host cannot.

    Standard input, output and the terminal are the caller's. Ctrl-C reaches the command through the terminal; SIGTERM,
    SIGINT, SIGHUP and SIGQUIT sent to this process are passed on. ``mode`` by default is the first that works.
    Call it from the main thread of a process that does nothing else: it waits for signals until the command ends.
    """
    if mode is None:
        found = probe()
        if found.mode is None:
            raise LabError("The lab cannot run on this host. " + " ".join(found.reasons))
        mode = found.mode
    control_read, control_write = os.pipe()
    watched = {*_FORWARDED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    parent = os.getpid()
    libc = ctypes.CDLL(None)

    def settle() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    init = Path(__file__).with_name("_init.py")
    command = ["unshare", *_FLAGS[mode], "--", sys.executable, "-I", "-S", str(init), str(control_read), *argv]
    try:
        child = subprocess.Popen(
            command, env=None if env is None else dict(env), pass_fds=(control_read,), preexec_fn=settle
        )
        os.close(control_read)
        return _wait(child, control_write, watched)
    finally:
        os.close(control_write)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(child: subprocess.Popen[bytes], control: int, watched: set[signal.Signals]) -> int:
    while (status := child.poll()) is None:
        info = signal.sigwaitinfo(watched)
        # A positive code means the kernel sent it to the whole foreground group (Ctrl-C): the command has it already.
        if info.si_signo != signal.SIGCHLD and info.si_code <= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(control, bytes([info.si_signo]))
    return status if status >= 0 else 128 - status


def enter_sandbox(
    argv: Sequence[str] | None = None, *, env: Mapping[str, str] | None = None, mode: Mode | None = None
) -> NoReturn:
    """Run ``argv`` (by default this very command again) in a sandbox and exit with its status."""
    again = [sys.executable, *sys.orig_argv[1:]] if argv is None else list(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    raise SystemExit(run_in_sandbox(again, env=env, mode=mode))


def main() -> int:
    """Run the command line ``python -m isthmus.lab.net.sandbox [--mode user|root] -- COMMAND…``."""
    words = sys.argv[1:]
    mode: Mode | None = None
    if words[:1] == ["--mode"] and len(words) > 1 and words[1] in _FLAGS:
        mode = "root" if words[1] == "root" else "user"
        words = words[2:]
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        print("usage: python -m isthmus.lab.net.sandbox [--mode user|root] -- COMMAND...", file=sys.stderr)
        return 2
    try:
        return run_in_sandbox(words, mode=mode)
    except LabError as error:
        print(error, file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())
