"""One look at everything, writing nothing: what ``isthmus plan``, ``apply``, ``explain``, ``adopt`` and ``doctor`` stand on.

Objects and memory are read (``app.sources``), the clusters listed once, the devices observed once, and what the controller
would assign is assigned in memory only (``app.assigning``), so that the plan shows where a running controller would end.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from isthmus.app import clusters
from isthmus.app.asking import ask_about
from isthmus.app.assigning import Assigned, Assigning
from isthmus.app.drivers import DRIVERS, DriverFactory, Wiring, looking
from isthmus.app.sources import Look, Sources, look
from isthmus.app.taking import take_kinds
from isthmus.core.explain import Hop, answered
from isthmus.core.ground import Ground
from isthmus.core.planner import DevicePlanner
from isthmus.core.world import World
from isthmus.drivers.base import Driver
from isthmus.errors import DeviceUnsupported, InputError, IsthmusError
from isthmus.kube.identity import cluster_uid
from isthmus.loop.session import PROJECTIONS
from isthmus.loop.snapshot import list_facts, read_network
from isthmus.model.kinds import ClusterLink, EdgeDevice, Kind, KubeCluster
from isthmus.model.plan import Plan
from isthmus.registry.orders import read_orders

__all__ = ["Oneshot"]


class Oneshot:
    """A world read once; use it as ``async with``. ``notes`` says what could not be read, and what that means.

    ``unread`` says the same by kind and name, for who has to know what is missing.
    """

    def __init__(
        self,
        where: Sources,
        *,
        wiring: Wiring | None = None,
        drivers: Mapping[str, DriverFactory] = DRIVERS,
        adopt: Mapping[str, Collection[str]] | None = None,
        patience: float | None = None,
    ) -> None:
        """``adopt`` are orders, by device, that count here as if they had been placed.

        ``patience`` is how many seconds one cluster or device may take to be read; none leaves it to their own limits.
        """
        self.world = World()
        self.planners: dict[str, DevicePlanner] = {}
        self.drivers: dict[str, Driver] = {}
        self.notes: list[str] = []
        self.problems: list[InputError] = []
        self.unread: dict[tuple[str, str], str] = {}
        self.uids: dict[str, str] = {}
        self.where = where
        self._wiring = wiring or looking(where.state, where.home)
        self._makers = drivers
        self._adopt = adopt or {}
        self._patience = patience
        self.objects: Collection[Kind] = ()
        self._assigning = Assigning(self.world, self.drivers, self.notes.append)
        self._stack = AsyncExitStack()

    @property
    def assigned(self) -> Assigned:
        """Return what a controller would assign and nobody has kept yet."""
        return self._assigning.assigned

    async def __aenter__(self) -> Oneshot:
        try:
            await self._read()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def plan(self, device: str, *, allow_deletes: bool = False, repair_drift: bool = False) -> Plan:
        """Return the full plan for ``device``; ``repair_drift`` puts right what the device's policy leaves alone."""
        planner = self.planners[device]
        planner.allow_deletes, planner.repair_drift = allow_deletes, repair_drift
        return planner.full(time.time())

    def networks(self) -> dict[str, dict[str, str]]:
        """Return by cluster which CNI it has, how sure that is, and why; of those that could be read."""
        found = {name: view.cni for name, view in sorted(self.world.clusters.items())}
        return {
            name: {"name": cni.cni, "certainty": cni.certainty, "mode": cni.mode, "why": cni.why}
            for name, cni in found.items()
            if cni is not None
        }

    def paths(self) -> dict[str, dict[str, str]]:
        """Return by link the path that ``auto`` chose or would choose, and why."""
        return {
            name: {"path": choice.path, "why": choice.why}
            for name, choice in sorted(self.world.choices.items())
            if name in self.world.links and self.world.links[name].spec.path == "auto"
        }

    async def see(self, device: str) -> None:
        """Look at ``device`` again."""
        observation = await self.drivers[device].observe()
        self.planners[device].see(observation.resources, observation.foreign, observation.facts)

    async def probe(self, nodes: Iterable[tuple[str, str]]) -> list[Hop]:
        """Ask from every device that joins them whether ``nodes`` (cluster and name) and a pod on each answer."""
        hops: list[Hop] = []
        wanted = list(nodes)
        for link in self.world.links.values():
            names = [name for cluster, name in wanted if cluster == link.spec.cluster]
            for ground in self.grounds(link) if names else ():
                device = ground.device_name
                try:
                    answers, narrow = await ask_about(self.drivers[device], ground, names)
                except DeviceUnsupported as error:
                    hops.append(Hop("probe", str(error)))  # not asked is neither reached nor silent
                    continue
                except IsthmusError as error:
                    hops.append(Hop("probe", f"{device}: {error}", False))
                    continue
                hops += answered(link.spec.cluster, answers, device)
                hops += [Hop("probe", f"{device}: {text}", False) for text in narrow]
        return hops

    def grounds(self, link: ClusterLink) -> list[Ground]:
        """Return the grounds of the link's devices that could be read."""
        return [
            Ground(self.world, link, self.world.devices[device], self.planners[device].facts)
            for device in link.spec.devices
            if device in self.planners
        ]

    # --- reading ------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        found = await look(self.where, set(self._makers))
        self._take(found)
        await asyncio.gather(
            *(
                self._within("KubeCluster", kind, self._read_cluster(kind, found))
                for kind in self.world.cluster_kinds.values()
            ),
            *(self._within("EdgeDevice", kind, self._observe(kind, found)) for kind in self.world.devices.values()),
        )
        for link in self.world.links.values():
            self._assigning.places(link, found.addresses.get(link.name, {}))
            await self._assigning.settle(link, self.grounds(link))
        self._assigning.claim()

    def _take(self, found: Look) -> None:
        self.problems = found.problems
        self.objects = tuple(found.configuration.snapshot.objects.values())
        self.notes += found.notes
        take_kinds(self.world, found.configuration)
        for vip in found.vips:
            self.world.put_vip(vip.name, vip)
        self.world.choices.update(found.choices)
        self.world.config_doubt = found.doubt

    async def _within(self, kind: str, of: Kind, reading: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await reading
        except TimeoutError:
            self._miss(kind, of.name, f"did not answer within {self._patience:.0f} s")

    async def _read_cluster(self, kind: KubeCluster, found: Look) -> None:
        name = kind.name
        view = self.world.view(name)
        try:
            async with clusters.client(kind) as client:
                uid, known = await cluster_uid(client), found.uids.get(name)
                if known is not None and uid != known:
                    view.stranger = f"this is not the cluster it was (kube-system has uid {uid}, it had {known})"
                    self._miss("KubeCluster", name, f"{view.stranger}; nothing of it is planned or deleted")
                    return
                self.uids[name] = uid
                for plural, projection in PROJECTIONS.items():
                    for key, facts in (await list_facts(client, projection)).items():
                        self.world.put(name, plural, key, facts)
                    view.pending.discard(plural)
                await read_network(client, self.world, name)
            if (doubt := view.doubt("network", "pods")) is not None:
                self.notes.append(f"{doubt}; what stands for its nodes and Services stays")
        except IsthmusError as error:
            self._miss("KubeCluster", name, f"cannot be read ({error}); nothing of it is planned or deleted")

    async def _observe(self, kind: EdgeDevice, found: Look) -> None:
        name = kind.name
        driver = self._makers[kind.spec.driver](kind, self._wiring)
        planner = DevicePlanner(self.world, name, driver)
        try:
            await driver.open()
            self._stack.push_async_callback(driver.close)
            observation = await driver.observe()
        except IsthmusError as error:
            self._miss("EdgeDevice", name, f"cannot be read ({error}); it is left out")
            self.world.sights.silent(name, -math.inf)
            await driver.close()
            return
        planner.see(observation.resources, observation.foreign, observation.facts)
        applied = found.applied.get(name, ())
        planner.remember(resource for resource, _ in applied)
        for resource, scopes in applied:
            planner.owners.setdefault(resource.identity, scopes)
        placed = read_orders(self.where.state).get(name, set()) if self.where.state is not None else set()
        planner.adoptions.place({*placed, *self._adopt.get(name, ())})
        self.planners[name], self.drivers[name] = planner, driver

    def _miss(self, kind: str, name: str, text: str) -> None:
        self.unread[kind, name] = text
        word = {"KubeCluster": "cluster", "EdgeDevice": "device"}[kind]
        self.notes.append(f"{word} {name}{':' if text.startswith('this') else ''} {text}")
