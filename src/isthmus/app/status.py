"""What the controller says about each of the user's objects, computed afresh from what is; in the kinds' own status words.

It is a function of the present: the same state gives the same status, so an unchanged one is not written again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from isthmus.app.acceptance import Acceptance
from isthmus.app.fleet import CountingPlanner, Fleet
from isthmus.app.joined import JoinedCluster
from isthmus.app.probing import Probing, Report
from isthmus.core.choose import changed
from isthmus.core.ground import DEVICE_LABEL
from isthmus.core.standing import roles
from isthmus.core.view import WATCHED, ClusterView
from isthmus.core.world import World, path_of
from isthmus.drivers.base import Saving
from isthmus.loop.device_status import DeviceStatus
from isthmus.model.kinds import Key

_SHOWN = 20
"""So many sentences of one sort are shown in a status; how many more there are is said."""
AS_WRITTEN = "as written"
"""Why a link has the path that its spec names."""
_MOST = 2**63 - 1
"""Kubernetes' integers end here, and IPv6 pools do not."""


def statuses(
    world: World,
    fleet: Fleet,
    clusters: Mapping[str, JoinedCluster],
    probing: Probing,
    problems: tuple[str, ...],
    *,
    running: bool = True,
    accepted: Mapping[Key, Acceptance] = MappingProxyType({}),
    ending: Mapping[Key, Sequence[str]] = MappingProxyType({}),
    unjoined: Mapping[str, str] = MappingProxyType({}),
) -> dict[Key, Any]:
    """Return the status of every object but claims, by kind and name, and one of the controller itself.

    ``accepted`` says whose words count, ``ending`` what objects that are being deleted wait for, ``unjoined`` why a cluster
    cannot be reached as it is written.
    """
    result: dict[Key, Any] = {("Controller", "controller"): {"problems": list(problems), "running": running}}
    for name in world.cluster_kinds:
        result["KubeCluster", name] = _cluster(world, name, clusters.get(name), unjoined.get(name, "not joined yet"))
    for name in world.devices:
        result["EdgeDevice", name] = _device(fleet, name)
    for name in world.links:
        result["ClusterLink", name] = _link(world, fleet, clusters, probing, name)
    for name, use in pool_use(world, clusters).items():
        result["AddressPool", name] = _pool(use)
    for key, one in accepted.items():
        if key[0] != "VirtualIP":
            result.setdefault(key, {})["accepted"] = one.to_json()
    for key, waits in ending.items():
        result.setdefault(key, {})["ending"] = list(waits)
    return result


def _cluster(world: World, name: str, joined: JoinedCluster | None, unjoined: str) -> dict[str, Any]:
    view = world.view(name)
    failing = joined.failing() if joined is not None else unjoined
    doubt = view.doubt()
    return {
        "reachable": failing is None and joined is not None,
        "version": joined.version if joined is not None else "",
        "uid": view.uid,
        "nodes": sum(1 for node in view.nodes.values() if DEVICE_LABEL not in node.labels),
        "services": sum(1 for service in view.services.values() if service.type == "LoadBalancer"),
        "message": failing or doubt or "in sync",
        "inSync": failing is None and doubt is None,
        "skipped": _broken(joined),
        "cni": _cni(view),
        "cniTitle": _cni_title(view),
        "failing": _few(tuple(joined.worker.complaints())) if joined is not None else [],
        "watches": {kind: kind not in view.pending for kind in WATCHED},
    }


def _cni(view: ClusterView) -> dict[str, Any] | None:
    """Return which CNI the cluster has and why; what is odd about nodes is counted, and the first are said."""
    found = view.cni
    if found is None:
        return None
    homes = view.homes
    odd = [f"node {name}: {oddity}" for name in sorted(homes.odd)[:_SHOWN] for oddity in homes.odd[name]]
    if len(homes.odd) > _SHOWN:
        odd.append(f"{len(homes.odd)} nodes have something odd")
    return {
        "name": found.cni,
        "certainty": found.certainty,
        "mode": found.mode,
        "why": found.why,
        "remarks": _few((*found.remarks, *homes.homeless(view.stated), *odd)),
    }


def _cni_title(view: ClusterView) -> str:
    """Return the CNI and how sure that is, in a word or two."""
    found = view.cni
    if found is None:
        return ""
    return f"{found.cni}, likely" if found.certainty == "likely" else found.cni


def _broken(joined: JoinedCluster | None) -> list[str]:
    if joined is None:
        return []
    found = [
        f"{kind} {'/'.join(part for part in key if part)}: {reason}"
        for kind, informer in joined.informers.items()
        for key, reason in sorted(informer.broken.items())
    ]
    return _few(tuple(found))


def _device(fleet: Fleet, name: str) -> dict[str, Any]:
    worker = fleet.workers.get(name)
    if worker is None:
        return {"reachable": False, "message": "not started"}
    status = worker.status
    unsaved = worker.driver.save_trouble if isinstance(worker.driver, Saving) else None
    return {
        "reachable": status.reachable,
        "unsaved": unsaved,
        "inSync": status.in_sync,
        "owned": status.owned,
        "writes": status.writes,
        "drift": status.drift,
        "passes": status.passes,
        "conflicts": _few(status.conflicts),
        "refused": _few(status.refusals),
        "held": _few(status.held),
        "drifted": _few(status.drifts),
        "ignored": status.ignored,
        "lastPlan": status.last_plan,
        "plan": _plan(worker.planner),
        "counts": {
            "conflicts": len(status.conflicts),
            "refused": len(status.refusals),
            "held": len(status.held),
            "drifted": len(status.drifts),
        },
        "message": status.error or _message(status) + (f"; not saved: {unsaved}" if unsaved else ""),
    }


def _message(status: DeviceStatus) -> str:
    if status.in_sync:
        return "in sync"
    counts = (
        (len(status.conflicts), "in conflict"),
        (len(status.drifts), "drifted"),
        (len(status.refusals), "refused"),
        (len(status.held), "held"),
    )
    return ", ".join(f"{count} {what}" for count, what in counts if count) or "working"


def _plan(planner: object) -> dict[str, Any] | None:
    """Return the last plan with anything in it, in numbers."""
    if not isinstance(planner, CountingPlanner) or planner.last is None:
        return None
    last = planner.last
    return {
        "at": datetime.fromtimestamp(last.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "creates": last.creates,
        "updates": last.updates,
        "deletes": last.deletes,
        "withheld": last.withheld,
        "refused": last.refused,
    }


def _few(texts: tuple[str, ...]) -> list[str]:
    more = len(texts) - _SHOWN
    return [*texts[:_SHOWN], *([f"... and {more} more"] if more > 0 else [])]


def _link(
    world: World, fleet: Fleet, clusters: Mapping[str, JoinedCluster], probing: Probing, name: str
) -> dict[str, Any]:
    link = world.links[name]
    path = path_of(world, link)
    choice = world.choices.get(name)
    joined_cluster = clusters.get(link.spec.cluster)
    taking = {
        node.name
        for node in world.view(link.spec.cluster).nodes.values()
        if DEVICE_LABEL not in node.labels and link.spec.node_selector.matches(node.labels)
    }
    devices = [fleet.workers[device].planner for device in link.spec.devices if device in fleet.workers]
    joined = set(taking)
    for planner in devices:
        joined &= set(planner.joined_nodes(name))
    rejected = joined_cluster.choose.rejected.get(name, ()) if joined_cluster is not None else ()
    waiting: dict[str, str] = {}
    for planner in devices:
        for scope, refusals in planner.refusals.items():
            if scope.link == name and scope.kind == "node":
                waiting.setdefault(scope.name, refusals[0].message)
    if joined_cluster is not None:
        waiting |= {n: why for (of, n), why in joined_cluster.attach.waiting.items() if of == name and n in taking}
    report = probing.report(name)
    if link.spec.path != "auto":
        why = AS_WRITTEN
    else:
        why = choice.why if choice is not None else "no path works yet"
        if (moved := changed(world, name, link.spec.cluster)) is not None:
            why = f"{why}; {moved}"
    return {
        "path": path,
        "why": why,
        "tried": [{"path": p, "whyNot": w} for p, w in (choice.rejected if choice is not None else rejected)],
        "nodesJoined": len(joined) if devices else 0,
        "nodesWaiting": len(taking) - (len(joined) if devices else 0),
        "waiting": _few(tuple(waiting[node] for node in sorted(waiting))),
        "silent": _few(report.texts),
        "probe": _probed(report),
        "counts": {"asked": report.asked, "silent": report.silent, "proven": report.complete},
        "answering": roles(world, link),
        "cluster": link.spec.cluster,
        "devices": list(link.spec.devices),
        "unreachable": sorted(
            device
            for device in link.spec.devices
            if device in fleet.workers and not fleet.workers[device].status.reachable
        ),
    }


_TROUBLES = {
    "unreachable": ("does not answer", "do not answer"),
    "mtu": ("loses long packets", "lose long packets"),
    "pod": ("answers, a pod on it does not", "answer, a pod on each does not"),
}


def _probed(report: Report) -> str:
    """Return in one line how the nodes answer."""
    if not report.asked:
        return "not yet"
    found = [
        f"1 node {_TROUBLES[kind][0]}" if count == 1 else f"{count} nodes {_TROUBLES[kind][1]}"
        for kind, count in report.kinds.items()
        if count
    ]
    if found:
        return ", ".join(found)
    return "the one node answers" if report.asked == 1 else f"all {report.asked} nodes answer"


def _pool(use: tuple[int, int, int]) -> dict[str, Any]:
    total, used, waiting = use
    return {"total": min(total, _MOST), "used": used, "free": min(total - used, _MOST), "waiting": waiting}


def pool_use(world: World, clusters: Mapping[str, JoinedCluster]) -> dict[str, tuple[int, int, int]]:
    """Return per pool how many addresses it has, how many of them are used, and how many Services wait for one."""
    used = world.pool_use.used(world.pools, world.vips.values())
    waits = [why for joined in clusters.values() for why in joined.service.waiting.values()]
    return {
        name: (pool.spec.size(4) + pool.spec.size(6), used.get(name, 0), sum(1 for why in waits if name in why))
        for name, pool in world.pools.items()
    }
