"""Where kube-apiserver and etcd are: ``scripts/apiserver.sh`` knows, and this asks it once.

Tests never build the two: that takes minutes and belongs to a stage of its own. Where they are missing, the script's one line
says how to get them, and that line is what the skip says.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "apiserver.sh"


class NotThere(Exception):
    """There is no kube-apiserver or no etcd here; the text says how to get them."""


@cache
def _asked() -> tuple[str, str]:
    done = subprocess.run([str(SCRIPT), "--no-build"], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0:
        return done.stdout.strip(), ""
    return "", (done.stderr.strip().splitlines() or ["scripts/apiserver.sh said nothing"])[-1]


def programs() -> Path:
    """Return the directory with ``kube-apiserver`` and ``etcd``; raise NotThere."""
    found, why = _asked()
    if not found:
        raise NotThere(why)
    return Path(found)


def require() -> Path:
    """Return the directory as ``programs`` does, or skip the test; with ``REQUIRE=go`` fail it."""
    try:
        return programs()
    except NotThere as missing:
        if "go" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))
