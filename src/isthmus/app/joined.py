"""One cluster as the controller has joined it: its watches, its worker, and the duties that write into its API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from isthmus.app.ending import EndingStandIn
from isthmus.app.fleet import Fleet
from isthmus.compat.publishing import EXPORT, Publish
from isthmus.core.allocate import Allocator, holders
from isthmus.core.ground import DEVICE_LABEL
from isthmus.core.world import Choice, World, path_of
from isthmus.errors import IsthmusError
from isthmus.kube.client import KubeClient
from isthmus.kube.events import EventWriter, Regarding
from isthmus.kube.identity import cluster_uid
from isthmus.kube.informer import Informer
from isthmus.loop.cluster import ClusterWorker, Context
from isthmus.loop.device import DeviceWorker
from isthmus.loop.duties.attach import Attach
from isthmus.loop.duties.choose import Choose
from isthmus.loop.duties.service import Claims, Service
from isthmus.loop.duties.standin import StandIn
from isthmus.loop.homes import HomeSession
from isthmus.loop.network import NetworkReader
from isthmus.loop.session import ClusterSession, Heard
from isthmus.model.facts import ServiceFacts
from isthmus.model.kinds import ACCEPT_ANSWER
from isthmus.model.plan import Scope
from isthmus.telemetry import get_logger

_PATIENCE = 15.0
"""Seconds after which Services are looked at whatever the devices have done."""

_AGAIN = 2.0
"""Seconds until a cluster that could not be recognised is asked again."""

_BURST = 0.3
"""Seconds that an export waits: nodes that join together are one write."""

_LONGEST_PAUSE = 60.0
_HEALTHY = 60.0
"""Seconds after which a crash is the first one again."""


class JoinedCluster:
    """Watches one cluster and keeps what we own in it; ``known_uid`` is who the cluster was before this start.

    Services are not looked at before every device has looked at them once (or failed): until then nobody knows whether they
    are served, and each restart would say in every one of them that they are not.
    """

    def __init__(
        self,
        name: str,
        client: KubeClient,
        world: World,
        fleet: Fleet,
        allocator: Allocator,
        claims: Claims,
        *,
        keep_choice: Callable[[str, Choice], Awaitable[None]],
        keep_uid: Callable[[str], Awaitable[None]],
        known_uid: str | None,
        freed: Callable[[], None] = lambda: None,
        crashed: Callable[[BaseException], None] = lambda error: None,
        opened: asyncio.Event | None = None,
    ) -> None:
        """``freed`` has all that wait for an address looked at; ``crashed`` hears of an end that nobody asked for.

        Before ``opened`` is set the cluster is followed and nothing is written into it: it is another's turn.
        """
        self.name = name
        self.client = client
        self.version = ""
        self._world = world
        self._fleet = fleet
        self._keep_uid = keep_uid
        self.known_uid = known_uid
        self._kept_uid = known_uid
        self._opened = opened
        self.trouble: str | None = None
        self._crashed = crashed
        self._early: set[str] | None = set()
        self._passes: dict[str, int] | None = None
        self._log = get_logger("app").bind(cluster=name)
        self.task: asyncio.Task[None] | None = None
        self._allocator, self._claims, self._freed = allocator, claims, freed
        self._keep_choice = keep_choice
        self._make()

    def _make(self) -> None:
        """Make the parts that follow the cluster and write into it, with nothing in them."""
        self._homes_unknown: tuple[frozenset[str], frozenset[str]] | None = None
        self._node_count = 0
        self._events = EventWriter(self.client)
        context = Context(self.name, self._world, self.client, self._fleet, self._touch, time.time)
        self.attach = Attach(context)
        self.choose = Choose(context, self._fleet.probe, self._keep_choice)
        self.service = Service(context, self._allocator, self._claims, self._tell, self._freed)
        self.export = Publish(self._world, self.name, self.client, self._fleet, cni=self._cni)
        self.worker = ClusterWorker(
            self.name,
            {
                "attach": self.attach,
                "standin": EndingStandIn(context, StandIn(context)),
                "choose": self.choose,
                "service": self.service,
                "export": self.export,
            },
        )
        self._network = NetworkReader(self.name, self.client, self._world, decided=self._homes_moved)
        self.homes = HomeSession(
            self.name,
            self.client,
            self._world,
            moved=self._homes_moved,
            accepts=self._accepts,
            stands=lambda: self._fleet.stands(self.name, "nodes"),
        )
        self.session = ClusterSession(
            self.name,
            self.client,
            self._world,
            heard=self._heard,
            read=self._read,
            accepts=self._accepts,
            stands=lambda kind: self._fleet.stands(self.name, kind),
        )

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to follow the cluster."""
        self.task = asyncio.create_task(self._run(), name=f"cluster {self.name}")
        self.task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Stop following; nothing is taken back."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = task.exception() if not task.cancelled() else None
        if error is not None:
            self._crashed(error)

    async def _run(self) -> None:
        """Follow the cluster; where a bug of ours ends that, say so and begin anew from nothing, ever more slowly."""
        clock, failures = asyncio.get_running_loop().time, 0
        while True:
            began = clock()
            try:
                await self._follow()
            except Exception as error:
                failures = 0 if clock() - began > _HEALTHY else failures + 1
                pause = min(_AGAIN * 2 ** min(failures, 10), _LONGEST_PAUSE)
                self.trouble = f"internal error: {_first(error)!r}; tried again in {pause:.0f} s"
                self._log.error("following the cluster crashed", again_in=pause, exc_info=error)
                await asyncio.sleep(pause)
            self._world.view(self.name).unconfirm()
            self._make()

    async def _follow(self) -> None:
        async with self.client:
            await self._recognise()
            async with asyncio.TaskGroup() as group:
                group.create_task(self.session.run())
                group.create_task(self._write())
                group.create_task(self._ask_version())
                group.create_task(self._network.run())
                group.create_task(self.homes.run())
                group.create_task(self._wait_no_longer())

    async def _write(self) -> None:
        """Do what we owe the cluster, as soon as it is our turn."""
        if self._opened is not None:
            await self._opened.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.worker.run())
            group.create_task(self._events.run())
            group.create_task(self._keep_identity())

    async def _keep_identity(self) -> None:
        complained = False
        while self.known_uid is not None and self._kept_uid != self.known_uid:
            try:
                await self._keep_uid(self.known_uid)
            except IsthmusError as error:
                if not complained:
                    self._log.warning("the cluster's identity is not kept", error=str(error))
                complained = True
                await asyncio.sleep(_AGAIN)
            else:
                self._kept_uid = self.known_uid

    async def _recognise(self) -> None:
        """Wait until this is the cluster it was before: nothing of another one behind the same URL is even read."""
        view = self._world.view(self.name)
        while True:
            try:
                uid = await cluster_uid(self.client)
            except IsthmusError as error:
                self.trouble = str(error)
                await asyncio.sleep(_AGAIN)
                continue
            if self.known_uid is None:
                self.known_uid = uid  # kept as soon as it is our turn to write
            if uid == self.known_uid:
                view.uid, view.stranger, self.trouble = uid, None, None
                return
            if view.stranger is None:
                view.stranger = self.trouble = (
                    f"this is not the cluster it was (kube-system has uid {uid}, it had {self.known_uid}); "
                    "if that is meant, give the KubeCluster another name"
                )
                self._log.error("another cluster answers", reason=view.stranger)
            await asyncio.sleep(_AGAIN)

    @property
    def informers(self) -> dict[str, Informer[Any]]:
        """Return all that is watched in the cluster, by kind; of where pods are what there is to watch."""
        return {**self.session.informers, **self.homes.informers}

    def failing(self) -> str | None:
        """Return why the cluster cannot be followed now, or none."""
        return self.trouble or self.session.failing() or self.homes.failing()

    async def _ask_version(self) -> None:
        while not self.version:
            try:
                self.version = await self.client.version()
            except IsthmusError:
                await asyncio.sleep(5.0)

    # --- what the cluster tells ---------------------------------------------------------------------------------

    def _heard(self, heard: Heard) -> None:
        match heard.kind:
            case "nodes":
                names = [key[1] for key in heard.keys]
                nodes = self._world.view(self.name).nodes
                rivals = {rival for name in names for rival in self.attach.learn(name, nodes.get(name))}
                freed = any(name not in nodes for name in names)
                if len(nodes) != self._node_count:
                    self._node_count = len(nodes)
                    self._network.stir()
                self.worker.look("attach", [*names, *sorted(rivals), *(self.attach.left_out() if freed else ())])
                self._look_at_links(standins=any(self._stands_in(name) for name in names))
            case "services":
                self._look_at_services(["/".join(key) for key in heard.keys])
            case "namespaces":
                self.look_at_waiting()
        self._fleet.touch(heard.scopes)

    def _read(self, kind: str) -> None:
        if not self._world.view(self.name).awaited:
            self._passes = {name: worker.status.passes for name, worker in self._workers().items()}
        self.look_at_everything()
        self._fleet.look_at_everything(self._workers())

    def _homes_moved(self, scopes: set[Scope]) -> None:
        """Take the news that another CNI was found, or that pods are elsewhere now."""
        view, both = self._world.view(self.name), {"network", "pods"}
        unknown = (frozenset(view.pending & both), frozenset(view.awaited & both))
        if unknown != self._homes_unknown:
            self._homes_unknown = unknown
            if not unknown[1]:
                self._read("pods")
        self._look_at_links(standins=False)
        self._fleet.touch(scopes)

    def _cni(self) -> str:
        """Return the one CNI that the cluster is known to have, empty if nobody knows."""
        found = self._world.view(self.name).cni
        return found.cni if found is not None and found.cni != "unknown" and " " not in found.cni else ""

    def _accepts(self) -> bool:
        """Say whether a person wants the cluster's present answer believed, doubtful as it is."""
        kind = self._world.cluster_kinds.get(self.name)
        return kind is not None and ACCEPT_ANSWER in kind.metadata.annotations

    def _stands_in(self, name: str) -> bool:
        node = self._world.view(self.name).nodes.get(name)
        return node is None or DEVICE_LABEL in node.labels

    # --- what to look at ----------------------------------------------------------------------------------------

    def look_at_everything(self) -> None:
        """Have every node, link and Service of the cluster looked at again, Services by age."""
        if self._accepts():
            self.session.accept()
            self.homes.accept()
        self.worker.look("attach", sorted(self._world.view(self.name).nodes))
        self._look_at_links(standins=True)
        self._look_at_services(["/".join(holder[1:]) for holder in holders(self._world, self.name)])

    def _look_at_links(self, *, standins: bool) -> None:
        for link in self._world.links_of_cluster(self.name):
            if EXPORT in link.metadata.annotations:
                self.worker.look("export", [link.name], _BURST)
            if link.spec.path == "auto" and link.name not in self._world.choices:
                self.worker.look("choose", [link.name])
            if standins and path_of(self._world, link) == "flannel":
                self.worker.look("standin", [f"{link.name}/{device}" for device in link.spec.devices])

    def look_at_waiting(self) -> None:
        """Have every Service that waits for an address looked at again."""
        self._look_at_services(list(self.service.waiting))

    def service_passed(self, name: str) -> None:
        """Take the news that a device made a pass over a Service (``namespace/name``)."""
        self._look_at_services([name])

    def device_passed(self) -> None:
        """Take the news that a device made a pass, or failed."""
        if self._early is not None and self._have_looked():
            self._stop_waiting()

    def _look_at_services(self, names: Collection[str]) -> None:
        if self._early is None:
            self.worker.look("service", names)
            return
        self._early.update(names)
        self.device_passed()

    def _have_looked(self) -> bool:
        """Say whether every device of this cluster has made a pass since the cluster was read, or has failed."""
        if self._passes is None:
            return False
        return all(
            worker.status.error or worker.status.passes > self._passes.get(name, 0)
            for name, worker in self._workers().items()
        )

    def _stop_waiting(self) -> None:
        early, self._early = self._early, None
        self.worker.look("service", early or ())

    async def _wait_no_longer(self) -> None:
        """Look at Services although some device has neither looked nor failed: it may be very slow."""
        await asyncio.sleep(_PATIENCE)
        self._stop_waiting()

    def _workers(self) -> dict[str, DeviceWorker]:
        names = {device for link in self._world.links_of_cluster(self.name) for device in link.spec.devices}
        return {name: self._fleet.workers[name] for name in sorted(names) if name in self._fleet.workers}

    def _touch(self, scopes: object) -> None:
        assert isinstance(scopes, set | frozenset | list | tuple), "an iterable of scopes"
        names = [scope.name for scope in scopes if scope.kind == "service"]
        self._look_at_services(names)
        self._fleet.touch(scopes)

    def _tell(self, service: ServiceFacts, reason: str, message: str, *, warning: bool) -> None:
        regarding = Regarding("v1", "Service", service.name, service.namespace, service.uid)
        self._events.tell(regarding, reason, message, warning=warning)


def _first(error: Exception) -> BaseException:
    """Return the first error in a group of them: what ended the others."""
    found: BaseException = error
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
