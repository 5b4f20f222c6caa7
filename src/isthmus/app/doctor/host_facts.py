"""Reads what the host says of itself: /proc, ``nft``; writes nothing, and takes what it cannot read for not there."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from isthmus.app.doctor.host import HostFacts
from isthmus.drivers.linux.host import find_nft
from isthmus.errors import DeviceUnsupported
from isthmus.model.facts import Interface

__all__ = ["host_facts", "ruleset", "run"]

_SETTINGS = (
    "ipv4/ip_forward",
    "ipv6/conf/all/forwarding",
    "ipv6/conf/all/disable_ipv6",
    "netfilter/nf_conntrack_count",
    "netfilter/nf_conntrack_max",
    *(f"ipv{version}/neigh/default/gc_thresh{number}" for version in (4, 6) for number in (1, 2, 3)),
)
_PER_LINK = ("rp_filter", "arp_ignore", "arp_announce")
_LARGEST = 64 * 1024 * 1024


async def host_facts(interfaces: Iterable[Interface]) -> HostFacts:
    """Return what can be read; ``interfaces`` are what the driver saw, because /sys may be another namespace's."""
    nft = ""
    with suppress(DeviceUnsupported, OSError):
        words = (await run([find_nft(), "--version"])).split()
        nft = words[1].lstrip("v") if len(words) > 1 else ""
    return await asyncio.to_thread(_read_all, nft, list(interfaces))


def _read_all(nft: str, interfaces: list[Interface]) -> HostFacts:
    links = _links()
    settings = {name: value for name in _SETTINGS if (value := _read(Path("/proc/sys/net") / name)) != ""}
    for link in ("all", *links):
        for key in _PER_LINK:
            value = _read(Path("/proc/sys/net/ipv4/conf") / link / key)
            if value:
                settings[f"ipv4/conf/{link}/{key}"] = value
    return HostFacts(
        python=(sys.version_info.major, sys.version_info.minor),
        kernel=os.uname().release,
        nft=nft,
        capabilities=_capabilities(),
        settings=settings,
        mtus={one.name: one.mtu for one in interfaces},
        addresses={str(own.ip): one.name for one in interfaces if not one.ours for own in one.addresses},
        udp_ports=frozenset(_udp_ports()),
    )


def _links() -> list[str]:
    lines = _read(Path("/proc/net/dev")).splitlines()
    return [line.split(":")[0].strip() for line in lines if ":" in line]


def _capabilities() -> int:
    for line in _read(Path("/proc/self/status")).splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _udp_ports() -> set[int]:
    """Return the UDP ports that programs listen on; the kernel's own sockets (a VXLAN tunnel's) no program has open."""
    ports: dict[str, set[int]] = {}
    for name in ("udp", "udp6"):
        for line in _read(Path("/proc/net") / name).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9:
                ports.setdefault(f"socket:[{fields[9]}]", set()).add(int(fields[1].rpartition(":")[2], 16))
    found: set[int] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for descriptor in os.scandir(process / "fd"):
                with suppress(OSError):
                    found |= ports.get(os.readlink(descriptor.path), set())
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


async def ruleset() -> dict[str, Any]:
    """Return the whole ruleset as ``nft`` prints it; raises what the doctor shows as an answer."""
    found = json.loads(await run([find_nft(), "-j", "list", "ruleset"]))
    return found if isinstance(found, dict) else {}


async def run(command: Sequence[str]) -> str:
    """Return what ``command`` prints; raises OSError with its last words if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        words = err.decode(errors="replace").strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
        raise OSError(0, f"{Path(command[0]).name}: {words[0]}")
    return out[:_LARGEST].decode(errors="replace")
