"""The controller's process: the user's files on one side, clusters and devices on the other, and the state between runs.

It owns no decision. A change anywhere (a file, a watch, a device) becomes scopes and keys on queues; everything is looked at
again from the present state, never from what happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from isthmus.app import clusters
from isthmus.app.drivers import DRIVERS
from isthmus.app.fleet import Fleet
from isthmus.app.joined import JoinedCluster
from isthmus.app.memory import StateMemory, addresses_of, choice_of, claimed
from isthmus.app.probing import Probing
from isthmus.app.status import statuses
from isthmus.core.allocate import Allocator
from isthmus.core.overlay_addresses import device_addresses
from isthmus.core.world import Choice, World
from isthmus.errors import InputError, IsthmusError
from isthmus.model.kinds import AddressPool, ClusterLink, EdgeDevice, Key, KubeCluster, VirtualIP
from isthmus.model.plan import Scope
from isthmus.registry.state import StateDirectory
from isthmus.registry.watch import FileRegistry
from isthmus.telemetry import get_logger


class Controller:
    """Runs until :meth:`stop`; ``state`` is open, ``registry`` reads the user's kinds."""

    def __init__(self, config: Path, state: StateDirectory, *, allow_deletes: bool = False) -> None:
        self.world = World()
        self.registry = FileRegistry(config, set(DRIVERS))
        self._state = state
        self._memory = StateMemory(state)
        self._allocator = Allocator(self.world)
        self._log = get_logger("app")
        self._stopping = asyncio.Event()
        self._problems: tuple[str, ...] = ()
        self._made_for: dict[str, KubeCluster] = {}
        self._status_written: dict[Key, object] = {}
        self._from_files: set[str] = set()
        self.clusters: dict[str, JoinedCluster] = {}
        self.fleet = Fleet(
            self.world, self._memory, passed=self._passed, moved=self._moved, allow_deletes=allow_deletes
        )
        self.probing = Probing(self.world, self.fleet)

    def stop(self) -> None:
        """Ask for a graceful end: changes under way finish, state is kept, devices keep what they have."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped."""
        await self._remember()
        async with self.registry:
            tasks = [
                asyncio.create_task(self._follow_files(), name="files"),
                asyncio.create_task(self._write_status(), name="status"),
                asyncio.create_task(self.probing.run(), name="probing"),
                asyncio.create_task(self._stopping.wait(), name="stop"),
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._status_once(running=False)
                await asyncio.gather(*(joined.stop() for joined in self.clusters.values()))
                await self.fleet.stop()

    async def _remember(self) -> None:
        for claim in await self._state.claims():
            self.world.put_vip(claim.name, claimed(claim))
        for link, value in (await self._state.choices()).items():
            self.world.choices[link] = choice_of(value)

    # --- the user's kinds ---------------------------------------------------------------------------------------

    async def _follow_files(self) -> None:
        changes = self.registry.changes()
        await self._configure()
        async for _ in changes:
            await self._configure()

    async def _configure(self) -> None:
        """Take the files as they are now."""
        snapshot = self.registry.snapshot()
        self._say(snapshot.problems)
        world = self.world
        objects = list(snapshot.objects.values())
        bad = {key for key in snapshot.unusable if not self._known(key)}
        usable = [kind for kind in objects if kind.key not in bad]
        world.cluster_kinds = {kind.name: kind for kind in usable if isinstance(kind, KubeCluster)}
        world.devices = {kind.name: kind for kind in usable if isinstance(kind, EdgeDevice)}
        world.links = {kind.name: kind for kind in usable if isinstance(kind, ClusterLink)}
        pools = {kind.name: kind for kind in usable if isinstance(kind, AddressPool)}
        if pools != world.pools:
            world.pools = pools
            self._allocator.forget()
        self._take_written_claims({kind.name: kind for kind in usable if isinstance(kind, VirtualIP)})
        await self._assign_devices()
        world.config_doubt = None
        await self.fleet.follow()
        await self._follow_clusters()
        self.fleet.look_at_everything()
        for joined in self.clusters.values():
            joined.look_at_everything()

    def _known(self, key: Key) -> bool:
        """Say whether we already work with that object: what became unusable later keeps standing as it was."""
        held: dict[str, Mapping[str, object]] = {
            "KubeCluster": self.world.cluster_kinds,
            "EdgeDevice": self.world.devices,
            "ClusterLink": self.world.links,
            "AddressPool": self.world.pools,
            "VirtualIP": self.world.vips,
        }
        return key[1] in held.get(key[0], {})

    def _take_written_claims(self, written: dict[str, VirtualIP]) -> None:
        """Take the VirtualIPs a user wrote; one that a Service holds already stays with it, and that is said."""
        for name in self._from_files - written.keys():
            self.fleet.touch(self.world.put_vip(name, None))
            self._allocator.forget()
        kept = set()
        for name, vip in written.items():
            standing = self.world.vips.get(name)
            if standing is not None and name not in self._from_files and standing.spec.holder != vip.spec.holder:
                self._log.warning(
                    "a written VirtualIP is held already", address=name, holder=str(standing.spec.holder)
                )
                continue
            kept.add(name)
            self.fleet.touch(self.world.put_vip(name, vip))
        self._from_files = kept

    async def _assign_devices(self) -> None:
        """Give the devices of overlay links their addresses there, once; what was given is never computed again."""
        for name, link in self.world.links.items():
            if link.spec.overlay is None:
                continue
            scope = f"overlay/{name}"
            recorded = addresses_of(await self._state.assignments(scope))
            given = device_addresses(link, recorded)
            new = {d: [str(a) for a in addresses] for d, addresses in given.items() if recorded.get(d) != addresses}
            if new:
                await self._state.assign(scope, new)
            for device, addresses in given.items():
                self.world.device_addresses[name, device] = addresses

    async def _follow_clusters(self) -> None:
        kinds = self.world.cluster_kinds
        for name in [
            name for name in self.clusters if name not in kinds or self._made_for[name].spec != kinds[name].spec
        ]:
            await self.clusters.pop(name).stop()
            view = self.world.view(name)
            view.pending.update(("nodes", "services", "endpointslices", "namespaces"))  # its facts stay, unconfirmed
        for name, kind in kinds.items():
            if name in self.clusters:
                continue
            try:
                client = clusters.client(kind)
            except InputError as error:
                self._log.error("cluster cannot be reached as written", cluster=name, error=str(error))
                continue
            known = await self._state.assignments("cluster")
            self._made_for[name] = kind
            self.clusters[name] = JoinedCluster(
                name,
                client,
                self.world,
                self.fleet,
                self._allocator,
                self._memory,
                keep_choice=self._keep_choice,
                keep_uid=lambda uid, name=name: self._state.assign("cluster", {name: uid}),  # type: ignore[misc]
                known_uid=known.get(name),
            )
            self.clusters[name].start()

    async def _keep_choice(self, link: str, choice: Choice) -> None:
        await self._state.choose(link, {"path": choice.path, "why": choice.why, "rejected": list(choice.rejected)})
        self.world.choices[link] = choice
        kind = self.world.links.get(link)
        if kind is not None:
            self.fleet.look_at_everything(kind.spec.devices)
            if kind.spec.cluster in self.clusters:
                self.clusters[kind.spec.cluster].look_at_everything()

    def _say(self, problems: Iterable[IsthmusError]) -> None:
        texts = tuple(str(problem) for problem in problems)
        for text in texts:
            if text not in self._problems:
                self._log.error("configuration", problem=text)
        if self._problems and not texts:
            self._log.info("configuration is good again")
        self._problems = texts

    # --- what devices tell --------------------------------------------------------------------------------------

    def _passed(self, device: str, scopes: Collection[Scope]) -> None:
        for scope in scopes:
            link = self.world.links.get(scope.link)
            if scope.kind == "service" and link is not None and link.spec.cluster in self.clusters:
                self.clusters[link.spec.cluster].service_passed(scope.name)

    def _moved(self, device: str) -> None:
        for link in self.world.links_of_device(device):
            if link.spec.cluster in self.clusters:
                self.clusters[link.spec.cluster].look_at_everything()

    # --- what people see ----------------------------------------------------------------------------------------

    async def _write_status(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            if self.world.config_doubt is None:
                await self._status_once()

    async def _status_once(self, *, running: bool = True) -> None:
        now = statuses(self.world, self.fleet, self.clusters, self.probing, self._problems, running=running)
        new = {key: value for key, value in now.items() if self._status_written.get(key) != value}
        gone = self._status_written.keys() - now.keys()
        if not new and not gone:
            return
        try:
            await self._state.write_status(new, gone)
        except IsthmusError as error:
            self._log.warning("status not written", error=str(error))
            return
        self._status_written = dict(now)
