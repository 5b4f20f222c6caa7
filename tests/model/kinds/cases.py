"""The cases in ``tests/cases/kinds``, read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DIRECTORY = Path(__file__).parents[2] / "cases" / "kinds"
DRIVERS = frozenset({"external", "linux", "memory", "netscaler"})


def cases(name: str) -> list[dict[str, Any]]:
    """Return the cases of one file."""
    found: list[dict[str, Any]] = yaml.safe_load((DIRECTORY / f"{name}.yaml").read_text())
    return found


def document(kind: str, name: str, spec: Any) -> dict[str, Any]:
    """Return a document of ``kind``."""
    return {"apiVersion": "isthmus.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
