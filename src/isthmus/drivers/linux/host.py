"""What the host must allow: forwarding, IPv6, no reverse-path filter on our own tunnels.

It reads and writes /proc/sys/net of its own network namespace. Only two things are ever written: forwarding, because a
gateway forwards, and ``accept_ra`` where switching IPv6 forwarding on would otherwise take the host's default route
away; ``rp_filter`` of our own tunnels is only read here and set by rtnetlink. The one confusing thing: for ``rp_filter``
the kernel takes the larger of ``all`` and the link's own value, and 2 (loose) is larger than 1 (strict), so 2 on the
link beats 1 on all.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from isthmus.errors import DeviceUnsupported
from isthmus.telemetry import get_logger

__all__ = ["Host", "find_nft", "look", "reverse_path", "start_forwarding"]

_NET = Path("/proc/sys/net")
_log = get_logger("linux")


class Host(NamedTuple):
    """What this host can do."""

    ipv6: bool
    forwards4: bool
    forwards6: bool


def look() -> Host:
    """Return what the host allows now."""
    ipv6 = (_NET / "ipv6").is_dir() and _read("ipv6/conf/all/disable_ipv6") != "1"
    return Host(ipv6, _read("ipv4/ip_forward") == "1", _read("ipv6/conf/all/forwarding") == "1")


def start_forwarding(host: Host) -> None:
    """Switch forwarding on where it is off; raise ``DeviceUnsupported`` where that is not allowed."""
    if not host.forwards4:
        _write("ipv4/ip_forward", "1")
        _log.info("switched forwarding on", version=4)
    if host.ipv6 and not host.forwards6:
        # A forwarding host ignores router advertisements unless told twice; its default route would expire.
        for link in sorted((_NET / "ipv6/conf").iterdir()):
            if link.name not in ("all", "default", "lo") and _read(f"ipv6/conf/{link.name}/accept_ra") == "1":
                _write(f"ipv6/conf/{link.name}/accept_ra", "2")
        _write("ipv6/conf/all/forwarding", "1")
        _log.info("switched forwarding on", version=6)


def reverse_path(link: str) -> tuple[int, int]:
    """Return ``rp_filter`` of a tunnel of ours as it is (-1: no such link) and as it should be.

    Packets come in there whose way back may lead elsewhere (a pod may answer by another path).
    """
    now = _read(f"ipv4/conf/{link}/rp_filter")
    return int(now) if now.isdecimal() else -1, 0 if _read("ipv4/conf/all/rp_filter") in ("0", "") else 2


def find_nft() -> str:
    """Return the path of ``nft``; raise ``DeviceUnsupported`` naming the package where it is missing."""
    for place in (None, "/usr/sbin:/sbin:/usr/bin:/bin"):
        found = shutil.which("nft", path=place)
        if found:
            return found
    raise DeviceUnsupported("nft is not installed on this host; on Debian and Ubuntu it is in the package nftables")


def _read(name: str) -> str:
    try:
        return (_NET / name).read_text().strip()
    except OSError:
        return ""


def _write(name: str, value: str) -> None:
    try:
        (_NET / name).write_text(value)
    except OSError as error:
        key = f"net.{name.replace('/', '.')}"
        raise DeviceUnsupported(
            f"cannot set {key}={value} on this host ({error.strerror}); set it by sysctl"
        ) from error
