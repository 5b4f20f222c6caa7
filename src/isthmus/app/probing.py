"""Asks, from each device, whether each joined node and a pod on it answer, with short packets and with long ones.

Every node is asked once in a turn of a few seconds, in slices, so that neither the network nor this process sees a burst;
who misses is asked again at once, so that a black hole among thousands of nodes has a name within ten seconds. What silence
means is decided in ``core.silence``. Nothing is changed on account of an answer: it is told, in the Link's status, in figures
and by ``isthmus explain``, because a path that carries no packets has a cause that more routes do not cure.

The one confusing thing: a slice from which nobody answers is not told before the turn is over. If the others are as silent,
it is the device that has lost its voice, and no node is named for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

import msgspec

from isthmus import metrics
from isthmus.app.asking import ask, remedy
from isthmus.app.fleet import Fleet
from isthmus.core.ground import Ground
from isthmus.core.reach import End, Pod, Question, a_pod, ends
from isthmus.core.silence import KINDS, Silence, Trouble
from isthmus.core.world import World, path_of
from isthmus.drivers.base import Driver
from isthmus.errors import IsthmusError
from isthmus.metrics import Reading
from isthmus.model.facts import NodeFacts
from isthmus.telemetry import Voice, get_logger

__all__ = ["Probing", "Report"]

PAUSE = 3.0
"""Seconds for a turn over all nodes."""
SLICE = 500
"""So many nodes are asked together."""
PODS_AT_ONCE = 1000
"""On so many nodes of a link a pod is asked, too, in one turn."""
_SOON = 0.3
"""Seconds until who missed is asked again."""
_AGAIN = 2
_SHOWN = 20
Key = tuple[str, str]


class Report(msgspec.Struct, frozen=True):
    """How the nodes of a link answer.

    ``asked`` of ``nodes`` have been asked at least once, ``silent`` of them are in trouble; ``kinds`` counts them by trouble,
    ``texts`` are sentences about them, what all have in common first.
    """

    nodes: int = 0
    asked: int = 0
    silent: int = 0
    kinds: Mapping[str, int] = {}
    texts: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Say whether there are nodes and every one has been asked."""
        return self.asked >= self.nodes > 0


class Probing:
    """Asks for ever in :meth:`run`; :meth:`report` says how a link's nodes answer."""

    def __init__(self, world: World, fleet: Fleet) -> None:
        self._world = world
        self._fleet = fleet
        self._asking: dict[Key, _Asking] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._log = get_logger("app")

    def report(self, link: str) -> Report:
        """Return how the nodes of ``link`` answer its devices, as far as that has been told."""
        found = [asking.told for (of, _), asking in sorted(self._asking.items()) if of == link]
        if not found:
            return Report()
        return Report(
            max(one.nodes for one in found),
            min(one.asked for one in found),
            max(one.silent for one in found),
            {kind: max(one.kinds.get(kind, 0) for one in found) for kind in KINDS},
            tuple(text for one in found for text in one.texts),
        )

    def readings(self) -> Iterator[Reading]:
        """Yield how many nodes have been asked, and how many are in which trouble."""
        for key, asking in self._asking.items():
            yield metrics.PROBE_NODES, key, asking.told.asked
            for kind, count in asking.told.kinds.items():
                yield metrics.PROBE_SILENT, (*key, kind), count
            yield metrics.PROBE_DEVICE_SILENT, key, float(asking.nobody)

    async def run(self) -> None:
        """Ask for ever, each device of each link in a task of its own: one that is slow keeps no other from being asked."""
        try:
            while True:
                keys = {(link.name, device) for link in self._world.links.values() for device in link.spec.devices}
                for key in self._tasks.keys() - keys:
                    self._tasks.pop(key).cancel()
                    self._asking.pop(key, None)
                    if key[0] not in self._world.links:
                        metrics.forget("link", key[0])
                for key in sorted(keys - self._tasks.keys()):
                    self._asking[key] = _Asking(self._world, self._fleet, *key)
                    self._tasks[key] = asyncio.create_task(
                        self._ask(self._asking[key]), name=f"probe {'/'.join(key)}"
                    )
                await asyncio.sleep(min(1.0, PAUSE))
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _ask(self, asking: _Asking) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                await asking.turn()
            except Exception as error:
                # A slice's error comes in a group; what it says is the same for all of them.
                first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
                if isinstance(first, IsthmusError):
                    self._log.debug("not probed", link=asking.link, device=asking.device, reason=str(first))
                else:
                    self._log.error(
                        "probing crashed", link=asking.link, device=asking.device, error=repr(first), exc_info=first
                    )
            await asyncio.sleep(max(PAUSE / 4, PAUSE - (clock() - began)))


class _Asking:
    """One device of one link."""

    def __init__(self, world: World, fleet: Fleet, link: str, device: str) -> None:
        self.link = link
        self.device = device
        self.told = Report()
        self.nobody = False
        self._world = world
        self._fleet = fleet
        self._silence = Silence(device)
        self._ends: dict[str, tuple[NodeFacts, tuple[End, ...]]] = {}
        self._basis: tuple[object, ...] = ()
        self._pods: dict[tuple[str, int], Pod] = {}
        self._voices: dict[str, Voice] = {}
        self._next_pod = 0
        self._log = get_logger("app").bind(link=link, device=device)

    async def turn(self) -> None:
        """Ask every node once, and those that miss once more."""
        ground, worker = self._fleet.ground(self.link, self.device), self._fleet.workers.get(self.device)
        if ground is None or worker is None or not worker.status.reachable:
            self._forget()
            return
        clock = asyncio.get_running_loop().time
        nodes = {
            name: ground.cluster.nodes[name]
            for name in worker.planner.joined_nodes(self.link)
            if name in ground.cluster.nodes and ground.cluster.nodes[name].not_ready_since is None
        }
        for gone in self._voices.keys() - nodes.keys():
            del self._voices[gone]
        self._silence.remedy = remedy(ground)
        self._silence.follow(self._ends_of(ground, nodes), clock())
        asked = iter(self._with_pods(ground, nodes, self._silence.turn()))
        count = max(1, -(-len(nodes) // SLICE))
        async with asyncio.TaskGroup() as slices:
            while part := list(islice(asked, SLICE)):
                slices.create_task(self._slice(worker.driver, part))
                if count > 1:
                    await asyncio.sleep(PAUSE * 0.8 / count)
        self._tell()

    async def _slice(self, driver: Driver, part: Sequence[tuple[str, list[Question]]]) -> None:
        clock = asyncio.get_running_loop().time
        names = [name for name, _ in part]
        answers = await ask(driver, [question for _, questions in part for question in questions])
        trips = metrics.ROUND_TRIPS.labels(self.link, self.device)
        for answer in answers.values():
            if answer.reached:
                trips.observe(answer.milliseconds / 1000)
        somebody, all_well = any(a.reached for a in answers.values()), all(a.whole for a in answers.values())
        self._silence.hear(answers, clock())
        for _ in range(_AGAIN):
            asked = self._silence.again(names)
            if not asked:
                break
            await asyncio.sleep(min(_SOON, PAUSE / 4))
            self._silence.hear(await ask(driver, asked), clock())
        if somebody and not (all_well and not self.told.silent):
            self._tell()  # else there is no news but at the end of the turn

    # --- what is asked ------------------------------------------------------------------------------------------

    def _ends_of(self, ground: Ground, nodes: dict[str, NodeFacts]) -> dict[str, tuple[End, ...]]:
        """Return the ends of ``nodes``; worked out anew only for a node that changed, or when the device's place did."""
        own = self._world.device_addresses.get((self.link, self.device))
        name = path_of(self._world, ground.link)
        basis = (ground.link, ground.device, ground.facts, own, name)
        if (
            name == "flannel"
            or len(basis) != len(self._basis)
            or any(now is not then and now != then for now, then in zip(basis, self._basis, strict=True))
        ):
            self._basis, self._ends = basis, {}
        self._ends = {
            name: known if (known := self._ends.get(name)) and known[0] is facts else (facts, ends(ground, facts))
            for name, facts in nodes.items()
        }
        return {name: found for name, (_, found) in self._ends.items() if found}

    def _with_pods(
        self, ground: Ground, nodes: dict[str, NodeFacts], asked: list[tuple[str, list[Question]]]
    ) -> Iterable[tuple[str, list[Question]]]:
        """Add a question about a pod where it is the node's turn for one."""
        start = self._next_pod % max(1, len(asked))
        self._next_pod = start + PODS_AT_ONCE
        for place, (name, questions) in enumerate(asked):
            if (place - start) % len(asked) < PODS_AT_ONCE:
                for end in self._ends[name][1]:
                    pod = self._pod(ground, nodes[name], end.address.version)
                    if pod is not None:
                        questions.append(Question(name, "pod", pod.address, end.source))
            yield name, questions

    def _pod(self, ground: Ground, node: NodeFacts, version: int) -> Pod | None:
        key = (node.name, version)
        pod = self._pods.get(key)
        if pod is None or not pod.stands(ground.cluster):
            pod = a_pod(ground.cluster, node, version)
            if pod is None:
                self._pods.pop(key, None)
                return None
            self._pods[key] = pod
        return pod

    # --- what is told -------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Know nothing: of a device that cannot ask, nothing that was heard before is true for long."""
        self._silence, self.told, self.nobody = Silence(self.device), Report(), False
        self._ends, self._pods = {}, {}

    def _tell(self) -> None:
        silence = self._silence
        common = silence.common()
        troubles = silence.troubles(common)
        texts = [trouble.text for trouble in (*common.values(), *troubles.values())]
        asked = silence.asked
        self.told = Report(
            silence.followed,
            asked,
            asked if common else len(troubles),
            silence.kinds(common, troubles),
            tuple(f"{self.device}: {text}" for text in texts),
        )
        self.nobody = any(trouble.kind == "unreachable" for trouble in common.values())
        named: list[Trouble] = []
        for name, trouble in silence.news(common, troubles):
            if trouble is not None and not name:
                self._log.warning("no node gets through", trouble=trouble.kind, reason=trouble.text)
            elif trouble is not None:
                self._voices.setdefault(name, Voice()).failed(partial(named.append, trouble))
            elif name in self._voices:
                self._voices[name].well(partial(self._say_well, name))
            elif not name:
                self._log.info("nodes answer again")
        for trouble in named[:_SHOWN]:
            self._log.warning("black hole", trouble=trouble.kind, reason=trouble.text)
        if len(named) > _SHOWN:
            self._log.warning("more black holes", more=len(named) - _SHOWN)

    def _say_well(self, node: str, _failures: int) -> None:
        self._log.info("node answers again", node=node)
