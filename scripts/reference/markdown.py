"""The little Markdown that the pages need: tables, code, docstrings as prose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar inside a cell is escaped, a line break becomes a space."""
    lines = [_row(columns), _row(["---"] * len(columns)), *(_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    """Return ``text`` on one line; outside of code, what looks like HTML is none."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;").replace(">", "&gt;") for part in parts[::2]]
    return "`".join(parts)


def code(text: str) -> str:
    """Return ``text`` as inline code."""
    return f"`{text}`" if text else ""


def prose(docstring: str | None) -> str:
    """Return a docstring as Markdown: reStructuredText's double backquotes and roles become single backquotes."""
    text = re.sub(r":[a-z]+:`~?([^`]+)`", r"`\1`", docstring or "")
    return text.replace("``", "`").strip()


def first_line(docstring: str | None) -> str:
    """Return the first sentence of a docstring as Markdown."""
    return prose(docstring).partition("\n\n")[0].replace("\n", " ")
