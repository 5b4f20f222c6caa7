"""The published failures and their bugs, read from ``rows/*.toml``; everything about their form is checked here."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One bug: in ``file`` the text ``before``, which stands there once, becomes ``after``; ``tests`` must see it."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    packets: bool = False

    def planted(self, source: Path) -> str:
        """Return the file's text with the bug in it; ``source`` is the folder that holds ``src``. Raises ``ValueError``."""
        text = (source / self.file).read_text()
        found = text.count(self.before)
        if found != 1:
            raise ValueError(
                f"{self.name}: its text stands {found} times in {self.file}, not once; bring it up to date"
            )
        return text.replace(self.before, self.after)


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One published pattern: who suffered it (``cases``), what ours does instead, and why not, where we have no such part."""

    pattern: str
    cases: str
    ours: str
    mutants: tuple[Mutant, ...] = msgspec.field(name="mutant", default=())
    not_reached: str = ""


def rows() -> list[Row]:
    """Return every row by the name of its file; raises ``ValueError`` for one that is not in form."""
    found = []
    for path in sorted((HERE / "rows").glob("*.toml")):
        try:
            found.append(msgspec.convert(tomllib.loads(path.read_text()), Row))
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise ValueError(f"{path.name}: {error}") from error
    return found


def mutants() -> list[Mutant]:
    """Return the bugs of all rows."""
    return [mutant for row in rows() for mutant in row.mutants]
