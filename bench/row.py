"""One line of the table: what was measured, against what, and whether that is good enough.

The one confusing thing: ``ok`` has three values. None means that it could not be measured here, and ``note`` says why; a
machine without namespaces has missed no goal.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bench.measure import Pairs

__all__ = ["Row", "compared", "judged", "skipped"]


class Row(msgspec.Struct, frozen=True):
    """A result; ``ratio`` is value over reference. ``spread`` is half the range of the ratios (or values) around it."""

    name: str
    value: float | None
    unit: str
    reference: float | None
    ratio: float | None
    goal: str
    ok: bool | None
    spread: float | None = None
    noise: float | None = None
    pairs: int = 0
    note: str = ""
    profile: str = ""


def judged(
    name: str,
    value: float,
    unit: str,
    *checks: tuple[str, bool],
    reference: float | None = None,
    ratio: float | None = None,
    spread: float | None = None,
    noise: float | None = None,
    pairs: int = 0,
    note: str = "",
) -> Row:
    """Return a row whose goal is met when every one of ``checks`` (its words, whether it holds) is."""
    goal = ", ".join(words for words, _ in checks)
    ok = all(holds for _, holds in checks)
    return Row(name, value, unit, reference, ratio, goal, ok, spread, noise, pairs, note)


def compared(name: str, found: Pairs, unit: str, *checks: tuple[str, bool], note: str = "") -> Row:
    """Return the row of what was measured in turns with its reference; ``checks`` are as of :func:`judged`."""
    return judged(
        name,
        found.value,
        unit,
        *checks,
        reference=found.reference,
        ratio=found.ratio,
        spread=found.spread,
        noise=found.noise,
        pairs=len(found.ours),
        note=note,
    )


def skipped(name: str, why: str) -> Row:
    """Return the row of a bench that cannot be run here."""
    return Row(name, None, "", None, None, "", None, note=why)


def table(rows: Sequence[Row]) -> str:
    """Return ``rows`` as people read them."""
    head = ("", "ours", "reference", "ratio", "spread", "goal", "")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = []
    for line, row in zip(lines, (None, *rows), strict=True):
        text.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if row is not None and row.note:
            text.append(f"    {row.note}")
    return "\n".join(text) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    state = {True: "ok", False: "MISSED", None: "not measured"}[row.ok]
    return (
        row.name,
        f"{_number(row.value)} {row.unit}".strip(),
        f"{_number(row.reference)} {row.unit}".strip() if row.reference is not None else "",
        f"{row.ratio:.2f}x" if row.ratio is not None else "",
        f"±{row.spread:.2f}" if row.spread is not None else "",
        row.goal,
        state,
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
