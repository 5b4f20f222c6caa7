"""``isthmus status``: how everything stands, from what the controller last wrote down."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from isthmus.cli import EXIT_FAILED
from isthmus.cli.options import json_option, state_option
from isthmus.cli.render import emit_json, note, table
from isthmus.errors import StateError

_COLUMNS: dict[str, tuple[str, dict[str, str]]] = {
    "KubeCluster": (
        "Clusters",
        {
            "Reachable": "reachable",
            "In sync": "inSync",
            "Version": "version",
            "CNI": "cniTitle",
            "Nodes": "nodes",
            "Message": "message",
        },
    ),
    "EdgeDevice": (
        "Devices",
        {
            "Reachable": "reachable",
            "In sync": "inSync",
            "Owned": "owned",
            "Writes": "writes",
            "Drift": "drift",
            "Message": "message",
        },
    ),
    "ClusterLink": (
        "Links",
        {
            "Cluster": "cluster",
            "Devices": "devices",
            "Path": "path",
            "Joined": "nodesJoined",
            "Waiting": "nodesWaiting",
            "Probe": "probe",
            "Why": "why",
        },
    ),
    "AddressPool": ("Pools", {"Total": "total", "Used": "used", "Free": "free", "Waiting": "waiting"}),
    "VirtualIP": ("VIPs", {"Holder": "holder", "Pool": "pool", "Served by": "served"}),
}


@click.command()
@state_option
@json_option
def command(state: Path, as_json: bool) -> int:
    """Show clusters, devices, links, pools and VIPs as the controller last saw them.

    It is read from the controller's state directory. A controller that has only a home cluster writes into the objects
    there: `kubectl get isthmus`.

    Exit code 0: all is in sync and nothing is in the way. 1: something is not (a conflict, a node that waits or does not
    answer, a problem in the configuration), or there is no controller's state to read.
    """
    from isthmus.registry.state import StateDirectory

    try:
        with StateDirectory.read(state) as reader:
            entries = reader.read_status()
    except StateError as error:
        # Without --state a controller with a home cluster writes nothing here, and all there.
        hint = "" if state.exists() else "; how things stand in a home cluster, `kubectl get isthmus` shows"
        raise StateError(f"{error}{hint}") from error
    by_kind: dict[str, dict[str, Any]] = {}
    newest = 0.0
    for (kind, name), entry in sorted(entries.items()):
        by_kind.setdefault(kind, {})[name] = entry.value
        newest = max(newest, entry.updated)
    if as_json:
        emit_json({"objects": by_kind, "updated": newest})
    else:
        _print(by_kind, newest)
    return 0 if by_kind and _well(by_kind) else EXIT_FAILED


def _print(by_kind: dict[str, dict[str, Any]], newest: float) -> None:
    if not by_kind:
        note("the controller has not written a status yet")
        return
    for kind, (title, columns) in _COLUMNS.items():
        rows = [
            [name, *(value.get(key) for key in columns.values())] for name, value in by_kind.get(kind, {}).items()
        ]
        if rows:
            table(title, ["Name", *columns], rows)
    if not all(value.get("running") for value in by_kind.get("Controller", {}).values()):
        note("the controller was stopped; this is how it left things")
    else:
        for value in by_kind.get("Controller", {}).values():
            who = _who_leads(value.get("turn") or {})
            if who:
                note(who)
    for name, link in by_kind.get("ClusterLink", {}).items():
        if link.get("answering"):
            note(f"ClusterLink {name}: {'; '.join(link['answering'])}")
    for kind, name, label, text in _remarks(by_kind):
        note(f"{kind} {name}: {label}: {text}")
    age = max(0.0, time.time() - newest)
    click.echo(
        f"as of {age:.0f} s ago" + (" (last change; unchanged things are not written again)" if age > 5 else "")
    )


def _who_leads(turn: dict[str, Any]) -> str:
    """Return whose turn it is to write, as a sentence; empty where there is only this controller."""
    match turn.get("role"):
        case "leader":
            return f"this controller leads, in term {turn.get('epoch')}"
        case "standby":
            why = "" if turn.get("lease") == "answers" else f" ({turn.get('lease')})"
            return f"this controller stands by; {turn.get('leader') or 'nobody yet'} leads{why}"
        case "lapsed":
            return f"this controller led and writes nothing now: {turn.get('lease')}"
    return ""


def _remarks(by_kind: dict[str, dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    labels = ("problems", "conflicts", "refused", "drifted", "held", "waiting", "silent", "skipped", "failing")
    found = []
    for kind, objects in by_kind.items():
        for name, value in objects.items():
            for label in labels:
                texts = value.get(label)
                if isinstance(texts, list):
                    found += [(kind, name, label, str(text)) for text in texts]
    return found


def _well(by_kind: dict[str, dict[str, Any]]) -> bool:
    watched = [*by_kind.get("KubeCluster", {}).values(), *by_kind.get("EdgeDevice", {}).values()]
    problems = any(value.get("problems") for value in by_kind.get("Controller", {}).values())
    troubles = ("conflicts", "refused", "drifted", "held", "waiting", "silent")
    devices_and_links = [*by_kind.get("EdgeDevice", {}).values(), *by_kind.get("ClusterLink", {}).values()]
    troubled = any(value.get(trouble) for value in devices_and_links for trouble in troubles)
    return not problems and not troubled and all(value.get("inSync") for value in watched)
