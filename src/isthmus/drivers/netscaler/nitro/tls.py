"""Whom we take the device for: a CA, one pinned certificate, or the system's CAs; files are read again when they change.

Nothing here turns verification off. A pinned certificate is compared when the handshake is over and before a byte of ours is
sent; chain, dates and name do not matter then, since one certificate is believed and no other. Else the chain and the name in
the URL are checked.

The one confusing thing: Python 3.13 began to demand extensions (VERIFY_X509_STRICT) which the CAs of many devices do not
have. Chain, dates and name are checked as before; that one demand is not made.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import aiohttp

from isthmus.errors import DeviceRefused

__all__ = ["Trust"]

_LOOK_AGAIN = 1.0
"""Seconds for which a file is taken as unchanged."""


class Trust:
    """What a connection is verified by; give at most one of ``ca_file``, ``ca`` and ``pin``."""

    def __init__(
        self,
        place: str,
        clock: Callable[[], float],
        *,
        ca_file: Path | None = None,
        ca: str | None = None,
        pin: str | None = None,
    ) -> None:
        self._place = place
        self._clock = clock
        self._file = ca_file
        self._text = ca
        self._pin = None if pin is None else aiohttp.Fingerprint(bytes.fromhex(pin))
        self._context: ssl.SSLContext | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._looked = float("-inf")

    async def context(self) -> ssl.SSLContext | aiohttp.Fingerprint:
        """Return what to verify by now; raise ``DeviceRefused`` that names the CA which cannot be used."""
        if self._pin is not None:
            return self._pin
        if self._file is not None and self._clock() - self._looked >= _LOOK_AGAIN:
            stamp = await asyncio.to_thread(_stamp, self._file)
            self._looked = self._clock()
            # A file that is away for a moment leaves what was loaded: the certificate is still checked by it.
            if stamp != self._stamp and (stamp is not None or self._context is None):
                self._context, self._stamp = None, stamp
        if self._context is None:
            self._context = await asyncio.to_thread(self._build)
        return self._context

    def _build(self) -> ssl.SSLContext:
        where = f"{self._place}: the CA" + (f" in {self._file}" if self._file else "")
        try:
            context = ssl.create_default_context(
                cafile=str(self._file) if self._file is not None else None, cadata=self._text
            )
        except (ssl.SSLError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DeviceRefused(f"{where} cannot be used: {reason}") from error
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
        if self._file is not None or self._text is not None:
            # What a user gives is an anchor of trust, even if it is an intermediate CA or the device's own certificate.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
