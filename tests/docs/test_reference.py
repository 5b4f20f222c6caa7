"""The reference is what the code says, and nothing that users meet is missing from it.

The pages are generated; the checks here look at the code by other means than the generator, so that a hole in it shows.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from docs.pages import ROOT
from isthmus.app.drivers import DRIVERS
from isthmus.cli.commands import group
from isthmus.model.kinds.known import KINDS

REFERENCE = ROOT / "docs" / "reference"
SOURCES = [path for path in (ROOT / "src" / "isthmus").rglob("*.py") if "lab" not in path.parts]


def page(name: str) -> str:
    return (REFERENCE / name).read_text("utf-8")


def test_pages_are_current() -> None:
    """What `make docs` would write is what stands there."""
    command = [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_field_of_a_kind_is_documented(name: str) -> None:
    """Each field a user can write stands in kinds.md by its full path."""
    text = page("kinds.md")
    missing = [
        path for path in fields(KINDS[name].model_fields["spec"].annotation, "spec") if f"`{path}`" not in text
    ]
    assert not missing


def fields(annotation: object, path: str) -> list[str]:
    """Return the paths of the fields of a model, found by the types alone."""
    found: list[str] = []
    for part in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(part, type) and issubclass(part, BaseModel):
            suffix = "[]" if getattr(annotation, "__origin__", None) is tuple else ""
            for name, field in part.model_fields.items():
                place = f"{path}{suffix}.{field.alias or name}"
                found += [place, *fields(field.annotation, place)]
    return found


def test_every_option_is_documented() -> None:
    """Each option that some verb's help shows stands in commands.md, under that verb."""
    sections = page("commands.md").split("\n## ")
    for name in group.list_commands(None):  # type: ignore[arg-type]
        done = CliRunner().invoke(group, [name, "--help"])
        assert done.exit_code == 0
        ours = "".join(section for section in sections if section.startswith(f"isthmus {name}"))
        flags = set(re.findall(r"--[a-z][a-z-]+", done.output)) - {"--help"}
        assert flags <= set(re.findall(r"--[a-z][a-z-]+", ours)), name


def test_every_reason_is_documented() -> None:
    """Each CamelCase word that is given as a reason in the code stands in reasons.md."""
    text = page("reasons.md")
    given = re.compile(
        r"(?:refuse|Refused|Refusal|_tell|tell)\(\s*(?:[\w.]+,\s*)?\"([A-Z]\w+)\"|\"(?:True|False)\", \"([A-Z]\w+)\""
    )
    found = {
        word
        for path in SOURCES
        for match in given.finditer(path.read_text("utf-8"))
        for word in match.groups()
        if word not in (None, "True", "False")
    }
    assert found, "the search finds nothing, so it proves nothing"
    assert not {word for word in found if f"`{word}`" not in text}


def test_every_mark_is_documented() -> None:
    """Each annotation, label and condition of ours that the code spells stands in the reference."""
    text = page("annotations-and-labels.md")
    found = {
        mark
        for path in SOURCES
        for mark in re.findall(r"\"(isthmus\.dev/[A-Za-z][\w.-]*?)\.?\"", path.read_text("utf-8"))
        if mark not in ("isthmus.dev/v1alpha1", "isthmus.dev/isthmus")
    }
    assert found
    assert not {mark for mark in found if mark not in text}


def test_every_error_is_documented() -> None:
    """Each class of the exception family stands in errors.md."""
    text = page("errors.md")
    classes = re.findall(r"^class (\w+)", (ROOT / "src/isthmus/errors.py").read_text("utf-8"), re.MULTILINE)
    assert not [name for name in classes if f"`{name}`" not in text]


def test_every_driver_has_a_page() -> None:
    """Each driver that users can name has a page with its quirks."""
    assert DRIVERS.keys() <= {path.stem for path in (ROOT / "docs" / "devices").glob("*.md")}
