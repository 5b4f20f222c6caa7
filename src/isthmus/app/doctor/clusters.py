"""Asks each cluster what only it can say: its version, its clock, what we may do there, when our credential ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.app import clusters
from isthmus.app.doctor.answers import Answer, fail, ok, warn
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.expiry import certificate_expiry, token_expiry
from isthmus.kube.gathering import offers
from isthmus.kube.kinds import DAEMONSETS, ENDPOINT_SLICES, EVENTS, NAMESPACES, NODES, SERVICES, KindRef
from isthmus.kube.publishing import HOMES
from isthmus.model.kinds import KubeCluster

__all__ = ["ClusterFacts", "ask_cluster", "credential_ends", "judge_cluster"]

_OLDEST = (1, 25)
_SKEW_WARN, _SKEW_FAIL = 5.0, 60.0
_ALWAYS: tuple[tuple[str, KindRef, str], ...] = (
    *((verb, kind, "") for kind in (NODES, SERVICES, NAMESPACES, ENDPOINT_SLICES) for verb in ("list", "watch")),
    ("patch", SERVICES, "status"),
    ("create", EVENTS, ""),
    ("list", DAEMONSETS, ""),
)
_BY_PATH: dict[str, tuple[tuple[str, KindRef, str], ...]] = {
    "overlay": (("patch", NODES, ""),),
    "flannel": (("patch", NODES, ""), ("create", NODES, ""), ("delete", NODES, "")),
}


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What a cluster answers. ``forbidden`` are the things that we need and may not do, as ``patch services/status``."""

    version: str = ""
    skew: float | None = None
    forbidden: tuple[str, ...] = ()
    ends: dict[str, float] = field(default_factory=dict)


async def ask_cluster(kind: KubeCluster, paths: Iterable[str]) -> ClusterFacts:
    """Ask one cluster; ``paths`` are those of its links. Raises KubeError, and InputError for a kubeconfig that is wrong."""
    connection = clusters.connection(kind)
    needed = dict.fromkeys((*_ALWAYS, *(one for path in sorted(set(paths)) for one in _BY_PATH.get(path, ()))))
    async with KubeClient(connection) as client:
        version = await client.version()
        for projection in HOMES.values():
            if await offers(client, projection.kind):  # the CNI that is there says by these where pods are
                needed |= {(verb, projection.kind, ""): None for verb in ("list", "watch")}
        forbidden = [
            f"{verb} {resource.plural}{'/' + part if part else ''}"
            for verb, resource, part in needed
            if not await client.can_i(verb, resource, subresource=part)
        ]
        return ClusterFacts(version, client.skew(), tuple(forbidden), credential_ends(connection))


def credential_ends(connection: Connection) -> dict[str, float]:
    """Return when the credentials of ``connection`` end, as far as they say so. Reads files; shows nothing of them."""
    token = connection.token
    if connection.token_file is not None:
        token = _text(connection.token_file) or token
    found = {
        "token": token_expiry(token),
        "client certificate": certificate_expiry(connection.client_certificate_data or connection.client_certificate),
        "CA certificate": certificate_expiry(connection.ca_data or connection.ca_file),
    }
    return {what: end for what, end in found.items() if end is not None}


def _text(path: Path) -> str:
    try:
        return path.read_text()[:65536].strip()
    except (OSError, UnicodeDecodeError):
        return ""


def judge_cluster(name: str, facts: ClusterFacts) -> Iterator[Answer]:
    """Yield how one cluster that answers stands."""
    subject = f"cluster {name}"
    numbers = tuple(int(part) for part in facts.version.lstrip("v").split(".")[:2] if part.isdecimal())
    if numbers and numbers < _OLDEST:
        yield warn(
            subject, f"runs Kubernetes {facts.version}, older than any that was tried", "1.25 or newer is meant"
        )
    else:
        yield ok(subject, f"answers, and runs Kubernetes {facts.version or '(it does not say which)'}")
    if facts.forbidden:
        yield fail(
            subject,
            f"does not let us {', '.join(facts.forbidden)}",
            "apply deploy/overlays/joined-cluster there, or see whose credential this is",
        )
    else:
        yield ok(subject, "lets us do all that is needed")
    if facts.skew is None:
        return
    text = f"its clock is {abs(facts.skew):.0f} s {'ahead of' if facts.skew > 0 else 'behind'} ours"
    remedy = "have both follow NTP; tokens and Leases are judged by clocks"
    if abs(facts.skew) >= _SKEW_FAIL:
        yield fail(subject, text, remedy)
    elif abs(facts.skew) >= _SKEW_WARN:
        yield warn(subject, text, remedy)
    else:
        yield ok(subject, "its clock and ours agree")
