"""A lab in the background: up, used and gone, as a person types it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from isthmus.cli.commands import group
from isthmus.lab.prompt import settings, welcome


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for temporary files with a name short enough for a socket in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def isthmus(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with its temporary files in ``place``."""
    return subprocess.run(
        [sys.executable, "-m", "isthmus", *arguments],
        env={**os.environ, "TMPDIR": str(place)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.mark.packets
def test_a_lab_is_up_until_it_is_ended(place: Path) -> None:
    """`lab up` leaves a lab that `lab enter` reaches; a second one is refused; `lab down` leaves nothing."""
    try:
        up = isthmus(place, "lab", "up", "--nodes", "1")
        assert up.returncode == 0, up.stderr
        again = isthmus(place, "lab", "up")
        assert (again.returncode, "is up already" in again.stderr) == (1, True)
        curl = isthmus(place, "lab", "enter", "on", "client-near", "curl", "-s", "http://203.0.113.128/")
        assert curl.stdout.startswith("pod=pod1-1 "), curl.stderr
        assert isthmus(place, "lab", "enter", "sh", "-c", "exit 7").returncode == 7
    finally:
        down = isthmus(place, "lab", "down")
    assert (down.returncode, down.stdout) == (0, "the lab is gone\n")
    assert not list(place.glob("isthmus-lab-*"))
    assert isthmus(place, "lab", "enter").returncode == 1


def test_what_the_prompt_says_first_fits_the_screen() -> None:
    """No line is wider than a terminal of 80 columns."""
    assert max(len(line) for line in welcome(200, "203.0.113.128").splitlines()) <= 80


def test_every_verb_finds_the_labs_objects_and_state() -> None:
    """Whatever takes --config or --state on the gateway gets the lab's own in the lab."""
    told = settings(Path("/lab/state"), Path("/lab/config"))
    context = click.Context(group)
    missing = []
    for verb in group.list_commands(context):
        command = group.get_command(context, verb)
        assert command is not None
        for option in ("config", "state"):
            if any(one.name == option for one in command.params):
                missing += [name for name in [f"ISTHMUS_{verb.upper()}_{option.upper()}"] if f"{name}=" not in told]
    assert missing == []
