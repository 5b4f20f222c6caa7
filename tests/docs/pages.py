"""The pages of the documentation, and what can be checked in them: fenced blocks, inline code, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
)

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, what language it says it is in, and its text."""

    place: str
    language: str
    text: str


def name_of(page: Path) -> str:
    """Return a page's path as people call it."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    """Yield the fenced blocks of ``page`` in one of ``languages``."""
    text = page.read_text("utf-8")
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match[2] in languages:
            yield Block(f"{name_of(page)}:{line}", match[2], re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE))


def inline(page: Path) -> Iterator[str]:
    """Yield the inline code of ``page``."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    for match in _INLINE.finditer(text):
        yield match[1]


def links(page: Path) -> Iterator[str]:
    """Yield the targets of the links of ``page``."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    for match in _LINK.finditer(text):
        yield match[1]


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings have on the usual hosts."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
