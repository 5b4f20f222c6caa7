"""Who we are on the device: a name and a password, read where they lie, and read again when they have changed.

Knows directories with the files ``username`` and ``password``, as a mounted Secret has them. Where else credentials may lie
is the business of whoever makes a :class:`Credentials`; a Secret in a cluster is the application's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from isthmus.drivers.netscaler.nitro.errors import Meaning, NitroError

__all__ = ["Credential", "Credentials", "DirectoryCredentials", "credential_of"]

_LONGEST = 4096
Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Credential:
    """A name and a password; the password is in no repr."""

    username: str
    password: str = field(repr=False)


class Credentials(Protocol):
    """Where a credential lies. Asked before each login, so asking must be cheap while nothing has changed."""

    async def current(self) -> Credential:
        """Return the credential as it lies there now; raise ``NitroError`` (credentials) that names the place."""

    async def renewed(self, refused: Credential) -> Credential:
        """Return the credential, read anew though it seems unchanged, since the device has refused ``refused``."""


def credential_of(place: str, username: str, password: str) -> Credential:
    """Return the credential that two texts make, their last line ends removed; raise ``NitroError`` that names ``place``.

    Editors and ``echo`` end a file with a line end, and nobody means it as a part of a password.
    """
    texts = {"username": username, "password": password}
    for name, text in texts.items():
        texts[name] = text = text.removesuffix("\n").removesuffix("\r")
        if not text:
            raise _wrong(f"{place}: {name} is empty")
        if len(text) > _LONGEST or not text.isprintable():
            raise _wrong(f"{place}: {name} is longer than any, or holds control characters")
    return Credential(texts["username"], texts["password"])


class DirectoryCredentials:
    """The files ``username`` and ``password`` in a directory, read again when either is replaced or rewritten."""

    def __init__(self, directory: Path) -> None:
        self._files = (directory / "username", directory / "password")
        self._directory = directory
        self._held: Credential | None = None
        self._stamp: Stamp = ()

    async def current(self) -> Credential:
        """Return what the files hold now; raise ``NitroError`` that names the file which is missing, empty or unreadable."""
        return await asyncio.to_thread(self._read)

    async def renewed(self, refused: Credential) -> Credential:
        """Return what the files hold now, whatever their times say."""
        self._stamp = ()
        return await self.current()

    def _read(self) -> Credential:
        stamp = tuple(_stamp(path) for path in self._files)
        if self._held is None or stamp != self._stamp:
            username, password = (_text(path) for path in self._files)
            self._held, self._stamp = credential_of(str(self._directory), username, password), stamp
        return self._held


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return status.st_mtime_ns, status.st_size, status.st_ino


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 3)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _wrong(f"{path}: is not UTF-8 text") from None


def _unreadable(path: Path, error: OSError) -> NitroError:
    return _wrong(f"{path}: {(error.strerror or str(error)).lower()}")


def _wrong(text: str) -> NitroError:
    return NitroError(text, meaning=Meaning.CREDENTIALS, retry_after=5.0)
