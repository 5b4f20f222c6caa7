"""The sandbox from outside: nothing stays, signals and statuses pass, the terminal works."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from isthmus.lab.net.sandbox import MARKER, Probe, in_sandbox, probe

SANDBOX = [sys.executable, "-m", "isthmus.lab.net.sandbox", "--"]
BUILD = """
import asyncio
from isthmus.lab.net.build import Network
from isthmus.lab.net.topology import Topology
async def main():
    async with Network(Topology(nodes=3)):
        print("built", flush=True)
        await asyncio.sleep(1000)
asyncio.run(main())
"""


def setup_module() -> None:
    """Skip where the host allows no sandbox, or fail where one is required."""
    found = probe()
    if not found and "netns" in os.environ.get("REQUIRE", ""):
        pytest.fail(" ".join(found.reasons), pytrace=False)
    if not found:
        pytest.skip(" ".join(found.reasons), allow_module_level=True)


pytestmark = pytest.mark.packets


def run(argv: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a sandbox."""
    return subprocess.run([*SANDBOX, *argv], capture_output=True, text=True, timeout=30, **options)  # type: ignore[call-overload,no-any-return]


def start(argv: Sequence[str], **options: object) -> subprocess.Popen[bytes]:
    """Start a command in a sandbox."""
    return subprocess.Popen([*SANDBOX, *argv], stdout=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]


def descendants(pid: int) -> set[int]:
    """Return the processes below ``pid`` as this pid namespace sees them."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, ValueError):
                continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def eventually(true: Callable[[], bool]) -> bool:
    """Return whether something becomes true within five seconds."""
    deadline = time.monotonic() + 5
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_inside_one_is_root_over_a_network_of_ones_own() -> None:
    """The command sees only loopback, which is up, an empty /run, a /proc of its own, and knows that it is inside."""
    script = (
        "id -u; cat /sys/class/net/lo/flags; ls /sys/class/net /run; ls /proc | grep -c '^[0-9]'; echo $" + MARKER
    )
    lines = run(["sh", "-c", script]).stdout.split()
    assert lines[0] == "0"
    assert int(lines[1], 16) & 1
    assert "netns" in lines
    assert "eth0" not in lines
    assert lines[-1].startswith("pid:[")
    check = "import isthmus.lab.net.sandbox as s; print(s.in_sandbox())"
    assert run([sys.executable, "-c", check]).stdout == "True\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a sandbox without a user namespace")
def test_root_has_the_same_sandbox_without_a_user_namespace() -> None:
    """Where user namespaces are forbidden, root builds a network in a sandbox of its own all the same."""
    build = BUILD.replace("sleep(1000)", "sleep(0)")
    command = [*SANDBOX[:-1], "--mode", "root", "--", sys.executable, "-c", build]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "built\n"), done.stderr


def test_a_marker_from_elsewhere_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The marker of another sandbox, or an invented one, does not make a process believe it is inside."""
    monkeypatch.setenv(MARKER, "pid:[1]")
    assert not in_sandbox()


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_the_status_is_passed_through(script: str, status: int) -> None:
    """The command's exit status is the sandbox's; death by signal n is 128 + n."""
    assert run(["sh", "-c", script]).returncode == status


def test_a_command_that_does_not_exist_is_127() -> None:
    """A missing command says so and ends with a shell's status for it."""
    done = run(["/no/such/command"])
    assert done.returncode == 127
    assert "/no/such/command" in done.stderr


def test_standard_input_and_directory_are_the_callers(tmp_path: Path) -> None:
    """What is piped in arrives, and the working directory stays."""
    done = run(["sh", "-c", "cat; pwd"], input="hello\n", cwd=tmp_path, env={**os.environ, "PYTHONPATH": "src"})
    assert done.stdout == f"hello\n{tmp_path}\n", done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_command(number: signal.Signals) -> None:
    """SIGTERM, SIGINT and SIGHUP sent to the outer process are handled by the command, whose status is returned."""
    script = f"trap 'exit 9' {number.name.removeprefix('SIG')}; echo ready; while :; do sleep 0.05; done"
    with start(["sh", "-c", script]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(timeout=10) == 9


def test_kill_nine_leaves_nothing() -> None:
    """SIGKILL of the outermost process ends every process of a lab, and with them its namespaces; the host saw none."""
    before = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    with start([sys.executable, "-c", BUILD]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"built\n"
        inside = descendants(process.pid)
        assert len(inside) >= 3
        assert subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout == before
        process.kill()
        process.wait(timeout=10)
        assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in inside))


def test_what_the_command_leaves_running_ends_with_it() -> None:
    """A background process does not outlive the command, nor does a daemon that has left its session."""
    with start(["sh", "-c", "setsid sleep 1000 & echo left; read line"], stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"left\n"
        inside = descendants(process.pid)
        process.stdin.close()
        process.wait(timeout=10)
        assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in inside))


def test_ctrl_c_at_a_terminal_reaches_the_command_once() -> None:
    """The command has the terminal; Ctrl-C interrupts it one time, not once per process in between."""
    script = """
        n=0; trap 'n=$((n+1))' INT; test -t 0 && echo tty
        i=0; while [ $i -lt 20 ]; do sleep 0.05; i=$((i+1)); done
        exit $n"""
    controller, terminal = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [*SANDBOX, "sh", "-c", script], stdin=terminal, stdout=terminal, stderr=terminal, preexec_fn=own_terminal
    )
    os.close(terminal)
    seen = b""
    while b"tty" not in seen:
        seen += os.read(controller, 1024)
    os.write(controller, b"\x03")
    assert process.wait(timeout=10) == 1, seen
    os.close(controller)


def test_the_probe_gives_reasons_in_sentences(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host that lacks the tools is refused with what to install."""
    assert probe()
    monkeypatch.setenv("PATH", str(tmp_path))
    found = probe()
    assert not found
    assert isinstance(found, Probe)
    assert "nft is not on the PATH (install nftables)." in found.reasons


def test_outside_the_sandbox_nothing_is_built() -> None:
    """Building a network in the host's own namespace is refused with the way out."""
    if in_sandbox():
        pytest.skip("this is the sandbox")
    done = subprocess.run([sys.executable, "-c", BUILD], capture_output=True, text=True, timeout=30, check=False)
    assert "isthmus.lab.net.sandbox" in done.stderr
    assert done.returncode != 0
