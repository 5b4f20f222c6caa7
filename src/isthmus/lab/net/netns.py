"""Reach into a network namespace: call a function there, make a socket there.

A thread can move into another network namespace, and everything it opens from then on belongs there: that is all this
module knows (setns(2)). The moves happen in threads of its own, so that the caller's thread never leaves home. The
confusing thing: a socket stays in the namespace in which it was made, whoever uses it later, so sockets made here can be
handed to the event loop as they are. The empty name means the namespace in which this process lives.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
from array import array
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from isthmus.errors import LabError

T = TypeVar("T")

RUN_NETNS = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_SIOCETHTOOL = 0x8946
# ETHTOOL_SRXCSUM, STXCSUM, SSG, STSO, SGSO, SGRO (linux/ethtool.h); order matters: checksums last would be refused.
_OFFLOADS = (0x2C, 0x24, 0x1F, 0x19, 0x17, 0x15)
_libc = ctypes.CDLL(None, use_errno=True)
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="netns")


def path_of(namespace: str) -> Path:
    """Return the file that stands for ``namespace``."""
    return RUN_NETNS / namespace if namespace else Path(f"/proc/{os.getpid()}/ns/net")


def call_in(namespace: str, function: Callable[[], T]) -> T:
    """Call ``function`` inside ``namespace`` and return what it returns; meant for calls that take microseconds."""
    return _threads.submit(_enter_and_call, namespace, function).result()


async def await_in(namespace: str, function: Callable[[], T]) -> T:
    """Call ``function`` inside ``namespace`` in a thread, without holding up the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _enter_and_call, namespace, function)


def _enter_and_call(namespace: str, function: Callable[[], T]) -> T:
    try:
        descriptor = os.open(path_of(namespace), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise LabError(f"There is no network namespace called {namespace!r}.") from error
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise LabError(f"The network namespace {namespace!r} cannot be entered: {reason}.")
    finally:
        os.close(descriptor)
    return function()


def socket_in(namespace: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """Return a new non-blocking socket that belongs to ``namespace``."""
    sock = call_in(namespace, lambda: socket.socket(family, kind, protocol))
    sock.setblocking(False)
    return sock


def write_sysctls(namespace: str, values: Iterable[tuple[str, str]]) -> None:
    """Write kernel settings of ``namespace``, given as paths below /proc/sys/net; settings this kernel lacks are left out."""

    def write() -> None:
        for name, value in values:
            path = Path("/proc/sys/net", name)
            if path.exists():
                path.write_text(value)

    call_in(namespace, write)


def read_sysctl(namespace: str, name: str) -> str:
    """Return the kernel setting ``name`` (a path below /proc/sys/net) of ``namespace``."""
    return call_in(namespace, lambda: Path("/proc/sys/net", name).read_text().strip())


def offloads_off(namespace: str, links: Iterable[str]) -> None:
    """Switch segmentation and checksum offloads of ``links`` off, so that captured frames look as they would on a wire."""

    def switch() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for link in links:
                for command in _OFFLOADS:
                    value = array("I", [command, 0])
                    request = struct.pack("16sP16x", link.encode(), value.buffer_info()[0])
                    try:
                        fcntl.ioctl(sock, _SIOCETHTOOL, request)
                    except OSError as error:
                        # Devices without that offload say so; a device that is gone is the caller's mistake.
                        if error.errno not in {95, 22}:
                            raise LabError(f"{namespace}/{link}: offloads: {error.strerror}") from error

    call_in(namespace, switch)
