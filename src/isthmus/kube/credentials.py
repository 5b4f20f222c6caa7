"""Who we are at this moment: the credential of a connection, re-read when its file changes or when the API says 401.

Knows token files (rotated in place by kubelets) and exec plugins (cached until shortly before they expire). Refuses to know
what the credential is for. Reads run in a thread, because a file system may be slow and the event loop serves every cluster.

The one confusing thing: ``renew`` takes the credential that was refused. If somebody else has already replaced it, the new
one is used and the plugin is not run twice.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.errors import KubeUnauthorized
from isthmus.kube.connection import Connection, printable
from isthmus.kube.exec_plugin import run_plugin
from isthmus.kube.expiry import tell_expiry, token_expiry

_SKEW = 30.0
"""Seconds before its end at which a credential is no longer used: clocks differ, and requests take time."""

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request shows: a token, a client certificate with its key (PEM), or nothing. ``expires`` is in epoch seconds."""

    token: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    expires: float | None = None


def stamp(path: Path) -> Stamp:
    """Return what changes when the file behind ``path`` is replaced or rewritten. Raises OSError."""
    status = path.stat()
    return (status.st_mtime_ns, status.st_size, status.st_ino)


class Credentials:
    """The current credential of one connection."""

    def __init__(self, connection: Connection, *, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock
        self._lock = asyncio.Lock()
        self._held: Credential | None = None
        self._stamp: Stamp | None = None
        self._current: Callable[[], Awaitable[Credential]]
        if connection.exec is not None:
            self._current = self._from_plugin
        elif connection.token_file is not None:
            self._current = self._from_file
        else:
            self._held = Credential(token=connection.token)
            self._current = self._fixed
            tell_expiry(connection.name, "token", token_expiry(connection.token))

    async def current(self) -> Credential:
        """Return the credential to use now. Raises KubeUnauthorized where there is none to be had."""
        async with self._lock:
            return await self._current()

    async def renew(self, refused: Credential) -> bool:
        """Replace the credential that the API refused; say whether there is a different one to try."""
        if self._current == self._fixed:
            return False
        async with self._lock:
            if self._held == refused:
                self._held = self._stamp = None
            return await self._current() != refused

    async def _fixed(self) -> Credential:
        assert self._held is not None
        return self._held

    async def _from_file(self) -> Credential:
        path = self._connection.token_file
        assert path is not None
        try:
            seen = await asyncio.to_thread(stamp, path)
            if self._held is None or seen != self._stamp:
                text = (await asyncio.to_thread(_first_bytes, path)).strip()
                if not printable(text):
                    raise KubeUnauthorized(f"{path}: holds no token (empty, or with spaces or control characters)")
                self._held, self._stamp = Credential(token=text), seen
                tell_expiry(self._connection.name, "token", token_expiry(text))
        except OSError as error:
            # A token that was good a moment ago may still be: the API decides, not a missing file.
            fallback = self._held or (Credential(token=self._connection.token) if self._connection.token else None)
            if fallback is None:
                raise KubeUnauthorized(f"{path}: cannot be read: {os.strerror(error.errno or 0)}") from error
            return fallback
        return self._held

    async def _from_plugin(self) -> Credential:
        held = self._held
        if held is None or (held.expires is not None and self._clock() >= held.expires - _SKEW):
            plugin = self._connection.exec
            assert plugin is not None
            answer = await run_plugin(plugin, self._connection)
            held = self._held = Credential(
                token=answer.token, certificate=answer.certificate, key=answer.key, expires=answer.expires
            )
            tell_expiry(self._connection.name, "token", answer.expires or token_expiry(answer.token))
        return held


def _first_bytes(path: Path, limit: int = 1 << 16) -> str:
    with path.open("rb") as file:
        return file.read(limit).decode("ascii", errors="replace")
