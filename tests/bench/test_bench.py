"""The benches themselves: rows have their form, a missed goal is an exit status, and each one runs at a tiny size."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.lab.net.sandbox import in_sandbox

ROOT = Path(__file__).parents[2]
FIELDS = {"name", "value", "unit", "reference", "ratio", "goal", "ok"}


def run_bench(directory: Path, *names: str, **environment: str) -> tuple[int, str, dict[str, dict[str, object]]]:
    """Run the command in ``directory``; return its exit status, what it printed, and its rows by name."""
    done = subprocess.run(
        [sys.executable, "-m", "bench"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "BENCH": ",".join(names), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    written = directory / "build" / "bench.json"
    rows = json.loads(written.read_text())["rows"] if written.exists() else []
    return done.returncode, done.stdout + done.stderr, {row["name"]: row for row in rows}


def test_a_row_says_what_was_measured_and_against_what(tmp_path: Path) -> None:
    """A bench without packets runs anywhere; its row has every field, and the ratio is the quotient."""
    status, said, rows = run_bench(tmp_path, "node-noop", BENCH_SCALE="0.02")
    row = rows["node-noop"]
    assert row.keys() >= FIELDS, said
    assert row["ratio"] == pytest.approx(row["value"] / row["reference"])  # type: ignore[operator]
    assert "0 device calls" in str(row["goal"])
    assert "node-noop" in said
    assert status == (0 if row["ok"] else 1)


def test_a_missed_goal_is_exit_status_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One missed goal is enough; rows that could not be measured are no reason."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH", "restart,memory")
    from bench.row import judged, skipped

    from bench import __main__ as command

    good = judged("restart", 1.0, "s", ("≤ 2 s", True))
    bad = judged("memory", 3.0, "MB", ("≤ 2 MB", False), ("≥ 1 MB", True))
    for second, status in ((bad, 1), (skipped("memory", "no namespaces here"), 0), (good, 0)):
        monkeypatch.setattr(command, "probe", lambda: True)
        monkeypatch.setattr(command, "_run", lambda name, second=second: [good if name == "restart" else second])
        assert command.main() == status


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    """A typing mistake measures nothing and says what there is."""
    status, said, rows = run_bench(tmp_path, "nodes-500")
    assert (status, rows) == (64, {})
    assert "nodes-5000" in said


def test_profiles_are_written_where_asked(tmp_path: Path) -> None:
    """With BENCH_PROFILE a file says where the time went, and the row names it."""
    _, said, rows = run_bench(tmp_path, "node-noop", BENCH_SCALE="0.01", BENCH_PROFILE="1")
    assert rows["node-noop"]["profile"] == "build/profile-node-noop.txt", said
    assert "cumulative" in (tmp_path / "build" / "profile-node-noop.txt").read_text()


def test_what_a_netscaler_is_asked_is_counted(tmp_path: Path) -> None:
    """Every row comes to a figure; what is counted, other than what is timed, is as it must be at any size."""
    _, said, rows = run_bench(tmp_path, "netscaler", BENCH_SCALE="0.01")
    timed = ("netscaler-20", "netscaler-change", "netscaler-cold", "netscaler-restart")
    counted = ("netscaler-first", "netscaler-join", "netscaler-member")
    assert rows.keys() == {*timed, *counted}, said
    assert all(row["value"] is not None and row["goal"] for row in rows.values()), said
    for name in counted:
        assert rows[name]["ok"], said
        assert "save nsconfig 1/1" in str(rows[name]["note"]), "one debounced save"
    assert "0 to write" in str(rows["netscaler-restart"]["note"]), said


@pytest.mark.packets
@pytest.mark.parametrize(
    "name",
    ["nodes-5000", "services-cold", "service-plus-one", "node-join", "restart", "memory", "dataplane", "failover"],
)
def test_it_runs_at_a_tiny_size(tmp_path: Path, name: str) -> None:
    """Every bench that sends packets comes to a figure, and leaves no goal unspoken."""
    if not in_sandbox():
        pytest.skip("outside the sandbox: run python -m isthmus.lab.net.sandbox -- pytest -m packets")
    if not shutil.which("nft"):
        pytest.skip("nft is not installed")
    _, said, rows = run_bench(tmp_path, name, BENCH_SCALE="0.01")
    row = rows[name]
    assert row["value"] is not None, said
    assert row["goal"], said
