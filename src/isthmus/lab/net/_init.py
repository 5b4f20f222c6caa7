"""The sandbox's first process (pid 1 of its pid namespace): prepares the ground, runs one command, ends with its status.

It is run by path with ``python -I -S`` and imports only the standard library, so that it starts in tens of
milliseconds. When it ends, the kernel kills every process of the sandbox, and with the last of them all namespaces go.
It ends when its command does, or when the other end of the control pipe closes: that is how ``kill -9`` of the outermost
process takes everything along. The pipe also carries signals, one byte each; those of the terminal (Ctrl-C) reach the
command by themselves, because it is in the same process group.

Arguments: the control pipe's descriptor, then the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import subprocess
import sys

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def _mount(kind: str, target: str, flags: int = _MS_NOSUID | _MS_NODEV) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), target.encode(), kind.encode(), flags, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def _loopback_up() -> None:
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack("16xh14x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _default_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def main(control: int, argv: list[str]) -> int:
    """Run ``argv`` as the sandbox's one command and return its exit status (128 + n when signal n ended it)."""
    # Default actions: the kernel spares pid 1 from all of them, and the command inherits nothing unusual.
    _default_signals()
    _mount("tmpfs", "/run")
    os.makedirs("/run/netns", exist_ok=True)
    with contextlib.suppress(OSError):
        # A sysfs of this network namespace; without it /sys/class/net shows the host's devices. Not every host lets us.
        _mount("sysfs", "/sys", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _loopback_up()

    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    environment = dict(os.environ, ISTHMUS_LAB_SANDBOX=os.readlink("/proc/self/ns/pid"))
    try:
        child = subprocess.Popen(argv, env=environment)
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
        return 127
    os.set_inheritable(control, False)
    while True:
        ready, _, _ = select.select([control, reader], [], [])
        if reader in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(reader, 4096)
            status = _reap(child.pid)
            if status is not None:
                return status
        if control in ready:
            numbers = os.read(control, 64)
            if not numbers:
                return 128 + signal.SIGKILL
            for number in numbers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, number)


def _reap(pid: int) -> int | None:
    """Collect every process that has ended; return the status of ``pid`` if it is among them."""
    found = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if ended == 0:
            return found
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
