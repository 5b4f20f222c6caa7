"""Asks, from each device, whether each joined node and a pod on it answer; remembers what did not, twice in a row.

A bounded number of nodes is asked per round, in turn, so that the cost does not grow with the fleet. Nothing is changed on
account of an answer: it is told, in the Link's status and by ``isthmus explain``, because a path that carries no packets has
a cause that more routes do not cure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from isthmus import metrics
from isthmus.app.fleet import Fleet
from isthmus.core.ground import Ground
from isthmus.core.reach import Answer, Question, questions, verdicts
from isthmus.core.world import World
from isthmus.drivers.base import Driver, ProbeTarget
from isthmus.errors import IsthmusError
from isthmus.metrics import Reading
from isthmus.telemetry import get_logger

PAUSE = 3.0
"""Seconds between two rounds."""
AT_ONCE = 200
"""So many nodes are asked per device and round."""


async def ask(driver: Driver, ground: Ground, nodes: list[str]) -> dict[Question, Answer]:
    """Ask about ``nodes`` from the ground's device and return every answer."""
    asked = [
        question
        for node in nodes
        if node in ground.cluster.nodes
        for question in questions(ground, ground.cluster.nodes[node])
    ]
    results = await driver.probe([ProbeTarget(question.address, question.source) for question in asked])
    return {
        question: Answer(result.reached, result.milliseconds, result.why)
        for question, result in zip(asked, results, strict=True)
    }


class Probing:
    """Runs the rounds; :meth:`silent` says what a link's nodes last failed to answer."""

    def __init__(self, world: World, fleet: Fleet) -> None:
        self._world = world
        self._fleet = fleet
        self._log = get_logger("app")
        self._turn: dict[tuple[str, str], int] = {}
        self._missed: dict[tuple[str, str], dict[str, str]] = {}
        self._silent: dict[tuple[str, str], dict[str, str]] = {}
        self._asked: dict[tuple[str, str], set[str]] = {}

    def silent(self, link: str) -> Mapping[str, str]:
        """Return what is wrong per node of ``link``: a sentence that names device, node and address."""
        found: dict[str, str] = {}
        for (of, device), nodes in self._silent.items():
            if of == link:
                found |= {node: f"{device}: {text}" for node, text in nodes.items()}
        return found

    def asked(self, link: str) -> int:
        """Return how many nodes of ``link`` have been asked at least once."""
        return len({node for (of, _), nodes in self._asked.items() if of == link for node in nodes})

    def readings(self) -> Iterator[Reading]:
        """Yield how many nodes have been asked, and how many are silent."""
        for key, asked in self._asked.items():
            yield metrics.PROBE_NODES, key, len(asked)
            yield metrics.PROBE_SILENT, (*key, "unreachable"), len(self._silent.get(key, {}))

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            await asyncio.sleep(PAUSE)
            keys = [(link.name, device) for link in self._world.links.values() for device in link.spec.devices]
            for kept in (self._turn, self._missed, self._silent, self._asked):
                for key in kept.keys() - set(keys):
                    del kept[key]
            # Side by side: a device that answers slowly must not keep others from being asked.
            await asyncio.gather(*(self._try(link, device) for link, device in keys))

    async def _try(self, link: str, device: str) -> None:
        try:
            await self._round(link, device)
        except IsthmusError as error:
            self._log.debug("not probed", link=link, device=device, reason=str(error))
        except Exception as error:
            self._log.error("probing crashed", link=link, device=device, error=repr(error), exc_info=error)

    async def _round(self, link: str, device: str) -> None:
        key = (link, device)
        ground, worker = self._fleet.ground(link, device), self._fleet.workers.get(device)
        if ground is None or worker is None or not worker.status.reachable:
            return
        joined = worker.planner.joined_nodes(link)
        for kept in (self._missed, self._silent):
            kept[key] = {node: text for node, text in kept.get(key, {}).items() if node in joined}
        self._asked[key] = self._asked.get(key, set()) & set(joined)
        start = self._turn.get(key, 0) % max(1, len(joined))
        nodes = (joined[start:] + joined[:start])[:AT_ONCE]
        self._turn[key] = start + len(nodes)
        if not nodes:
            return
        wrong = verdicts(await ask(worker.driver, ground, nodes))
        self._asked[key].update(nodes)
        for node in nodes:
            self._take(key, node, wrong.get(node))

    def _take(self, key: tuple[str, str], node: str, text: str | None) -> None:
        missed, silent = self._missed[key], self._silent[key]
        if text is None:
            missed.pop(node, None)
            if silent.pop(node, None) is not None:
                self._log.info("node answers again", link=key[0], device=key[1], node=node)
        elif node in missed:  # twice in a row: once may be a lost packet
            if node not in silent:
                self._log.warning("black hole", link=key[0], device=key[1], reason=text)
            silent[node] = text
        else:
            missed[node] = text
