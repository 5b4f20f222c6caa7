"""The clusters as they are configured now: joins what is new, lets go of what is gone, joins anew what is reached otherwise.

Letting go takes nothing back, neither from the cluster nor from a device; its facts stay, unconfirmed. The one confusing
thing: a cluster that cannot even be addressed (its kubeconfig is not there, our memory of it cannot be read) is no error of
anybody else; it is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from isthmus.app import clusters
from isthmus.app.fleet import Fleet
from isthmus.app.joined import JoinedCluster
from isthmus.app.memory import SmallMemory
from isthmus.app.tenure import Alone
from isthmus.core.allocate import Allocator
from isthmus.core.world import Choice, Holder, World
from isthmus.errors import IsthmusError
from isthmus.loop.duties.service import Claims
from isthmus.model.kinds import KubeCluster
from isthmus.model.plan import Scope
from isthmus.telemetry import get_logger

__all__ = ["Joining"]


class Joining:
    """All joined clusters by name. ``unjoined`` says why a configured one is not among them."""

    def __init__(
        self,
        world: World,
        fleet: Fleet,
        allocator: Allocator,
        claims: Claims,
        memory: SmallMemory,
        *,
        crashed: Callable[[BaseException], None],
        turn: Alone | None = None,
    ) -> None:
        self.clusters: dict[str, JoinedCluster] = {}
        self.unjoined: dict[str, str] = {}
        self._world = world
        self._fleet = fleet
        self._allocator = allocator
        self._claims = claims
        self._memory = memory
        self._crashed = crashed
        self._turn = turn or Alone()
        self._made_for: dict[str, KubeCluster] = {}
        self._log = get_logger("app")

    async def follow(self) -> None:
        """Join and let go as the world's clusters are now."""
        kinds = self._world.cluster_kinds
        for name in list(self.clusters):
            if name not in kinds or self._made_for[name].spec != kinds[name].spec:
                await self._let_go(name)
        unjoined: dict[str, str] = {}
        for name, kind in kinds.items():
            if name in self.clusters:
                continue
            try:
                await self._join(name, kind)
            except IsthmusError as error:
                unjoined[name] = str(error)
                if self.unjoined.get(name) != str(error):
                    self._log.error("cluster cannot be joined yet", cluster=name, error=str(error))
        self.unjoined = unjoined

    async def recognise(self) -> None:
        """Follow anew whatever is remembered, by now, as another cluster than the one that was met."""
        known = await self._memory.uids()
        for name, joined in list(self.clusters.items()):
            if name in known and joined.known_uid not in (None, known[name]):
                await self._let_go(name)
                await self._join(name, self._made_for[name])

    async def _let_go(self, name: str) -> None:
        await self.clusters.pop(name).stop()
        self._world.view(name).unconfirm()

    async def _join(self, name: str, kind: KubeCluster) -> None:
        client = clusters.client(kind, lambda kind, name: self._turn.holds())
        known_uid = (await self._memory.uids()).get(name)
        self._made_for[name] = kind
        joined = self.clusters[name] = JoinedCluster(
            name,
            client,
            self._world,
            self._fleet,
            self._allocator,
            self._claims,
            keep_choice=self._keep_choice,
            keep_uid=lambda uid: self._memory.keep_uid(name, uid),
            known_uid=known_uid,
            freed=lambda: self.look_at_service(None),
            crashed=self._crashed,
            opened=self._turn.opened,
        )
        joined.start()

    async def stop(self) -> None:
        """Stop following all clusters."""
        for joined in self.clusters.values():
            await joined.stop()

    async def _keep_choice(self, link: str, choice: Choice) -> None:
        await self._memory.keep_choice(link, choice)
        self._world.choices[link] = (await self._memory.choices()).get(link, choice)
        kind = self._world.links.get(link)
        if kind is not None:
            self._fleet.look_at_everything(kind.spec.devices)
            if kind.spec.cluster in self.clusters:
                self.clusters[kind.spec.cluster].look_at_everything()

    # --- what to look at ----------------------------------------------------------------------------------------

    def look_at_everything(self) -> None:
        """Have everything of every cluster looked at again."""
        for joined in self.clusters.values():
            joined.look_at_everything()

    def passed(self, device: str, scopes: Collection[Scope]) -> None:
        """Take the news that ``device`` made a pass over ``scopes``, or failed."""
        for cluster in {link.spec.cluster for link in self._world.links_of_device(device)} & self.clusters.keys():
            self.clusters[cluster].device_passed()
        for scope in scopes:
            link = self._world.links.get(scope.link)
            if scope.kind == "service" and link is not None and link.spec.cluster in self.clusters:
                self.clusters[link.spec.cluster].service_passed(scope.name)

    def look_at_links_of(self, device: str) -> None:
        """Have the clusters of the links that use ``device`` looked at again."""
        for cluster in {link.spec.cluster for link in self._world.links_of_device(device)}:
            if cluster in self.clusters:
                self.clusters[cluster].look_at_everything()

    def look_at_service(self, holder: Holder | None) -> None:
        """Have one Service decided anew; without a name, all that wait for an address."""
        if holder is None:
            for joined in self.clusters.values():
                joined.look_at_waiting()
        elif holder[0] in self.clusters:
            self.clusters[holder[0]].service_passed("/".join(holder[1:]))
