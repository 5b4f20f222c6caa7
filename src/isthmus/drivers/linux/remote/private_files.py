"""Files with keys in them: readable by their owner alone, and either the old content or the new one, never half of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from isthmus.errors import StateError

__all__ = ["make_private_directory", "read_small", "write_private"]

_MOST = 1 << 20


def make_private_directory(path: Path) -> None:
    """Make ``path`` a directory for its owner alone; raise ``StateError`` if it cannot be, or if others write there.

    One that is there stays as it is: somebody may only have named the wrong place, and the files have modes of their own.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise StateError(f"others can write in {path}; keys are kept only where nobody else can")
    except OSError as error:
        raise StateError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def write_private(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` at once and for good (on disk before it returns); raise ``StateError`` if it cannot be."""
    name = ""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600 from the start
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if name:
            Path(name).unlink(missing_ok=True)
        raise StateError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from error


def read_small(path: Path) -> bytes | None:
    """Return what is in ``path``, none if there is no such file; raise ``StateError`` where it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    if len(data) > _MOST:
        raise StateError(f"{path} is larger than anything that is kept there")
    return data
