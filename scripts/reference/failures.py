"""The page of failures that users of others' software have published, from the rows that the mutation run reads."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ROWS = Path(__file__).resolve().parent.parent.parent / "tests" / "mutants" / "rows"

HEAD = """# Published failures, and what ours does instead

Each row happened to somebody and was published. Where our code can come near it, one or more bugs that would bring it about
are kept in `tests/mutants/rows/`; `make mutants` plants them one at a time in a copy of the source and runs the tests named
here, each of which has to fail then.

| What happened | To whom | What ours does instead | Bugs planted, and the tests that see them |
|---|---|---|---|
"""


def page() -> str:
    """Return the page."""
    rows = [tomllib.loads(path.read_text()) for path in sorted(ROWS.glob("*.toml"))]
    return HEAD + "".join(map(_line, rows))


def _line(row: dict[str, Any]) -> str:
    seen = [f"`{mutant['name']}`: {', '.join(map(_test, mutant['tests']))}" for mutant in row.get("mutant", ())]
    if reason := row.get("not_reached"):
        seen.append(reason)
    cells = (row["pattern"], row["cases"], row["ours"], "<br>".join(seen))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _test(name: str) -> str:
    path, _, function = name.partition("::")
    return f"`{function or path.removeprefix('tests/')}`"
