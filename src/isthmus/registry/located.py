"""Objects with the place they were written at, and the checks that need both.

``read_text`` makes objects of one file's text, ``examine`` looks at all objects together; both say every problem with
its place. No I/O here: who has the text gives it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.model.kinds import Key, Kind, parse
from isthmus.model.kinds.check import check
from isthmus.model.kinds.parse import FieldPath, FieldProblem, Parsed, field_text, key_of
from isthmus.registry.documents import Document, read_documents
from isthmus.registry.problems import InputWarning, Problem

__all__ = ["FileContent", "Located", "examine", "read_text"]


@dataclass(frozen=True, slots=True)
class Located:
    """An object, the file it stands in, and the line of each of its fields."""

    object: Kind
    file: Path
    line: int
    lines: Mapping[FieldPath, int] = field(repr=False, compare=False)

    @property
    def key(self) -> Key:
        """Return kind and name."""
        return self.object.key

    @property
    def origin(self) -> str:
        """Return file and line of the object's beginning."""
        return f"{self.file}:{self.line}"

    def place(self, path: FieldPath) -> str:
        """Return file, line, object and field of ``path``, as problems show it."""
        line = next(
            (self.lines[path[:size]] for size in range(len(path), 0, -1) if path[:size] in self.lines), self.line
        )
        return place(self.file, line, self.key, path)


@dataclass(frozen=True, slots=True)
class FileContent:
    """What one file says.

    ``broken`` are the objects whose documents are wrong, with their places, as far as they could be told; ``opaque``
    is set when something was wrong and nobody can say which objects it was about.
    """

    located: tuple[Located, ...] = ()
    problems: tuple[Problem, ...] = ()
    broken: Mapping[Key, str] = field(default_factory=dict)
    opaque: bool = False
    blank: bool = False


def place(file: Path, line: int, key: Key | None, path: FieldPath) -> str:
    """Return ``file:line: Kind/name: field``, leaving out what is not known."""
    return ": ".join(part for part in (f"{file}:{line}", "/".join(key or ()), field_text(path)) if part)


def read_text(file: Path, text: str, drivers: Collection[str] | None) -> FileContent:
    """Return the objects and problems of ``text``, which stands in ``file``."""
    located: list[Located] = []
    problems: list[Problem] = []
    broken: dict[Key, str] = {}
    opaque = False
    for document in read_documents(text, is_json=file.suffix.lower() == ".json"):
        lines = _lines(document)
        for base, value in _objects(document):
            line = document.line_of(base)
            key = key_of(value)
            if document.flaws:
                parsed = Parsed(key, None)
            else:
                parsed = parse(value, drivers=drivers)
            if parsed.object is not None:
                located.append(Located(parsed.object, file, line, lines[base]))
                continue
            opaque = opaque or key is None
            if key is not None:
                broken.setdefault(key, f"{file}:{line}")
            problems.extend(_placed(file, document, base, key, problem) for problem in parsed.problems)
        key = key_of(document.value)
        problems.extend(
            Problem(place(file, flaw.line, key, ()), flaw.reason, flaw.remedy, key=key) for flaw in document.flaws
        )
    return FileContent(tuple(located), tuple(problems), broken, opaque, blank=not text.strip())


def _objects(document: Document) -> Iterator[tuple[FieldPath, object]]:
    """Yield each object of ``document`` with the path it stands at: itself, or the items of a list of objects."""
    value = document.value
    if not _is_list(value):
        yield (), value
        return
    for index, item in enumerate(value["items"]):
        yield ("items", index), item


def _is_list(value: object) -> bool:
    """Return whether ``value`` is a List of objects (``kubectl get -o yaml`` prints one) and no object itself."""
    if not isinstance(value, Mapping) or "spec" in value or not isinstance(value.get("items"), list):
        return False
    kind = value.get("kind")
    return isinstance(kind, str) and kind.endswith("List")


def _lines(document: Document) -> Mapping[FieldPath, Mapping[FieldPath, int]]:
    """Return the lines of each object's fields, by the path the object stands at."""
    if not _is_list(document.value):
        return {(): document.lines}
    lines: dict[FieldPath, dict[FieldPath, int]] = defaultdict(dict)
    for path, line in document.lines.items():
        lines[path[:2]][path[2:]] = line
    return lines


def _placed(file: Path, document: Document, base: FieldPath, key: Key | None, problem: FieldProblem) -> Problem:
    path = (*base, *problem.path)
    remedy = problem.remedy
    if problem.unquoted and path in document.raws:
        remedy = f'put it in quotes: "{document.raws[path]}"'
    return Problem(place(file, document.line_of(path), key, problem.path), problem.reason, remedy, key=key)


def examine(
    located: Mapping[Key, Located], broken: Collection[Key] = ()
) -> tuple[tuple[Problem, ...], Mapping[Key, str]]:
    """Return what is wrong among all objects together, and which of them cannot be used, with the reason.

    ``broken`` objects are written as well, but wrong; whoever names one is told so instead of "unknown".
    """
    checked = check((one.object for one in located.values()), broken)
    problems = []
    for found in checked.findings:
        make = InputWarning if found.warning else Problem
        where = located[found.key].place(found.problem.path)
        problems.append(make(where, found.problem.reason, found.problem.remedy, key=found.key))
    return tuple(problems), checked.unusable
