"""YAML and JSON read with the line of every field, so that an error can point at it.

PyYAML's loader throws positions away and lets the last of two equal keys win; here its composer gives nodes, and this
module makes plain values of them. A stream is cut at ``---`` first, because one broken document would otherwise take
the rest of the stream with it (the marker cannot stand inside a document: YAML 1.1 section 4.3.1).

The confusing thing: YAML 1.1 reads ``yes`` and ``on`` as booleans and ``12:30:00`` as 45000. Booleans stay booleans
(the kinds then refuse them where text is wanted, and ``raws`` knows what was written); base-60 numbers and dates stay
the text they are, since nobody means them otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import yaml

from isthmus.model.kinds.parse import FieldPath

__all__ = ["Document", "Flaw", "read_documents"]

# Every node takes a character at least, so only aliases make more nodes than characters; this many more may be meant.
ALIASED_NODES = 10_000

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MARKER = re.compile(r"^(?:---|\.\.\.)(?=\s|$)", re.MULTILINE)
_CONTENT = re.compile(r"^(?![ \t]*(?:#|%|$))", re.MULTILINE)
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that cannot be read as YAML or JSON, at ``line`` (from 1)."""

    line: int
    reason: str
    remedy: str = ""


@dataclass(slots=True)
class Document:
    """One document: its plain value, the line of each field, and what of it was written without quotes.

    ``value`` is None when nothing could be read; with ``flaws`` it is only good for finding out which object was meant.
    """

    line: int
    value: Any = None
    lines: dict[FieldPath, int] = field(default_factory=dict)
    raws: dict[FieldPath, str] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)

    def line_of(self, path: FieldPath) -> int:
        """Return the line of ``path``, or of the nearest block around it that was written."""
        for length in range(len(path), 0, -1):
            found = self.lines.get(path[:length])
            if found is not None:
                return found
        return self.line


def read_documents(text: str, *, is_json: bool = False) -> Iterator[Document]:
    """Yield the documents of ``text`` that say anything; a document that cannot be read has flaws and no value."""
    if is_json:
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
            said = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            yield Document(line, flaws=[Flaw(line, f"is not JSON: {said[:1].lower()}{said[1:]}")])
            return
        # Tabs in valid JSON are only ever white space between tokens, and YAML does not take them there.
        text = text.replace("\t", " ")
    for line, chunk in [(1, text)] if is_json else _chunks(text):
        yield from _read(chunk, line)


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line of its first line, text) of each document; directives and comments alone are none."""
    bounds = [0, *(match.start() for match in _MARKER.finditer(text)), len(text)]
    line = 1
    for start, end in pairwise(bounds):
        chunk = text[start:end]
        # The marker's own line may already hold content ("--- {kind: ...}"), so only the marker is cut off.
        body = _MARKER.sub("   ", chunk, count=1)
        if _CONTENT.search(body):
            yield line, body
        line += chunk.count("\n")


def _read(chunk: str, line: int) -> Iterator[Document]:
    try:
        for node in yaml.compose_all(chunk, Loader=_LOADER):
            if node is not None:
                yield _Builder(line, len(chunk) + ALIASED_NODES).build(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = line + (mark.line if mark is not None else 0)
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        yield Document(at, flaws=[Flaw(at, f"is not YAML: {reason}", "indent with spaces, quote what is special")])
    except yaml.reader.ReaderError as error:
        at = line + chunk.count("\n", 0, error.position)
        yield Document(at, flaws=[Flaw(at, f"holds a character that YAML does not allow: {error.reason}")])
    except RecursionError:
        yield Document(line, flaws=[Flaw(line, "is nested too deeply")])


class _Builder:
    """Makes one document of its nodes."""

    def __init__(self, offset: int, most: int) -> None:
        self._offset = offset
        self._left = most
        self._open: set[int] = set()
        self._document = Document(offset)

    def build(self, root: yaml.Node) -> Document:
        self._document.line = self._line(root)
        self._document.value = self._value(root, ())
        return self._document

    def _line(self, node: yaml.Node) -> int:
        return int(node.start_mark.line) + self._offset

    def _flaw(self, node: yaml.Node, reason: str, remedy: str = "") -> None:
        self._document.flaws.append(Flaw(self._line(node), reason, remedy))

    def _value(self, node: yaml.Node, path: FieldPath) -> Any:
        self._left -= 1
        if self._left < 0:
            if self._left == -1:
                self._flaw(node, "grows too large by its aliases")
            return None
        if id(node) in self._open:
            self._flaw(node, "holds an alias of itself", "write it out")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return self._sequence(node, path)
            assert isinstance(node, yaml.ScalarNode)
            return self._scalar(node, path)
        finally:
            self._open.discard(id(node))

    def _plain(self, node: yaml.Node, tag: str) -> None:
        if node.tag != f"{_TAG}{tag}":
            self._flaw(node, f"has the tag {node.tag.removeprefix(_TAG)}", "write plain values")

    def _mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, Any]:
        self._plain(node, "map")
        result: dict[str, Any] = {}
        seen: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._flaw(key_node, "has a key that is not text")
                continue
            if key_node.tag == f"{_TAG}merge":
                merged.append(value_node)
                continue
            key, line = key_node.value, self._line(key_node)
            if key in seen:
                self._flaw(key_node, f'"{key}" is written twice, in line {seen[key]} and in line {line}', "keep one")
                continue
            seen[key] = line
            self._document.lines[*path, key] = line
            result[key] = self._value(value_node, (*path, key))
        for other in merged:
            for source in other.value if isinstance(other, yaml.SequenceNode) else [other]:
                below = self._value(source, path)
                result = {**below, **result} if isinstance(below, Mapping) else result
        return result

    def _sequence(self, node: yaml.SequenceNode, path: FieldPath) -> list[Any]:
        self._plain(node, "seq")
        result = []
        for index, item in enumerate(node.value):
            self._document.lines[*path, index] = self._line(item)
            result.append(self._value(item, (*path, index)))
        return result

    def _scalar(self, node: yaml.ScalarNode, path: FieldPath) -> Any:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                self._document.raws[path] = text
                return text.lower() in ("yes", "true", "on")
            case "int" | "float" as kind if ":" not in text:
                self._document.raws[path] = text
                return self._number(node, kind)
            case "str" | "timestamp" | "value" | "int" | "float" | "merge":
                return text
            case tag:
                self._flaw(node, f"has the tag {tag}", "write plain values")
                return None

    def _number(self, node: yaml.ScalarNode, kind: str) -> int | float | None:
        # PyYAML's own constructors know octal, hexadecimal and "1_000".
        construct = yaml.constructor.SafeConstructor()
        try:
            if kind == "int":
                return int(construct.construct_yaml_int(node))
            return float(construct.construct_yaml_float(node))
        except (ValueError, IndexError):  # "!!int ''" has no first character
            self._flaw(node, f'"{node.value[:40]}" is not a number we can read')
            return None
