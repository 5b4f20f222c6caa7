"""Credential plugins: run the kubeconfig's command, read the ExecCredential that it prints.

The command is an argument list, never a shell line; it has no terminal, a time limit, and its own process group, so that
whatever it starts ends with it. What it prints on stdout is the secret and is never repeated. Its last words on stderr are
told when it fails, with everything that looks like a secret struck out.

See https://kubernetes.io/docs/reference/config-api/client-authentication.v1/.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import signal
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from isthmus.errors import KubeUnauthorized
from isthmus.kube.connection import Connection, ExecPlugin, printable
from isthmus.kube.decoding import UNDECODABLE

_LONGEST = 1 << 20
_SECRET_LIKE = re.compile(r"[A-Za-z0-9+/_\-.=~]{24,}")


class _Status(msgspec.Struct, rename="camel"):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: datetime | None = None


class _ExecCredential(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    status: _Status | None = None


@dataclass(frozen=True, slots=True)
class PluginAnswer:
    """What a plugin gave: a token, a certificate with its key (PEM), or both. ``expires`` is epoch seconds."""

    token: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    expires: float | None = None


async def run_plugin(plugin: ExecPlugin, connection: Connection) -> PluginAnswer:
    """Run ``plugin`` and return its answer. Raises KubeUnauthorized, saying why there is none."""
    place = f"exec plugin {os.path.basename(plugin.command)}"
    information = await asyncio.to_thread(exec_information, plugin, connection)
    environment = os.environ | dict(plugin.environment) | {"KUBERNETES_EXEC_INFO": information}
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command,
            *plugin.args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        hint = f"; {plugin.install_hint.strip()}" if plugin.install_hint else ""
        raise KubeUnauthorized(f"{place}: cannot be started: {getattr(error, 'strerror', error)}{hint}") from error
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(plugin.timeout):
            output, complaint = await asyncio.gather(_bounded(process.stdout), _bounded(process.stderr))
            await process.wait()
    except TimeoutError as error:
        raise KubeUnauthorized(f"{place}: gave no credential within {plugin.timeout:g} s") from error
    finally:
        if process.returncode is None:
            # The group, not the process alone: plugins are often wrappers around something that does the waiting.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):  # a child that left the group may still hold the pipes
                async with asyncio.timeout(1.0):
                    await process.wait()
    if process.returncode:
        raise KubeUnauthorized(f"{place}: failed with exit code {process.returncode}{_last_words(complaint)}")
    return _answer(output, plugin, place)


def exec_information(plugin: ExecPlugin, connection: Connection) -> str:
    """Return the text of KUBERNETES_EXEC_INFO: the version we speak, and the cluster if the plugin asks for it."""
    spec: dict[str, object] = {"interactive": False}
    if plugin.provide_cluster_info:
        cluster: dict[str, object] = {"server": connection.server}
        authority = connection.ca_data.encode() if connection.ca_data else None
        if authority is None and connection.ca_file is not None:
            with contextlib.suppress(OSError):  # a missing CA is told by the TLS side, with its own words
                authority = connection.ca_file.read_bytes()
        if authority:
            cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
        if connection.tls_server_name:
            cluster["tls-server-name"] = connection.tls_server_name
        if connection.proxy_url:
            cluster["proxy-url"] = connection.proxy_url
        if plugin.config is not None:
            cluster["config"] = plugin.config
        spec["cluster"] = cluster
    document = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    return msgspec.json.encode(document).decode()


def _answer(output: bytes, plugin: ExecPlugin, place: str) -> PluginAnswer:
    try:
        credential = msgspec.json.decode(output, type=_ExecCredential)
    except UNDECODABLE:
        # Not chained: the decoder's words may quote what was printed.
        raise KubeUnauthorized(f"{place}: did not print an ExecCredential") from None
    if credential.kind != "ExecCredential" or credential.api_version != plugin.api_version:
        raise KubeUnauthorized(f"{place}: printed another kind or version than {plugin.api_version} ExecCredential")
    status = credential.status or _Status()
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        raise KubeUnauthorized(f"{place}: gave a client certificate without its key, or the other way round")
    if not status.token and not status.client_certificate_data:
        raise KubeUnauthorized(f"{place}: gave neither a token nor a client certificate")
    if status.token and not printable(status.token):
        raise KubeUnauthorized(f"{place}: gave a token with spaces or control characters")
    return PluginAnswer(
        token=status.token or None,
        certificate=status.client_certificate_data or None,
        key=status.client_key_data or None,
        expires=status.expiration_timestamp.timestamp() if status.expiration_timestamp else None,
    )


async def _bounded(stream: asyncio.StreamReader) -> bytes:
    """Read to the end, keeping at most 1 MiB: a plugin that babbles must not fill our memory."""
    kept = bytearray()
    while chunk := await stream.read(1 << 16):
        kept += chunk[: _LONGEST - len(kept)]
    return bytes(kept)


def _last_words(complaint: bytes) -> str:
    lines = complaint.decode(errors="replace").strip().splitlines()
    return f": {_SECRET_LIKE.sub('[redacted]', lines[-1])[:200]}" if lines else ""
