"""YAML and JSON are read with lines, and one broken document hurts only itself."""

from __future__ import annotations

import pytest

from isthmus.registry.documents import Document, read_documents


def only(text: str, *, is_json: bool = False) -> Document:
    """Return the one document of ``text``."""
    (document,) = read_documents(text, is_json=is_json)
    return document


def test_lines_of_fields() -> None:
    """Every field knows its line, also in later documents and below markers with content."""
    first, second = read_documents("# note\n---\na:\n  b: [1,\n    2]\n--- {c: 3}\n")
    assert first.value == {"a": {"b": [1, 2]}}
    assert (first.line_of(("a",)), first.line_of(("a", "b", 1)), first.line_of(("a", "x"))) == (3, 5, 3)
    assert second.value == {"c": 3}
    assert second.line_of(("c",)) == 6


def test_empty_documents_are_none() -> None:
    """Comments, markers and directives alone say nothing."""
    assert list(read_documents("%YAML 1.1\n---\n# nothing\n---\n...\n\n")) == []


def test_one_broken_document() -> None:
    """A document that is not YAML has a flaw with its line; the ones around it are read."""
    before, broken, after = read_documents("a: 1\n---\nb: [\n---\nc: 2\n")
    assert (before.value, after.value) == ({"a": 1}, {"c": 2})
    assert broken.value is None
    assert broken.flaws[0].reason.startswith("is not YAML")
    assert 3 <= broken.flaws[0].line <= 4


def test_duplicate_keys() -> None:
    """A key written twice is a flaw that names both lines, and the first value stands."""
    document = only("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert document.value == {"a": {"b": 1, "c": 2}}
    assert [(flaw.line, flaw.reason) for flaw in document.flaws] == [
        (4, '"b" is written twice, in line 2 and in line 4')
    ]


def test_what_yaml_reads_into_plain_text() -> None:
    """Booleans and numbers remember their spelling; base-60 numbers, dates and keys stay text."""
    document = only("a: yes\nb: 010\nc: 12:30:00\nd: 2026-11-20\non: x\ne: 1_000\nf: ~\ng: 0x1f\nh: 1.5\n")
    assert document.value == {
        "a": True, "b": 8, "c": "12:30:00", "d": "2026-11-20", "on": "x", "e": 1000, "f": None, "g": 31, "h": 1.5,
    }  # fmt: skip
    assert document.raws["a",] == "yes"
    assert document.raws["b",] == "010"


def test_anchors_and_merges() -> None:
    """Anchors, aliases and merge keys work as everywhere."""
    document = only("base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  y: 3\nsame: *b\n")
    assert document.value["more"] == {"x": 1, "y": 3}
    assert document.value["same"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [*a]\n", "alias of itself"),
        ("a: !!python/object/apply:os.system [id]\n", "has the tag"),
        ("a: !secret x\n", "has the tag !secret"),
        ("? [1]\n: 2\n", "key that is not text"),
        ("a: \x07\n", "character that YAML does not allow"),
        ("a:\n\t- b\n", "is not YAML"),
        (f"a: {'9' * 5000}\n", "not a number"),
        ("a: !!int ''\n", "not a number"),
        ("a: !!float ''\n", "not a number"),
    ],
    ids=lambda value: value[:20],
)
def test_flaws(text: str, reason: str) -> None:
    """What cannot be a plain value is a flaw, never code that runs."""
    assert reason in only(text).flaws[0].reason


def test_alias_bomb() -> None:
    """A document that grows by its aliases is refused before it fills the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "grows too large by its aliases" in only("\n".join(lines)).flaws[0].reason


def test_json() -> None:
    """JSON is read with lines as well, tabs and all; what is wrong is said as JSON's error."""
    document = only('{\n\t"a": {\n\t\t"b": "x\\ty\\/"}}', is_json=True)
    assert document.value == {"a": {"b": "x\ty/"}}
    assert document.line_of(("a", "b")) == 3
    broken = only('{"a": 1,\n "b": }', is_json=True)
    assert broken.flaws[0].reason == "is not JSON: expecting value"
    assert broken.flaws[0].line == 2
    assert "twice" in only('{"a": 1, "a": 2}', is_json=True).flaws[0].reason


def test_deep_nesting() -> None:
    """Nesting without end is a flaw, not a crash."""
    document = only("[" * 5000 + "]" * 5000)
    assert document.flaws
