"""How things look: tables and colour at a terminal, plain text in a pipe, JSON when asked.

Whatever is printed is the same content in all three; only the dress differs. rich is imported when a table is drawn, not
before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click


def emit_json(value: Any) -> None:
    """Print ``value`` as JSON, indented, keys in order."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, default=str))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their columns; at a terminal drawn, in a pipe aligned by spaces."""
    if not sys.stdout.isatty():
        _plain(title, columns, rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title, title_justify="left", header_style="bold", title_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(_cell(cell), style=_style(cell)) for cell in row))
    Console().print(drawn)


def _plain(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    cells = [[column.upper() for column in columns], *([_cell(cell) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    if title:
        click.echo(title)
    for line in cells:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    click.echo()


_MANY = 10**9


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "-"
    if isinstance(value, int) and value >= _MANY:
        return f"{value:.1e}"
    return str(value)


def _style(value: Any) -> str:
    if value is True:
        return "green"
    return "red" if value is False else ""


_COLOURS = {
    ">": "green",
    "*": "yellow",
    "+": "green",
    "~": "yellow",
    "-": "red",
    "!": "magenta",
    "?": "cyan",
    "=": "blue",
}


def plan_line(line: str) -> None:
    """Print one line of a plan in the colour of its sign."""
    click.secho(line, fg=_COLOURS.get(line[:1]))


def count(number: int, what: str) -> str:
    """Return ``1 change``, ``2 changes``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def note(text: str) -> None:
    """Print a remark on stderr, so that a pipe stays clean."""
    click.secho(text, fg="yellow", err=True)
