"""Objects from a directory of YAML and JSON files.

Every file below the directory counts, hidden ones never: that also makes ConfigMap volumes right, where each file is a
symbolic link into ``..data``. Files are read again only when they changed. This module reports what it could *not* read
as carefully as what it could, because whoever watches must not take "unreadable" for "gone".
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.errors import InputError
from isthmus.model.kinds import Key
from isthmus.registry.located import FileContent, Located, examine, read_text
from isthmus.registry.problems import DuplicateObject, Problem

__all__ = ["DirectoryReader", "Loaded", "load", "validate_files"]

SUFFIXES = (".yaml", ".yml", ".json")
LARGEST = 32 * 1024 * 1024
# A file changed this shortly before it was read may change again without a new time stamp (git's "racy" entries).
_RACY_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Loaded:
    """What stands in a directory.

    ``problems`` say what is wrong; the rest says what is *not known*: ``broken`` objects are written but wrong,
    ``opaque`` files or directories may hold anything, ``blank`` files hold nothing at all (as one being written does),
    and without ``readable`` nothing is known.
    """

    objects: tuple[Located, ...]
    problems: tuple[InputError, ...]
    broken: frozenset[Key] = frozenset()
    opaque: frozenset[Path] = frozenset()
    blank: frozenset[Path] = frozenset()
    files: tuple[Path, ...] = ()
    readable: bool = True
    identity: tuple[int, int] | None = None


@dataclass(slots=True)
class _Cached:
    stamp: tuple[int, ...]
    racy: bool
    digest: bytes
    content: FileContent


@dataclass(slots=True)
class _Found:
    files: dict[Path, os.stat_result] = field(default_factory=dict)
    unreadable: dict[Path, OSError] = field(default_factory=dict)


class DirectoryReader:
    """Reads one directory again and again; returns the very same ``Loaded`` while nothing has changed."""

    def __init__(self, directory: Path, known_drivers: Collection[str] | None) -> None:
        self.directory = directory
        self._drivers = known_drivers
        self._cache: dict[Path, _Cached] = {}
        self._last: tuple[object, Loaded] | None = None

    def read(self) -> Loaded:
        """Return what stands in the directory now. Blocks on the file system; never raises for what it finds."""
        try:
            root = self.directory.stat()
            found = _found(self.directory)
        except OSError as error:
            remedy = "make it, or name another by --config; nothing is removed meanwhile"
            problem = Problem(str(self.directory), f"cannot be read: {_said(error)}", remedy)
            self._last = None
            return Loaded((), (problem,), readable=False)
        contents = {file: self._content(file, status) for file, status in found.files.items()}
        self._cache = {file: cached for file, cached in self._cache.items() if file in contents}
        failed = {file: content for file, content in contents.items() if isinstance(content, Problem)}
        failed |= {file: _unreadable(file, error) for file, error in found.unreadable.items()}
        state = (
            (root.st_dev, root.st_ino),
            {file: self._cache[file].digest for file in contents if file not in failed},
            {file: str(problem) for file, problem in failed.items()},
        )
        if self._last is None or self._last[0] != state:
            good = {file: content for file, content in contents.items() if isinstance(content, FileContent)}
            self._last = state, _assembled(good, failed, (root.st_dev, root.st_ino))
        return self._last[1]

    def _content(self, file: Path, status: os.stat_result) -> FileContent | Problem:
        cached = self._cache.get(file)
        stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if cached is not None and cached.stamp == stamp and not cached.racy:
            return cached.content
        racy = time.time_ns() - status.st_mtime_ns < _RACY_NS
        try:
            raw = _bytes(file)
            text = raw.decode("utf-8-sig")
        except OSError as error:
            return _unreadable(file, error)
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            return Problem(f"{file}:{line}", "is not UTF-8 text", "save it as UTF-8")
        digest = hashlib.sha256(raw).digest()
        content = (
            cached.content
            if cached is not None and cached.digest == digest
            else read_text(file, text.replace("\r\n", "\n"), self._drivers)
        )
        self._cache[file] = _Cached(stamp, racy, digest, content)
        return content


def load(directory: Path, known_drivers: Collection[str] | None = None) -> Loaded:
    """Return the objects and problems of all files below ``directory`` (or of one file); blocks on the file system."""
    return DirectoryReader(directory, known_drivers).read()


def validate_files(paths: Iterable[Path], known_drivers: Collection[str] | None = None) -> list[InputError]:
    """Return everything that is wrong in ``paths`` (files or directories), taken together as one configuration.

    What works in spite of it is an ``InputWarning``. Blocks on the file system.
    """
    loads = [load(path, known_drivers) for path in paths]
    kept: dict[Key, Located] = {}
    problems = [problem for loaded in loads for problem in loaded.problems]
    for loaded in loads:
        for located in loaded.objects:
            first = kept.setdefault(located.key, located)
            if first is not located and first.file.resolve() != located.file.resolve():
                problems.append(_duplicate(located, first.origin))
    broken = {key for loaded in loads for key in loaded.broken}
    return [*problems, *examine(kept, broken)[0]]


def _said(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _unreadable(file: Path, error: OSError) -> Problem:
    return Problem(str(file), f"cannot be read: {_said(error)}", "what it held before stays")


def _duplicate(located: Located, first: str) -> DuplicateObject:
    kind, name = located.key
    return DuplicateObject(
        f"{located.origin}: {kind}/{name}",
        f"stands also in {first}, which counts",
        "keep one of them",
        key=located.key,
    )


def _bytes(file: Path) -> bytes:
    with file.open("rb") as stream:
        raw = stream.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise OSError(f"larger than {LARGEST // 1024 // 1024} MiB")
    return raw


def _found(top: Path) -> _Found:
    """Return the files below ``top``, each once, in the order of their paths; raise OSError if ``top`` is unreadable."""
    found = _Found()
    if not top.is_dir():
        found.files[top] = top.stat()
        return found
    real: set[tuple[int, int]] = set()
    for file in sorted(_walk(top, found, set())):
        try:
            status = file.stat()
        except OSError as error:
            found.unreadable[file] = error
            continue
        identity = (status.st_dev, status.st_ino)
        # A second name of a file we have (a link next to it) is not a second object.
        if stat.S_ISREG(status.st_mode) and identity not in real:
            real.add(identity)
            found.files[file] = status
    return found


def _walk(directory: Path, found: _Found, visited: set[tuple[int, int]]) -> Iterator[Path]:
    status = directory.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in visited:
        return
    visited.add(identity)
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    for name in names:
        path = directory / name
        try:
            if path.is_dir():
                yield from _walk(path, found, visited)
            elif path.suffix.lower() in SUFFIXES:
                yield path
        except OSError as error:
            found.unreadable[path] = error


def _assembled(contents: dict[Path, FileContent], failed: dict[Path, Problem], identity: tuple[int, int]) -> Loaded:
    problems: list[InputError] = [failed[file] for file in sorted(failed)]
    kept: dict[Key, Located] = {}
    # Where an object is written for the first time, right or wrong: a wrong first one is not replaced by a second.
    first: dict[Key, str] = {}
    for file in sorted(contents):
        content = contents[file]
        problems.extend(content.problems)
        for key, origin in content.broken.items():
            first.setdefault(key, origin)
        for located in content.located:
            if first.setdefault(located.key, located.origin) == located.origin:
                kept[located.key] = located
            else:
                problems.append(_duplicate(located, first[located.key]))
    return Loaded(
        objects=tuple(kept.values()),
        problems=tuple(problems),
        broken=frozenset(key for content in contents.values() for key in content.broken),
        opaque=frozenset(failed) | {file for file, content in contents.items() if content.opaque},
        blank=frozenset(file for file, content in contents.items() if content.blank),
        files=tuple(sorted(contents)),
        identity=identity,
    )
