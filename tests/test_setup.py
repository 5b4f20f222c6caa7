"""The script behind `make setup` touches no virtual environment but this checkout's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent


def test_what_a_link_leads_to_is_left_alone(tmp_path: Path) -> None:
    """Where .venv is a link, setup says so and ends with 1; what is at its other end stays as it is."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/setup.sh", "uv.lock", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    others = tmp_path / "others"
    (others / "bin").mkdir(parents=True)
    (others / "bin" / "kept").touch()
    (tmp_path / ".venv").symlink_to(others)
    done = subprocess.run(
        [tmp_path / "scripts" / "setup.sh"],
        env={**os.environ, "ISTHMUS_NO_APT": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, ".venv is a link" in done.stderr) == (1, True)
    assert [path.name for path in others.rglob("*")] == ["bin", "kept"]
