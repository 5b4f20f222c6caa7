"""A network namespace of its own for each test, inside the lab's sandbox; never the host's network.

Tests that write netlink run in ``python -m isthmus.lab.net.sandbox -- pytest tests/drivers``; anywhere else they are
skipped with that reason, or fail where ``REQUIRE`` names ``netns``.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from isthmus.lab.net.sandbox import in_sandbox

# How long one example takes says more about the machine's other work than about the code.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

_NEW_NET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def run(*command: str, stdin: str | None = None) -> str:
    """Run a command and return its output; its failure fails the test with what it said."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def need_sandbox() -> None:
    """Skip, or fail where it is required, unless this process is root over a network that is not the host's."""
    reason = ""
    if not in_sandbox():
        reason = "needs a network of its own: python -m isthmus.lab.net.sandbox -- pytest tests/drivers"
    for tool in ("ip", "bridge", "nft"):
        if not shutil.which(tool):
            reason = f"{tool} is not installed"
    if reason and "netns" in os.environ.get("REQUIRE", ""):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture
def own_network() -> Iterator[None]:
    """Move this thread into a fresh network namespace, and back afterwards."""
    need_sandbox()
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert _LIBC.unshare(_NEW_NET) == 0, os.strerror(ctypes.get_errno())
        run("ip", "link", "set", "lo", "up")
        # Without duplicate address detection a link's own address is usable at once, so tests need not wait for it.
        Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        yield
    finally:
        assert _LIBC.setns(home, _NEW_NET) == 0, os.strerror(ctypes.get_errno())
        os.close(home)


@pytest.fixture
def other_networks() -> Iterator[list[str]]:
    """Give a list for the names of namespaces that the test adds; they go afterwards."""
    names: list[str] = []
    yield names
    for name in names:
        if Path("/run/netns", name).exists():
            subprocess.run(["ip", "netns", "del", name], check=False, timeout=30)


@pytest.fixture
def underlay(own_network: None, other_networks: list[str]) -> str:
    """Return the name of a link with 192.0.2.1/24 and 2001:db8::1/64, whose other end is in the namespace ``seg``."""
    run("ip", "netns", "add", "seg")
    other_networks.append("seg")
    run(
        "ip",
        "link",
        "add",
        "up0",
        "address",
        "02:00:00:00:00:01",
        "type",
        "veth",
        "peer",
        "name",
        "seg0",
        "netns",
        "seg",
    )
    run("ip", "-n", "seg", "link", "set", "lo", "up")
    run("ip", "-n", "seg", "link", "set", "seg0", "up")
    run("ip", "link", "set", "up0", "up")
    run("ip", "address", "add", "192.0.2.1/24", "dev", "up0")
    run("ip", "address", "add", "2001:db8::1/64", "dev", "up0", "nodad")
    return "up0"
