"""Write docs/reference/ anew from the code, or with ``--check`` say which pages are not what the code says.

Each page is made by one module of ``reference/``, as a function without arguments that returns Markdown. Nothing here knows
what stands in a page; a page that nobody makes any more is removed. The definitions of our kinds in ``deploy/`` are made from
the same code and therefore here, too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from reference import code, commands, environment, failures, figures, kinds, marks, rights, spoken

from isthmus.model.schema import crds

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference"
DEFINITIONS = ROOT / "deploy" / "base" / "definitions" / "crds.yaml"
PAGES = {
    "kinds.md": kinds.page,
    "commands.md": commands.page,
    "environment.md": environment.page,
    "annotations-and-labels.md": marks.page,
    "reasons.md": spoken.reasons_page,
    "logs.md": spoken.logs_page,
    "metrics.md": figures.page,
    "errors.md": code.errors_page,
    "resources.md": code.resources_page,
    "failures.md": failures.page,
    "rights.md": rights.rights_page,
}
NOTE = "<!-- Made from the code by `make docs`; edit the code, not this page. -->\n\n"


def pages() -> dict[str, str]:
    """Return every generated page by its file name."""
    return {name: NOTE + make().strip() + "\n" for name, make in PAGES.items()}


def definitions() -> str:
    """Return the CustomResourceDefinitions as `isthmus crds` prints them, with a note above."""
    note = "# Made from the code by `make docs`, the same as `isthmus crds` prints; edit the code, not this file.\n"
    return note + yaml.safe_dump_all(crds(), sort_keys=False)


def main() -> int:
    """Write or check; return the exit status."""
    wanted = {TARGET / name: text for name, text in pages().items()} | {DEFINITIONS: definitions()}
    standing = {path: path.read_text("utf-8") for path in (*TARGET.glob("*.md"), DEFINITIONS) if path.exists()}
    stale = sorted({path for path in wanted.keys() | standing.keys() if wanted.get(path) != standing.get(path)})
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the code says; run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path in wanted:
            path.write_text(wanted[path], "utf-8")
        else:
            path.unlink()
        print(f"{path.relative_to(ROOT)} {'written' if path in wanted else 'removed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
