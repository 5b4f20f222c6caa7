"""The older systems' environment as an origin of objects, beside files and a home cluster; their ConfigMap is the switch.

While the switch is on, the objects of the environment count. Ordered off, link and device are being deleted, as if somebody
had deleted them in a home cluster: planners and duties clean up, and only when nothing is left do they go. Before the switch
has been seen, there are no objects at all: nothing is applied and nothing removed.

The one confusing thing is the CNI. What a user says of it (CNI_TYPE) counts where nothing can be seen; where something is
seen, that counts, and a contradiction is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from isthmus.app import clusters
from isthmus.app.fleet import Fleet
from isthmus.app.home import leftovers
from isthmus.app.keeping_up import kept_up
from isthmus.app.origins import Origin
from isthmus.app.tenure import Alone
from isthmus.compat.environment import Environment
from isthmus.compat.gate import Gate
from isthmus.core.world import World
from isthmus.errors import InputError, IsthmusError
from isthmus.model.kinds import ClusterLink, EdgeDevice, Key, Kind, KubeCluster
from isthmus.registry.problems import InputWarning
from isthmus.telemetry import get_logger

__all__ = ["Older", "environment_origin"]

_AGAIN = 2.0
"""Seconds between two looks at what the cluster shows of its CNI, and until a way to it that failed is tried again."""


def environment_origin(environment: Environment) -> Origin:
    """Return what the environment says as an origin of objects, whatever the switch says."""
    return _origin(dict(environment.objects), environment.warnings)


def _origin(objects: dict[Key, Kind], problems: tuple[InputError, ...]) -> Origin:
    return Origin(objects, problems, places={key: f"environment: {'/'.join(key)}" for key in objects})


class Older:
    """Follows the switch while :meth:`run` runs; ``moved`` is called when other objects count."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.moved: Callable[[], None] = lambda: None
        self._ended: datetime | None = None
        self._gate: Gate | None = None
        self._trouble: InputError | None = None
        self._tell_cni = False
        self._told: tuple[str, ...] = ()
        self._world: World | None = None
        self._fleet: Fleet | None = None
        self._turn = Alone()
        self._log = get_logger("app")

    def join(self, world: World, fleet: Fleet, turn: Alone, moved: Callable[[], None]) -> None:
        """Name the world and the devices that are cleaned up, and whose turn it is to write."""
        self._world, self._fleet, self._turn, self.moved = world, fleet, turn, moved

    # --- what counts --------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """Return what the switch says: unknown, off, on or ending."""
        if self.environment.switch is None:
            return "on"
        return self._gate.state if self._gate is not None else "unknown"

    def origin(self) -> Origin:
        """Return the objects that count now, and what is wrong or odd."""
        state = self.state
        objects = dict(self.environment.objects) if state in ("on", "ending") else {}
        if state == "ending":
            self._ended = self._ended or datetime.now(UTC).replace(microsecond=0)
            objects = {key: _ending(kind, self._ended) for key, kind in objects.items()}
        else:
            self._ended = None
        if self._tell_cni:
            objects = {key: self._with_cni(kind) for key, kind in objects.items()}
        return _origin(objects, (*self.environment.warnings, *self.problems()))

    def problems(self) -> list[InputError]:
        """Return what is wrong with the switch, and where the environment contradicts the cluster."""
        found: list[InputError] = [self._trouble] if self._trouble is not None else []
        if self._gate is not None:
            found += self._gate.problems()
        contradiction = self._contradiction()
        return [*found, contradiction] if contradiction is not None else found

    def _with_cni(self, kind: Kind) -> Kind:
        if not isinstance(kind, KubeCluster):
            return kind
        return kind.model_copy(update={"spec": kind.spec.model_copy(update={"cni": self.environment.cni})})

    def _contradiction(self) -> InputError | None:
        said = self.environment.cni
        view = self._world.clusters.get(self.environment.cluster) if self._world is not None else None
        seen = view.cni if view is not None else None
        if not said or seen is None or seen.cni == "unknown" or said in seen.cni.split(" and ") or self._tell_cni:
            return None
        return InputWarning(
            f'environment: CNI_TYPE="{said}"',
            f"the cluster shows {seen.cni} ({seen.why[:300]}), and that counts",
            f"write CNI_TYPE={seen.cni.split(' and ')[0]}, or leave it out",
        )

    # --- keeping up ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the switch and the CNI until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(kept_up("looking at the CNI", self._compare))
            if self.environment.switch is not None:
                group.create_task(kept_up("following the switch", self._follow))

    async def _compare(self) -> None:
        """Have what is wrong said anew when it moves, and the CNI told where nothing is seen of one."""
        while True:
            await asyncio.sleep(_AGAIN)
            view = self._world.clusters.get(self.environment.cluster) if self._world is not None else None
            if not self._tell_cni and self.environment.cni and view is not None:
                self._tell_cni = view.cni is not None and view.cni.cni == "unknown"
            told = (*map(str, self.problems()), str(self._tell_cni))
            if told != self._told:
                self._told = told
                self.moved()

    async def _follow(self) -> None:
        kind = self.environment.objects["KubeCluster", self.environment.cluster]
        assert isinstance(kind, KubeCluster), "the key says so"
        assert self.environment.switch is not None, "there is one to follow"
        while True:
            try:
                client = clusters.client(kind, lambda kind, name: self._turn.holds())
                async with client:
                    gate = Gate(
                        client,
                        self.environment.switch,
                        moved=self.moved,
                        left=self._left,
                        finish=self._finish,
                        may_write=self._turn.holds,
                    )
                    if self._gate is not None:
                        gate.state, gate.good = self._gate.state, self._gate.good
                    self._gate, self._trouble = gate, None
                    await gate.run()
            except IsthmusError as error:
                trouble = InputWarning(f"ConfigMap {'/'.join(self.environment.switch)}", f"cannot be read: {error}")
                if str(trouble) != str(self._trouble):
                    self._trouble = trouble
                    self.moved()
                await asyncio.sleep(_AGAIN)

    def _left(self) -> list[str]:
        """Return what is left of what the environment made; none means that all is removed."""
        assert self._world is not None, "joined first"
        assert self._fleet is not None, "joined first"
        device, link = self.environment.device, self.environment.link
        if device not in self._world.devices or link not in self._world.links:
            return ["its deletion has not been taken up yet"]
        return [
            *leftovers.of_link(self._world, self._fleet, link),
            *leftovers.of_device(self._world, self._fleet, device),
        ]

    async def _finish(self) -> None:
        """Take away what on the device only held things of ours (a ledger, a table)."""
        worker = self._fleet.workers.get(self.environment.device) if self._fleet is not None else None
        if worker is not None:
            await worker.driver.vacate()


def _ending(kind: Kind, at: datetime) -> Kind:
    """Return ``kind`` as one that somebody has ordered to go; a cluster only goes with what is in it."""
    if not isinstance(kind, ClusterLink | EdgeDevice):
        return kind
    return kind.model_copy(update={"metadata": kind.metadata.model_copy(update={"deletion_timestamp": at})})
