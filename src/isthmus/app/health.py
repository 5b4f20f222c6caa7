"""How the controller is, for those who watch over it: what keeps it from working, what it cannot see, and its figures.

Everything is read off the parts when somebody asks; nothing is kept here. The one confusing thing: a cluster that cannot be
followed makes the controller *not ready*, never *unhealthy*. It has lost sight of a part of the world, says so, and goes on
with the rest; a restart would not give it back its sight, and would lose what it has read.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from isthmus import metrics
from isthmus.app.fleet import Fleet
from isthmus.app.home.home import Home
from isthmus.app.joined import JoinedCluster
from isthmus.app.joining import Joining
from isthmus.app.probing import Probing
from isthmus.app.status import pool_use
from isthmus.core.world import World
from isthmus.drivers.base import Saving
from isthmus.kube.informer import BLIND, Informer
from isthmus.metrics import Reading

__all__ = ["ControllerHealth"]


class ControllerHealth:
    """The controller's health (:class:`isthmus.web.health.Observed`) and its figures (:meth:`readings`)."""

    def __init__(
        self,
        world: World,
        fleet: Fleet,
        joining: Joining,
        probing: Probing,
        home: Home | None,
        *,
        tasks: Callable[[], Collection[asyncio.Task[Any]]],
        problems: Callable[[], int],
        leads: Callable[[], bool],
    ) -> None:
        """``tasks`` are the controller's own loops, ``problems`` counts what is wrong with the configuration."""
        self._leads = leads
        self._world = world
        self._fleet = fleet
        self._joining = joining
        self._probing = probing
        self._home = home
        self._tasks = tasks
        self._problems = problems

    def ailments(self) -> list[str]:
        """Name the tasks that have ended: nobody would do their work any more."""
        own = {f"the controller's task {task.get_name()}": task for task in self._tasks()}
        devices = {f"the worker of device {name}": task for name, task in self._fleet.tasks.items()}
        clusters = {f"the follower of cluster {name}": one.task for name, one in self._joining.clusters.items()}
        everything: dict[str, asyncio.Task[Any] | None] = {**own, **devices, **clusters}
        return [f"{what} has ended" for what, task in everything.items() if task is not None and task.done()]

    def unseen(self) -> list[str]:
        """Name what has not been read yet, and what is not heard any more."""
        found = []
        if self._world.config_doubt is not None:
            found.append(self._world.config_doubt)
        if self._home is not None:
            found += _blind("the home cluster", self._home.registry.informers)
        for name in sorted(self._world.cluster_kinds):
            joined = self._joining.clusters.get(name)
            if joined is None:
                found.append(f"cluster {name}: {self._joining.unjoined.get(name, 'not joined yet')}")
            else:
                found += self._blind_of(name, joined)
        return found

    def _blind_of(self, name: str, joined: JoinedCluster) -> list[str]:
        waits = joined.trouble
        if waits is not None:
            return [f"cluster {name}: {waits}"]
        return _blind(f"cluster {name}", joined.informers)

    # --- figures ------------------------------------------------------------------------------------------------

    def readings(self) -> Iterator[Reading]:
        """Yield what is now."""
        yield metrics.READY, (), float(not self.unseen())
        yield metrics.CONFIGURATION_PROBLEMS, (), self._problems()
        yield metrics.LEADER, (), float(self._leads())
        yield from self._devices()
        yield from self._clusters()
        yield from self._links()
        for name, (size, used, waiting) in pool_use(self._world, self._joining.clusters).items():
            yield metrics.POOL_SIZE, (name,), size
            yield metrics.POOL_USED, (name,), used
            yield metrics.POOL_WAITING, (name,), waiting

    def _devices(self) -> Iterator[Reading]:
        for name, worker in self._fleet.workers.items():
            status, (length, age) = worker.status, worker.waiting()
            yield metrics.DEVICE_REACHABLE, (name,), float(status.reachable)
            yield metrics.DEVICE_IN_SYNC, (name,), float(status.in_sync)
            yield metrics.DEVICE_RESOURCES, (name,), status.owned
            yield metrics.DEVICE_CONFLICTS, (name,), len(status.conflicts)
            yield metrics.DEVICE_REFUSALS, (name,), len(status.refusals)
            if isinstance(worker.driver, Saving):
                yield metrics.DEVICE_UNSAVED, (name,), float(bool(worker.driver.save_trouble))
            held = Counter(item.change.action for item in worker.planner.held.values())
            for action in ("create", "update", "delete"):
                yield metrics.DEVICE_HELD, (name, action), held[action]
            yield metrics.DEVICE_DRIFTED, (name, "alert"), len(status.drifts)
            yield metrics.DEVICE_DRIFTED, (name, "ignore"), status.ignored
            yield metrics.DEVICE_TENURE, (name,), float(worker.may_write())
            yield metrics.DEVICE_QUEUE, (name,), length
            yield metrics.DEVICE_QUEUE_AGE, (name,), age

    def _clusters(self) -> Iterator[Reading]:
        for name in self._world.cluster_kinds:
            joined = self._joining.clusters.get(name)
            yield metrics.CLUSTER_REACHABLE, (name,), float(joined is not None and joined.failing() is None)
            if joined is not None:
                length, age = joined.worker.waiting()
                yield metrics.CLUSTER_QUEUE, (name,), length
                yield metrics.CLUSTER_QUEUE_AGE, (name,), age
                yield from _watches(name, joined.informers)
        if self._home is not None:
            yield from _watches(self._home.client.connection.name, self._home.registry.informers)

    def _links(self) -> Iterator[Reading]:
        for link in self._world.links.values():
            for device in link.spec.devices:
                worker = self._fleet.workers.get(device)
                if worker is not None:
                    yield metrics.LINK_JOINED, (link.name, device), len(worker.planner.joined_nodes(link.name))
        yield from self._probing.readings()


def _blind(what: str, informers: Mapping[str, Informer[Any]]) -> list[str]:
    """Return a sentence for each kind that has not been read yet, or whose watch has proved nothing for long."""
    found = []
    for kind, informer in informers.items():
        why = f": {informer.failing}" if informer.failing else ""
        if not informer.synced.is_set():
            found.append(f"{what}: its {kind} have not been read yet{why}")
        elif (age := time.monotonic() - informer.freshness) > BLIND:
            found.append(f"{what}: the watch of {kind} is dead, nothing has been proved for {age:.0f} s{why}")
    return found


def _watches(cluster: str, informers: Mapping[str, Informer[Any]]) -> Iterable[Reading]:
    """Yield how fresh and how full each watch is."""
    now = time.monotonic()
    for informer in informers.values():
        labels = (cluster, informer.kind.plural)
        yield metrics.WATCH_FRESHNESS, labels, now - informer.freshness
        yield metrics.WATCH_SYNCED, labels, float(informer.synced.is_set())
        yield metrics.WATCH_OBJECTS, labels, len(informer)
