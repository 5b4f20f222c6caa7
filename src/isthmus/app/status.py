"""What the controller says about each of the user's objects, computed afresh from what is; in the kinds' own status words.

It is a function of the present: the same state gives the same status, so an unchanged one is not written again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from isthmus.app.fleet import Fleet
from isthmus.app.joined import JoinedCluster
from isthmus.app.probing import Probing
from isthmus.core.desire import path_of
from isthmus.core.ground import DEVICE_LABEL
from isthmus.core.world import World
from isthmus.model.kinds import Key

_SHOWN = 20
"""So many sentences of one sort are shown in a status; how many more there are is said."""


def statuses(
    world: World,
    fleet: Fleet,
    clusters: Mapping[str, JoinedCluster],
    probing: Probing,
    problems: tuple[str, ...],
    *,
    running: bool = True,
) -> dict[Key, Any]:
    """Return the status of every object by kind and name, and one of the controller itself."""
    result: dict[Key, Any] = {("Controller", "controller"): {"problems": list(problems), "running": running}}
    for name in world.cluster_kinds:
        result["KubeCluster", name] = _cluster(world, name, clusters.get(name))
    for name in world.devices:
        result["EdgeDevice", name] = _device(fleet, name)
    for name in world.links:
        result["ClusterLink", name] = _link(world, fleet, clusters, probing, name)
    for name in world.pools:
        result["AddressPool", name] = _pool(world, clusters, name)
    for name, vip in world.vips.items():
        holder = vip.spec.holder
        result["VirtualIP", name] = {
            "address": str(vip.spec.address),
            "pool": vip.spec.pool,
            "holder": str(holder) if holder else "reserved",
            "served": _served(world, fleet, vip.spec.address, holder.cluster if holder else None),
        }
    return result


def _cluster(world: World, name: str, joined: JoinedCluster | None) -> dict[str, Any]:
    view = world.view(name)
    failing = joined.session.failing() if joined is not None else "its configuration cannot be used"
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
    }


def _broken(joined: JoinedCluster | None) -> list[str]:
    if joined is None:
        return []
    found = [
        f"{kind} {'/'.join(part for part in key if part)}: {reason}"
        for kind, informer in joined.session.informers.items()
        for key, reason in sorted(informer.broken.items())
    ]
    return _few(tuple(found))


def _device(fleet: Fleet, name: str) -> dict[str, Any]:
    worker = fleet.workers.get(name)
    if worker is None:
        return {"reachable": False, "message": "not started"}
    status = worker.status
    return {
        "reachable": status.reachable,
        "inSync": status.in_sync,
        "owned": status.owned,
        "writes": status.writes,
        "drift": status.drift,
        "passes": status.passes,
        "conflicts": _few(status.conflicts),
        "refused": _few(status.refusals),
        "held": _few(status.held),
        "lastPlan": status.last_plan,
        "message": status.error or ("in sync" if status.in_sync else "working"),
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
    silent = probing.silent(name)
    if link.spec.path != "auto":
        why = "as written"
    else:
        why = choice.why if choice is not None else "no path works yet"
    return {
        "path": path,
        "why": why,
        "tried": [{"path": p, "whyNot": w} for p, w in (choice.rejected if choice is not None else rejected)],
        "nodesJoined": len(joined) if devices else 0,
        "nodesWaiting": len(taking) - (len(joined) if devices else 0),
        "waiting": _few(tuple(waiting[node] for node in sorted(waiting))),
        "silent": _few(tuple(text for _, text in sorted(silent.items()))),
        "probe": _probed(probing.asked(name), len(silent)),
        "cluster": link.spec.cluster,
        "devices": list(link.spec.devices),
    }


def _probed(asked: int, silent: int) -> str:
    if not asked:
        return "not yet"
    return f"{silent} nodes do not answer" if silent else f"all {asked} nodes answer"


def _pool(world: World, clusters: Mapping[str, JoinedCluster], name: str) -> dict[str, Any]:
    pool = world.pools[name]
    used = Counter(vip.spec.pool for vip in world.vips.values())[name]
    total = pool.spec.size(4) + pool.spec.size(6)
    held = sum(1 for vip in world.vips.values() if pool.spec.contains(vip.spec.address))
    return {
        "total": min(total, 2**63 - 1),
        "used": max(used, held),
        "free": min(total - held, 2**63 - 1),
        "waiting": sum(1 for joined in clusters.values() for why in joined.service.waiting.values() if name in why),
    }


def _served(world: World, fleet: Fleet, address: object, cluster: str | None) -> list[str]:
    links = world.links_of_cluster(cluster) if cluster else []
    identity = f"vip {address}"
    return sorted(
        {
            device
            for link in links
            for device in link.spec.devices
            if device in fleet.workers and identity in fleet.workers[device].planner.observed
        }
    )
