"""How the cluster is reached: as the pod that we are, or by a kubeconfig, as the older systems did it.

A pod has a service account; outside of one it is ``KUBECONFIG``, or ``~/.kube/config``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isthmus.compat.reading import Reader
from isthmus.registry.problems import Problem

__all__ = ["Access", "cluster_access"]


@dataclass(frozen=True, slots=True)
class Access:
    """The way to the cluster (no kubeconfig: as a pod), and the namespace in which ConfigMaps of ours stand."""

    kubeconfig: Path | None
    namespace: str


def cluster_access(reader: Reader, service_account: Path, home: Path) -> Access | None:
    """Return how the cluster is reached, or note what is missing for it."""
    kubeconfig = reader.text("KUBECONFIG")
    if kubeconfig is not None:
        if reader.path("KUBECONFIG", kubeconfig) is None:
            return None
        return Access(Path(kubeconfig), reader.text("POD_NAMESPACE") or "kube-system")
    if reader.text("KUBERNETES_SERVICE_HOST") is not None:
        return Access(None, reader.text("POD_NAMESPACE") or _own_namespace(service_account))
    if (home / ".kube" / "config").is_file():
        return Access(home / ".kube" / "config", reader.text("POD_NAMESPACE") or "kube-system")
    reader.problems.append(
        Problem(
            "environment: KUBECONFIG",
            "is missing, and this is no pod of a cluster: nobody knows which cluster is meant",
            f"set it to the path of a kubeconfig, or put one at {home / '.kube' / 'config'}",
        )
    )
    return None


def _own_namespace(service_account: Path) -> str:
    try:
        return (service_account / "namespace").read_text().strip() or "kube-system"
    except OSError:
        return "kube-system"
