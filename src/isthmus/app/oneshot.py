"""One look at everything, writing nothing: what ``isthmus plan``, ``explain`` and ``clean`` stand on.

The clusters are listed once, the devices observed once, and what the controller would assign (addresses, overlay places, a
path) is assigned in memory only, so that the plan shows where a running controller would end.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from isthmus.app import clusters
from isthmus.app.drivers import DRIVERS, UNFENCED
from isthmus.app.memory import addresses_of, read_only
from isthmus.app.origins import Configuration
from isthmus.app.probing import ask
from isthmus.app.taking import take_kinds
from isthmus.core import attachment
from isthmus.core.allocate import Allocator, holders
from isthmus.core.choose import ORDER, choose, neighbors_to_prove
from isthmus.core.desire import path_of
from isthmus.core.explain import Hop, answered
from isthmus.core.ground import Ground
from isthmus.core.overlay_addresses import OverlayAddresses, device_addresses
from isthmus.core.planner import DevicePlanner
from isthmus.core.world import World
from isthmus.drivers.base import Driver, ProbeTarget
from isthmus.errors import InputError, IsthmusError
from isthmus.kube.identity import cluster_uid
from isthmus.loop.session import PROJECTIONS
from isthmus.loop.snapshot import list_facts
from isthmus.model.kinds import ClusterLink, EdgeDevice, KubeCluster, VirtualIP, vip_name
from isthmus.model.kinds.kind import Metadata
from isthmus.model.kinds.vip import Holder, VirtualIPSpec
from isthmus.model.plan import Plan
from isthmus.registry.files import load
from isthmus.registry.located import examine
from isthmus.registry.problems import InputWarning
from isthmus.registry.state import StateDirectory
from isthmus.registry.watch import Snapshot


class Oneshot:
    """A world read once; use it as ``async with``. ``notes`` says what could not be read, and what that means."""

    def __init__(self, config: Path, state: Path | None) -> None:
        self.world = World()
        self.planners: dict[str, DevicePlanner] = {}
        self.drivers: dict[str, Driver] = {}
        self.notes: list[str] = []
        self.problems: list[InputError] = []
        self._config = config
        self._state = state
        self._recorded: dict[str, Mapping[str, object]] = {}
        self._uids: Mapping[str, object] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Oneshot:
        try:
            await self._read()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def plan(self, device: str, *, allow_deletes: bool = False) -> Plan:
        """Return the full plan for ``device``."""
        planner = self.planners[device]
        planner.allow_deletes = allow_deletes
        return planner.full(time.time())

    async def probe(self, nodes: Iterable[tuple[str, str]]) -> list[Hop]:
        """Ask from every device that joins them whether ``nodes`` (cluster and name) and a pod on each answer."""
        hops: list[Hop] = []
        wanted = list(nodes)
        for link in self.world.links.values():
            names = [name for cluster, name in wanted if cluster == link.spec.cluster]
            for ground in self.grounds(link) if names else ():
                answers = await ask(self.drivers[ground.device_name], ground, names)
                hops += answered(link.spec.cluster, answers, ground.device_name)
        return hops

    # --- reading ------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        self._read_files()
        self._read_state()
        await asyncio.gather(*(self._read_cluster(name, kind) for name, kind in self.world.cluster_kinds.items()))
        await asyncio.gather(*(self._observe(name, kind) for name, kind in self.world.devices.items()))
        for link in self.world.links.values():
            await self._settle(link)
        self._claim()

    def _read_files(self) -> None:
        loaded = load(self._config, set(DRIVERS))
        located = {one.key: one for one in loaded.objects}
        together, unusable = examine(located, loaded.broken)
        found = [*loaded.problems, *together]
        self.problems = [one for one in found if not isinstance(one, InputWarning)]
        self.notes += [f"configuration: {one}" for one in found if isinstance(one, InputWarning)]
        objects = {key: one.object for key, one in located.items()}
        take_kinds(self.world, Configuration(Snapshot(objects, unusable=unusable)))
        for kind, name in unusable:
            self.notes.append(f"{kind} {name} cannot be used as it is, and is left out; what it has made stays")
        for vip in objects.values():
            if isinstance(vip, VirtualIP):
                self.world.put_vip(vip.name, vip)
        self.world.config_doubt = None if loaded.readable else f"{self._config} cannot be read"

    def _read_state(self) -> None:
        if self._state is None or not StateDirectory.has_begun(self._state):
            self.notes.append("no state is kept yet: addresses and paths are chosen as a fresh start would")
            return
        with StateDirectory.read(self._state) as reader:
            vips, self.world.choices = read_only(reader)
            for vip in vips:
                self.world.put_vip(vip.name, vip)
            for link in self.world.links:
                self._recorded[link] = reader.assignments(f"overlay/{link}")
            self._uids = reader.assignments("cluster")

    async def _read_cluster(self, name: str, kind: KubeCluster) -> None:
        view = self.world.view(name)
        try:
            async with clusters.client(kind) as client:
                uid, known = await cluster_uid(client), self._uids.get(name)
                if known is not None and uid != known:
                    view.stranger = f"this is not the cluster it was (kube-system has uid {uid}, it had {known})"
                    self.notes.append(f"cluster {name}: {view.stranger}; nothing of it is planned or deleted")
                    return
                for plural, projection in PROJECTIONS.items():
                    for key, facts in (await list_facts(client, projection)).items():
                        self.world.put(name, plural, key, facts)
                    view.pending.discard(plural)
        except IsthmusError as error:
            self.notes.append(f"cluster {name} cannot be read ({error}); nothing of it is planned or deleted")

    async def _observe(self, name: str, kind: EdgeDevice) -> None:
        driver = DRIVERS[kind.spec.driver](kind, UNFENCED)
        planner = DevicePlanner(self.world, name, driver.adapt)
        try:
            await driver.open()
            self._stack.push_async_callback(driver.close)
            observation = await driver.observe()
        except IsthmusError as error:
            self.notes.append(f"device {name} cannot be read ({error}); it is left out")
            self.world.sights.silent(name, -math.inf)
            await driver.close()
            return
        planner.see(observation.resources, observation.foreign, observation.facts)
        self.planners[name], self.drivers[name] = planner, driver

    # --- what a controller would assign -------------------------------------------------------------------------

    def grounds(self, link: ClusterLink) -> list[Ground]:
        """Return the grounds of the link's devices that could be read."""
        return [
            Ground(self.world, link, self.world.devices[device], self.planners[device].facts)
            for device in link.spec.devices
            if device in self.planners
        ]

    async def _settle(self, link: ClusterLink) -> None:
        if link.spec.overlay is not None:
            given = device_addresses(link, addresses_of(self._recorded.get(link.name, {})))
            for device, addresses in given.items():
                self.world.device_addresses[link.name, device] = addresses
        grounds = self.grounds(link)
        if not grounds:
            return
        if link.spec.path == "auto" and link.name not in self.world.choices:
            found = []
            for ground in grounds:
                targets = [ProbeTarget(address) for address in neighbors_to_prove(ground)]
                try:
                    results = await self.drivers[ground.device_name].probe(targets) if targets else []
                except IsthmusError as error:
                    self.notes.append(f"link {link.name}: no path can be chosen: {error}")
                    return
                choice, rejected = choose(ground, {result.target.address: result.reached for result in results})
                if choice is None:
                    self.notes += [f"link {link.name}: {path}: {why}" for path, why in rejected]
                    return
                found.append(choice)
            self.world.choices[link.name] = max(found, key=lambda one: ORDER.index(one.path))
        if path_of(self.world, link) == "overlay":
            self._attach(link, grounds)

    def _attach(self, link: ClusterLink, grounds: list[Ground]) -> None:
        addresses = OverlayAddresses(self.world, link.name)
        view = self.world.view(link.spec.cluster)
        nodes = sorted(view.nodes.values(), key=lambda node: (node.created, node.name))
        for node in nodes:
            addresses.learn(node.name, node)
        key = attachment.annotation(link.name)
        for node in nodes:
            if not grounds[0].takes_part(node):
                continue
            found = addresses.attachment(grounds[0], node, grounds)
            if isinstance(found, str):
                self.notes.append(f"link {link.name}: {found}")
            elif node.annotations.get(key) != found.render():
                changed = {**node.annotations, key: found.render()}
                self.world.put_node(view.name, node.name, msgspec.structs.replace(node, annotations=changed))

    def _claim(self) -> None:
        allocator = Allocator(self.world)
        for cluster in self.world.cluster_kinds:
            if allocator.doubt(cluster) is not None:
                continue
            for holder in holders(self.world, cluster):
                decision = allocator.decide(holder)
                for claim in decision.claims:
                    name = vip_name(claim.address)
                    spec = VirtualIPSpec(
                        address=claim.address,
                        pool=claim.pool,
                        holder=Holder(cluster=holder[0], namespace=holder[1], service=holder[2]),
                    )
                    self.world.put_vip(name, VirtualIP(metadata=Metadata(name=name), spec=spec))
                for released in decision.release:
                    self.world.put_vip(released, None)
                for refused in decision.refused:
                    self.notes.append(f"Service {holder[1]}/{holder[2]}: {refused.message}")
