"""The support bundle: one archive with what support asks for, and no secret in it.

Kubeconfigs, keys and tokens are never opened for it. The user's objects are written as they were understood, not as files,
so that what stands beside them in a directory stays there; everything goes through :class:`~isthmus.app.doctor.scrub.Scrub`.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import platform
import tarfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from isthmus import __version__
from isthmus.app import clusters
from isthmus.app.doctor.examine import Examination
from isthmus.app.doctor.host_facts import run
from isthmus.app.doctor.scrub import Scrub
from isthmus.app.home.objects import REFERENCES
from isthmus.app.sources import Sources
from isthmus.drivers.linux.host import find_nft
from isthmus.drivers.linux.owner import Owner
from isthmus.errors import DeviceUnsupported, InputError, IsthmusError
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.model.kinds import EdgeDevice, Kind, KubeCluster
from isthmus.registry.state import StateDirectory

__all__ = ["write_bundle"]

_TAIL = 2 * 1024 * 1024
_LARGEST = 8 * 1024 * 1024
_PATIENCE = 10.0
_ABOUT = """This bundle was made by `isthmus doctor --bundle`. Secrets are left out or replaced by [redacted]; look through
it before you send it all the same.

doctor.json    what was checked, with verdicts
objects.json   the user's objects as they were understood
plans.txt      what would be changed on each device; plans.json the same for programs
explain/       what cannot be served, hop by hop
status.json    what the controller last said
network/       addresses, links, routes, rules, neighbors, forwarding entries, our nft tables, sysctls
versions.json  of everything
log.txt        the end of the log, where one was given
"""
_COMMANDS = {
    "addresses.json": ("ip", "-d", "-j", "address"),
    "links.json": ("ip", "-d", "-s", "-j", "link"),
    "routes4.json": ("ip", "-d", "-j", "-4", "route", "show", "table", "all"),
    "routes6.json": ("ip", "-d", "-j", "-6", "route", "show", "table", "all"),
    "rules4.json": ("ip", "-d", "-j", "-4", "rule"),
    "rules6.json": ("ip", "-d", "-j", "-6", "rule"),
    "neighbors.json": ("ip", "-d", "-s", "-j", "neighbor"),
    "fdb.json": ("bridge", "-d", "-s", "-j", "fdb"),
}


async def write_bundle(where: Sources, found: Examination, target: Path, log: Path | None) -> list[str]:
    """Write the bundle to ``target``, readable by its owner alone; return the names of what is in it."""
    scrub = Scrub(await asyncio.to_thread(_known_secrets, where, found.objects))
    files: dict[str, str] = {"README.txt": _ABOUT}
    answers = [{"subject": a.subject, "level": a.level, "text": a.text, "remedy": a.remedy} for a in found.answers]
    files["doctor.json"] = _json(scrub.data(answers))
    files["objects.json"] = _json(scrub.data([one.document() for one in found.objects]))
    files["plans.json"] = _json(scrub.data([plan.to_json() for plan in found.plans.values()]))
    files["plans.txt"] = scrub.text("\n".join(line for plan in found.plans.values() for line in plan.lines()))
    for number, (subject, explained) in enumerate(found.explained.items(), 1):
        lines = [f"{subject}", *(f"{_sign(hop.ok)} {hop.stage:<8} {hop.text}" for hop in explained.hops)]
        files[f"explain/{number}.txt"] = scrub.text("\n".join(lines))
    status = {**await asyncio.to_thread(_status, where), **await _status_at_home(where)}
    files["status.json"] = _json(scrub.data(status))
    files["versions.json"] = _json(_versions())
    files |= {f"network/{name}": scrub.text(text) for name, text in (await _network(found.objects)).items()}
    if log is not None:
        files["log.txt"] = scrub.text(await asyncio.to_thread(_tail, log))
    await asyncio.to_thread(_write, target, files)
    return sorted(files)


def _sign(holds: bool | None) -> str:
    return {True: "ok", False: "NO", None: "  "}[holds]


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, default=str) + "\n"


# --- secrets that must not be found anywhere --------------------------------------------------------------------


def _known_secrets(where: Sources, objects: list[Kind]) -> set[str]:
    connections = [where.home] if where.home is not None else []
    for one in objects:
        if isinstance(one, KubeCluster):
            with suppress(IsthmusError, OSError):
                connections.append(clusters.connection(one))
    return {secret for connection in connections for secret in _secrets_of(connection)}


def _secrets_of(connection: Connection) -> set[str]:
    found = {connection.token or "", connection.proxy_url or ""}
    for text in (connection.client_key_data,):
        found.update(line for line in (text or "").splitlines() if "-----" not in line)
    if connection.token_file is not None:
        with suppress(OSError, UnicodeDecodeError):
            found.add(connection.token_file.read_text()[:65536].strip())
    if connection.exec is not None:
        found.update(value for _, value in connection.exec.environment)
    return found - {""}


# --- what is read -----------------------------------------------------------------------------------------------


async def _status_at_home(where: Sources) -> dict[str, Any]:
    """Return the statuses of our objects in the home cluster; claims are many, and left out."""
    if where.home is None:
        return {}
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(_PATIENCE), KubeClient(where.home) as client:
            for kind, reference in REFERENCES.items():
                if kind == "VirtualIP":
                    continue
                async for page in client.list_pages(reference):
                    for item in page.items:
                        found[f"home: {kind}/{item['metadata']['name']}"] = item.get("status")
    except (IsthmusError, TimeoutError) as error:
        found["home"] = {"error": str(error) or "no answer"}
    return found


def _status(where: Sources) -> dict[str, Any]:
    if where.state is None or not StateDirectory.has_begun(where.state):
        return {}
    try:
        with StateDirectory.read(where.state) as reader:
            return {
                "/".join(key): {"updated": entry.updated, "status": entry.value}
                for key, entry in reader.read_status().items()
            }
    except IsthmusError as error:
        return {"error": str(error)}


def _versions() -> dict[str, str]:
    found = {"isthmus": __version__, "python": platform.python_version(), "kernel": platform.release()}
    for name in ("aiohttp", "cryptography", "msgspec", "pydantic"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return {**found, "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


async def _network(objects: list[Kind]) -> Mapping[str, str]:
    commands = dict(_COMMANDS)
    with suppress(DeviceUnsupported):
        nft = find_nft()
        for one in objects:
            if isinstance(one, EdgeDevice) and one.spec.driver == "linux":
                table = Owner(one.spec.linux.installation, one.spec.linux.protocol).table
                commands[f"nft-{table}.txt"] = (nft, "list", "table", "inet", table)
    texts = await asyncio.gather(*(_said(command) for command in commands.values()))
    sysctls = await asyncio.to_thread(_sysctls)
    return {**dict(zip(commands, texts, strict=True)), "sysctls.txt": sysctls}


async def _said(command: tuple[str, ...]) -> str:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await run(command)
    except (OSError, TimeoutError) as error:
        return f"{' '.join(command)}: {getattr(error, 'strerror', None) or 'no answer'}\n"


def _sysctls() -> str:
    lines = []
    for top in ("ipv4", "ipv6", "netfilter", "core"):
        for path in sorted((Path("/proc/sys/net") / top).rglob("*")):
            if "stable_secret" in path.name or "fastopen_key" in path.name:
                continue
            with suppress(OSError, UnicodeDecodeError):
                if path.is_file():
                    name = ".".join(path.relative_to("/proc/sys").parts)
                    lines.append(f"{name} = {path.read_text().strip()}")
    return "\n".join(lines) + "\n"


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL))
            return file.read().decode(errors="replace")
    except OSError as error:
        raise InputError(str(log), f"cannot be read: {(error.strerror or str(error)).lower()}") from error


def _write(target: Path, files: Mapping[str, str]) -> None:
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise InputError(str(target), "is no plain file, and would be replaced by one", "name a new file")
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
            for name, text in sorted(files.items()):
                data = text.encode(errors="replace")[:_LARGEST]
                entry = tarfile.TarInfo(f"isthmus-bundle/{name}")
                entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
                archive.addfile(entry, io.BytesIO(data))
        fresh.replace(target)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        raise InputError(str(target), f"cannot be written: {(error.strerror or str(error)).lower()}") from error
