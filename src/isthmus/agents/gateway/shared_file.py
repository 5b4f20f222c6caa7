"""A small JSON file that the agent and the commands beside it both write: one at a time, whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from isthmus.drivers.linux.remote.private_files import read_small, write_private
from isthmus.errors import StateError

__all__ = ["SharedFile"]

T = TypeVar("T")
R = TypeVar("R")


class SharedFile(Generic[T]):
    """A value in a file. Reading sees what another process wrote; :meth:`change` holds a lock over reading and writing."""

    def __init__(self, path: Path, model: type[T], empty: Callable[[], T]) -> None:
        self.path = path
        self._decoder = msgspec.json.Decoder(model)
        self._empty = empty
        self._stamp: tuple[int, int, int] | None = None
        self._value: T = empty()

    def read(self) -> T:
        """Return the value as it stands now; raise ``StateError`` where the file is damaged."""
        stamp = self._stamped()
        if stamp is None or stamp != self._stamp:
            self._value = self._load()
            self._stamp = stamp
        return self._value

    def change(self, work: Callable[[T], tuple[T, R]]) -> R:
        """Replace the value by what ``work`` makes of it, and return what else it returns; blocks."""
        with self._locked():
            before = self._load()
            after, result = work(before)
            if after != before:
                write_private(self.path, msgspec.json.format(msgspec.json.encode(after), indent=1))
            return result

    def _load(self) -> T:
        raw = read_small(self.path)
        if raw is None:
            return self._empty()
        try:
            return self._decoder.decode(raw)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise StateError(f"{self.path} is damaged: {error}") from error

    def _stamped(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.path.with_suffix(".lock")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateError(f"{path}: {(error.strerror or str(error)).lower()}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
