"""One process per state directory: a file lock that the kernel lets go of when its process dies.

The pid in the file is for people; what counts is the lock. A file left by a dead process is no obstacle.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from isthmus.errors import StateError, StateLocked

__all__ = ["LOCK", "Lock"]

LOCK = "lock"


class Lock:
    """The lock of one directory, held from construction to ``release``."""

    def __init__(self, directory: Path) -> None:
        """Take the lock without waiting; raise StateLocked naming the process that has it."""
        self.path = directory / LOCK
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateError(f"{self.path}: {(error.strerror or str(error)).lower()}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise StateLocked(
                f"{directory} is in use by process {holder}; stop it, or give this one another state directory"
            ) from error
        except OSError as error:
            os.close(self._file)
            raise StateError(f"{self.path} cannot be locked: {(error.strerror or str(error)).lower()}") from error
        with suppress(OSError):  # a full disk: the lock holds, only its note for people is missing
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes hold locks on two files of one name."""
        with suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)
