"""What is still there of a link or a device whose end was ordered, as sentences; none means that it is cleaned up.

Everything is looked up in the present state (what devices hold, what Nodes carry), nothing is remembered of what was done,
so a restart in the middle of cleaning up asks the same questions and gets the same answers.

The one confusing thing: a thing on a device of which nobody remembers the owner counts as everybody's. It may be the link's,
and saying "clean" too early would leave it behind for ever.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.app.fleet import Fleet
from isthmus.compat.publishing import EXPORT, asked_for
from isthmus.core import attachment
from isthmus.core.ground import DEVICE_LABEL
from isthmus.core.planner import DevicePlanner
from isthmus.core.world import World, path_of
from isthmus.loop.device import DeviceWorker
from isthmus.model.kinds import ClusterLink
from isthmus.model.plan import Held

__all__ = ["of_device", "of_link"]


def of_link(world: World, fleet: Fleet, name: str) -> list[str]:
    """Return what is left of ClusterLink ``name``: on devices, in Node annotations, as Nodes that stand for devices."""
    link = world.links.get(name)
    if link is not None and link.metadata.deletion_timestamp is None:
        return ["its deletion has not been taken up yet"]
    # Of a link that never parsed nobody knows its devices, so it may be any.
    devices = world.devices.keys() if link is None else world.devices.keys() & set(link.spec.devices)
    left = [f"{device} is not started yet" for device in sorted(devices - fleet.workers.keys())]
    for device, worker in sorted(fleet.workers.items()):
        if device in devices or _owned_by(worker.planner, name):
            left += _on_device(worker, _of_link_on(worker.planner, name), _wanted(worker.planner, name))
    if link is not None:
        left += _in_cluster(world, link, None)
        if asked_for(link) is not None and name not in world.unexported:
            left.append(f"ConfigMap {link.metadata.annotations[EXPORT]} still describes its overlay")
    return left


def of_device(world: World, fleet: Fleet, name: str) -> list[str]:
    """Return what is left of EdgeDevice ``name``: anything of ours on it, and Nodes that stand for it."""
    device, worker = world.devices.get(name), fleet.workers.get(name)
    if device is None:
        return ["what it says cannot be used, so nobody can clean it up: mend it"]
    if worker is None or device.metadata.deletion_timestamp is None:
        return ["its deletion has not been taken up yet"]
    left = _on_device(worker, sorted(worker.planner.observed), _wanted(worker.planner))
    for link in world.links_of_device(name):
        left += _in_cluster(world, link, name)
    return left


def _owned_by(planner: DevicePlanner, link: str) -> bool:
    return _wanted(planner, link) or any(scope.link == link for scopes in planner.owners.values() for scope in scopes)


def _wanted(planner: DevicePlanner, link: str | None = None) -> bool:
    """Say whether the device is still meant to have something of ``link`` (of any): as of its last pass."""
    return any(link in (None, scope.link) for scope in planner.wishes.scopes())


def _of_link_on(planner: DevicePlanner, link: str) -> list[str]:
    found = []
    for identity in planner.observed:
        scopes = planner.owners.get(identity, ())
        nobodys = not scopes and planner.wishes.verdict(identity) is None
        if nobodys or any(scope.link == link for scope in scopes):
            found.append(identity)
    return sorted(found)


def _on_device(worker: DeviceWorker, identities: list[str], wanted: bool) -> list[str]:
    name, status = worker.planner.device, worker.status
    if not status.reachable:
        return [f"{name} cannot be reached: {status.error}" if status.error else f"{name} has not been looked at yet"]
    if not identities:
        return [f"{name} is about to be cleaned up"] if wanted else []
    held: Mapping[str, Held] = worker.planner.held
    why = next((held[identity].reason for identity in identities if identity in held), None)
    some = ", ".join(identities[:3]) + (", ..." if len(identities) > 3 else "")
    return [f"{name} still holds {len(identities)} things of it ({some})" + (f": {why}" if why else "")]


def _in_cluster(world: World, link: ClusterLink, device: str | None) -> list[str]:
    """Return what of ``link`` the Nodes of its cluster carry; with ``device``, only Nodes that stand for that one."""
    flannel = path_of(world, link) == "flannel"
    if device is not None and not flannel:
        return []
    if path_of(world, link) not in ("flannel", "overlay"):
        return []  # nothing of it was ever written into the cluster
    cluster = link.spec.cluster
    if cluster not in world.cluster_kinds:
        return [f"KubeCluster {cluster} is not configured, so its Nodes cannot be cleaned of ClusterLink {link.name}"]
    doubt = world.view(cluster).doubt("nodes")
    if doubt is not None:
        return [doubt]
    key = attachment.annotation(link.name)
    devices = link.spec.devices if device is None else (device,)
    nodes = list(world.view(cluster).nodes.values())
    carrying = [node.name for node in nodes if device is None and key in node.annotations]
    standing = [node.name for node in nodes if flannel and node.labels.get(DEVICE_LABEL) in devices]
    left = []
    if carrying:
        left.append(f"{len(carrying)} Nodes of {cluster} still carry the annotation {key}, {carrying[0]} for one")
    if standing:
        left.append(f"Node {standing[0]} of {cluster} still stands for a device")
    return left
