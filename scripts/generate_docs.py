"""Write docs/reference/ anew from the code, or with ``--check`` say which pages are not what the code says.

Each page is made by one module of ``reference/``, as a function without arguments that returns Markdown. Nothing here knows
what stands in a page; a page that nobody makes any more is removed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from reference import code, commands, failures, figures, kinds, marks, spoken

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference"
PAGES = {
    "kinds.md": kinds.page,
    "commands.md": commands.page,
    "annotations-and-labels.md": marks.page,
    "reasons.md": spoken.reasons_page,
    "logs.md": spoken.logs_page,
    "metrics.md": figures.page,
    "errors.md": code.errors_page,
    "resources.md": code.resources_page,
    "failures.md": failures.page,
}
NOTE = "<!-- Made from the code by `make docs`; edit the code, not this page. -->\n\n"


def pages() -> dict[str, str]:
    """Return every generated page by its file name."""
    return {name: NOTE + make().strip() + "\n" for name, make in PAGES.items()}


def main() -> int:
    """Write or check; return the exit status."""
    wanted = pages()
    standing = {path.name: path.read_text("utf-8") for path in TARGET.glob("*.md")}
    stale = sorted({name for name in wanted.keys() | standing.keys() if wanted.get(name) != standing.get(name)})
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"docs/reference/{name} is not what the code says; run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if name in wanted:
            (TARGET / name).write_text(wanted[name], "utf-8")
        else:
            (TARGET / name).unlink()
        print(f"docs/reference/{name} {'written' if name in wanted else 'removed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
