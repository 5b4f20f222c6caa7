"""Plans played in a process of their own: virtual time is for good, and so is a bug that was made on purpose."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]


def faults(*arguments: str, timeout: float = 170.0) -> subprocess.CompletedProcess[str]:
    """Run ``python -m faults`` and return how it ended."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": f"{TOP / 'src'}:{TOP / 'tests'}"}
    return subprocess.run(
        [sys.executable, "-m", "faults", *arguments],
        cwd=TOP,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
