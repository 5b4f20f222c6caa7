"""Whom we trust, and by which certificate we are known: TLS contexts, rebuilt when a file behind them changes.

A given CA is the only one believed; without one the system's are. Client certificates that come as data never touch a disk:
OpenSSL only loads files, so they pass through an anonymous memory file.

The one confusing thing: Python 3.13 began to demand extensions (VERIFY_X509_STRICT) that the CAs of many running clusters
do not have. Chain, dates and name are checked as before; that one demand is not made.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from isthmus.errors import InputError, KubeUnauthorized, KubeUnreachable
from isthmus.kube.connection import Connection
from isthmus.kube.credentials import Credential, Stamp, stamp
from isthmus.kube.expiry import certificate_expiry, tell_expiry

_LOOK_AGAIN = 1.0
"""Seconds for which files are taken as unchanged."""


class TlsContexts:
    """The TLS context of one connection for a given credential."""

    def __init__(self, connection: Connection, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._clock = clock
        self._plain = connection.server.startswith("http:")
        paths = (connection.ca_file, connection.client_certificate, connection.client_key)
        self._files = tuple(path for path in paths if path is not None)
        self._context: ssl.SSLContext | None = None
        self._built_for: tuple[str | None, str | None] | None = None
        self._stamps: tuple[Stamp, ...] = ()
        self._looked = float("-inf")
        self._lock = asyncio.Lock()

    async def context(self, credential: Credential) -> ssl.SSLContext | None:
        """Return the context to use now, none for plain HTTP. Raises InputError or KubeUnreachable, naming the file."""
        if self._plain:
            return None
        wanted = (credential.certificate, credential.key)
        async with self._lock:
            if self._files and self._clock() - self._looked >= _LOOK_AGAIN:
                try:
                    stamps = await asyncio.to_thread(lambda: tuple(stamp(path) for path in self._files))
                except OSError as error:
                    if self._context is None:
                        raise KubeUnreachable(f"{error.filename}: cannot be read: {error.strerror}") from error
                    stamps = self._stamps  # what was loaded still holds
                if stamps != self._stamps:
                    self._context, self._stamps = None, stamps
                self._looked = self._clock()
            if self._context is None or wanted != self._built_for:
                try:
                    self._context = await asyncio.to_thread(build_context, self._connection, credential)
                except InputError as error:
                    self._stamps = ()
                    raise KubeUnauthorized(str(error)) from error
                self._built_for = wanted
                shown = credential.certificate or self._connection.client_certificate_data
                ends = await asyncio.to_thread(certificate_expiry, shown or self._connection.client_certificate)
                tell_expiry(self._connection.name, "client_certificate", ends)
            return self._context


def build_context(connection: Connection, credential: Credential | None = None) -> ssl.SSLContext:
    """Return a verifying context for ``connection``. Blocks on small files; raises InputError naming the culprit."""
    place = connection.name or connection.server
    try:
        context = ssl.create_default_context(
            cafile=str(connection.ca_file) if connection.ca_file and not connection.ca_data else None,
            cadata=connection.ca_data,
        )
    except (ssl.SSLError, OSError, ValueError) as error:
        raise InputError(f"{place}: certificate-authority", f"cannot be used: {_reason(error)}") from error
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
    if connection.ca_data or connection.ca_file:
        # As for Go's verifier: what is given is an anchor of trust, even if it is an intermediate CA.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    certificate = (credential.certificate if credential else None) or connection.client_certificate_data
    key = (credential.key if credential else None) or connection.client_key_data
    try:
        if certificate and key:
            with _MemoryFile(certificate) as certificate_path, _MemoryFile(key) as key_path:
                _load(context, certificate_path, key_path)
        elif connection.client_certificate or certificate:
            with _MemoryFile(certificate or "") as certificate_path, _MemoryFile(key or "") as key_path:
                _load(
                    context,
                    certificate_path if certificate else connection.client_certificate or Path(),
                    key_path if key else connection.client_key or Path(),
                )
    except (ssl.SSLError, OSError, ValueError) as error:
        raise InputError(f"{place}: client certificate", f"cannot be used: {_reason(error)}") from error
    return context


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    def no_password() -> str:
        # Without this OpenSSL would ask on the terminal, and wait for ever.
        raise ValueError("the key is encrypted, and there is nobody to ask for its password")

    context.load_cert_chain(certificate, key, password=no_password)


class _MemoryFile:
    """A PEM text under a path that exists only in memory, for as long as the ``with`` lasts."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __enter__(self) -> Path:
        self._descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        os.write(self._descriptor, self._text.encode())
        return Path(f"/proc/self/fd/{self._descriptor}")

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not valid PEM"
    if isinstance(error, OSError):
        return error.strerror or "not readable"
    return str(error)
