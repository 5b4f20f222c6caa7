"""The manifests in ``deploy/``: as files, and as ``kubectl kustomize`` renders them.

Files are read without kubectl and without patches, which is enough for whoever asks what a base or a component brings.
"""

from __future__ import annotations

import os
import subprocess
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = tuple(sorted(path.parent.name for path in DEPLOY.glob("overlays/*/kustomization.yaml")))
PARTS = tuple(
    sorted(
        str(path.parent.relative_to(DEPLOY))
        for path in DEPLOY.rglob("kustomization.yaml")
        if "overlays" not in path.parts
    )
)
WORKLOADS = ("Deployment", "DaemonSet")
Json = dict[str, Any]


def documents(*folders: str) -> list[Json]:
    """Return what the resources of folders below ``deploy/`` say, folders they name included."""
    found: list[Json] = []
    for folder in folders:
        kustomization = yaml.safe_load((DEPLOY / folder / "kustomization.yaml").read_text("utf-8"))
        for name in (*kustomization.get("resources", ()), *kustomization.get("components", ())):
            path = (DEPLOY / folder / name).resolve()
            if path.is_dir():
                found += documents(str(path.relative_to(DEPLOY)))
            else:
                found += [one for one in yaml.safe_load_all(path.read_text("utf-8")) if one is not None]
    return found


def only(documents: list[Json], kind: str, name: str | None = None) -> Json:
    """Return the one document of a kind, or of a kind and a name."""
    (found,) = (one for one in documents if one["kind"] == kind and name in (None, one["metadata"]["name"]))
    return found


@cache
def kubectl() -> str | None:
    """Return the kubectl that ``scripts/kubectl.sh`` finds, or none; nothing is built here."""
    script = [str(ROOT / "scripts" / "kubectl.sh"), "--no-build"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def require_kubectl() -> str:
    """Return kubectl, or skip the test; with ``REQUIRE=go`` fail it."""
    found = kubectl()
    if found is None:
        if "go" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail("no kubectl", pytrace=False)
        pytest.skip("no kubectl of version 1.27 or later; scripts/kubectl.sh says how to get one")
    return found


def render(folder: Path) -> list[Json]:
    """Return what ``kubectl kustomize`` makes of a folder; anything that it complains of fails the test."""
    done = subprocess.run(
        [require_kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one is not None]


@cache
def _rendered(overlay: str) -> list[Json]:
    return render(DEPLOY / "overlays" / overlay)


def rendered(overlay: str) -> list[Json]:
    """Return the objects of an overlay, fresh ones each time."""
    return deepcopy(_rendered(overlay))


def pod_of(workload: Json) -> Json:
    """Return the pod spec of a workload."""
    found: Json = workload["spec"]["template"]["spec"]
    return found
