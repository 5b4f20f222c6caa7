"""`plan --out`, `apply`, `adopt` and `doctor` as scripts rely on them: exit codes, and what is on which stream."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.registry.orders import read_orders

from .test_exit_codes import GATEWAY, run


@pytest.fixture
def where(tmp_path: Path) -> tuple[str, ...]:
    """Return the options of a configuration with one device in memory."""
    config = tmp_path / "config"
    config.mkdir()
    (config / "gw.yaml").write_text(GATEWAY)
    return ("--config", str(config), "--state", str(tmp_path / "state"))


def test_a_plan_in_a_file(where: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan with nothing in it is written, read and carried out as nothing; an edited one ends with 1."""
    file = tmp_path / "plan.json"
    assert run("plan", *where, "--out", str(file)) == 0
    assert json.loads(file.read_text())["format"] == "isthmus-plan/2"
    assert run("apply", *where, "--plan", str(file)) == 0
    assert capsys.readouterr().out.endswith("nothing to do\n")
    assert run("apply", *where, "--plan", str(file), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"notes": [], "outcomes": [], "problems": []}
    file.write_text(file.read_text().replace("gw", "gv"))
    assert run("apply", *where, "--plan", str(file)) == 1
    assert "was changed since it was made" in capsys.readouterr().err


def test_consent_is_said_by_who_applies(
    where: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan made with --allow-deletes is not applied without it: exit 2, and the way out."""
    file = tmp_path / "plan.json"
    run("plan", *where, "--out", str(file), "--allow-deletes")
    assert run("apply", *where, "--plan", str(file)) == 2
    assert "say it here, too" in capsys.readouterr().err
    assert run("apply", *where, "--plan", str(file), "--allow-deletes") == 0


def test_wrong_usage(where: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options that contradict each other, and a question with nobody to ask, end with 64 and change nothing."""
    for arguments, word in (
        (("apply", *where), "--yes"),
        (("apply", *where, "--plan", "x", "--device", "gw"), "leave --device out"),
        (("plan", "--home", "a", "--in-cluster"), "one of them"),
        (("plan", "--namespace", "a"), "--home"),
        (("doctor", *where, "--log", "x"), "--bundle"),
        (("adopt", "gw"), "IDENTITY"),
    ):
        assert run(*arguments) == 64, arguments
        assert word in capsys.readouterr().err


def test_an_order_that_makes_no_sense(
    where: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not in the way, a tunnel, and a device nobody knows are named; nothing is ordered."""
    assert run("adopt", "gw", "route 10.1.0.0/24", "tunnel isth0", *where) == 1
    err = capsys.readouterr().err
    assert "route 10.1.0.0/24: nothing foreign stands there" in err
    assert "tunnel isth0: a tunnel is not taken over" in err
    assert run("adopt", "nobody", "route 10.1.0.0/24", *where) == 1
    assert "there is gw" in capsys.readouterr().err
    assert read_orders(tmp_path / "state") == {}


def test_a_doctor_for_programs(where: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """All is well but for the controller that has never run; a broken file makes it end with 1."""
    assert run("doctor", *where, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["well"] is True
    assert {one["subject"] for one in found["answers"] if one["level"] == "warn"} == {f"state {where[3]}"}
    (Path(where[1]) / "bad.yaml").write_text("kind: [")
    assert run("doctor", *where, "--quiet") == 1
    out = capsys.readouterr().out
    assert "FAIL configuration: " in out
    assert "ok  " not in out
