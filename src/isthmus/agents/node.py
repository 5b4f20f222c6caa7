"""The agent on a node: realises the node's own place on overlays, from its own Node object and nothing else.

It watches one object, its Node; the annotations there say addresses, MAC and devices. It builds the VXLAN end, lets the UDP
port in from the devices' ends alone, and takes everything away again when an annotation goes. It needs ``NET_ADMIN`` on its
host and ``get``, ``list``, ``watch`` on nodes, and writes nothing into the cluster (but see :mod:`isthmus.agents.trouble`).

The one confusing thing: an annotation that goes is an order, one that cannot be read is not, nor is an API that is away or
does not know this Node at all. While in doubt, nothing is taken away; after a reboot the last known state is put back
before anybody was asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Protocol

from isthmus import metrics
from isthmus.agents.trouble import Trouble
from isthmus.core import attachment
from isthmus.core.attachment import Attachment
from isthmus.core.diff import compare, ordered
from isthmus.core.paths.overlay import node_side
from isthmus.core.wishes import Verdict
from isthmus.drivers.base import Driver, Observation
from isthmus.errors import IsthmusError
from isthmus.kube.client import KubeClient
from isthmus.kube.informer import BLIND, Informer
from isthmus.kube.parse import NODE
from isthmus.loop.queue import KeyedQueue
from isthmus.model.facts import NodeFacts, ObjectKey
from isthmus.model.plan import Change, Conflict, Scope
from isthmus.model.resources import AnyResource
from isthmus.telemetry import get_logger

PREFIX = "isthmus.dev/overlay."
RESYNC = 300.0
"""Seconds between two looks at everything although nothing moved."""


class Memory(Protocol):
    """Where the last wanted state is kept over a reboot."""

    async def load(self) -> list[AnyResource]: ...
    async def save(self, resources: list[AnyResource]) -> None: ...


class _Key(Enum):
    LOOK = "look"


class NodeAgent:
    """Keeps one node's overlay ends as its annotations say; :meth:`run` until cancelled, :meth:`clean` to remove them."""

    def __init__(self, node: str, client: KubeClient, driver: Driver, memory: Memory) -> None:
        self.node = node
        self._client = client
        self._driver = driver
        self._memory = memory
        self._queue: KeyedQueue[_Key] = KeyedQueue()
        self._log = get_logger("agent").bind(node=node)
        self._complaints: frozenset[str] = frozenset()
        self._met = False
        self._unsaved = False
        self._trouble = Trouble(client, node)
        self.informer: Informer[NodeFacts] = Informer(
            client, NODE, on_change=self._heard, field_selector=f"metadata.name={node}"
        )

    async def run(self) -> None:
        """Realise what the Node says, follow it, and mend what others change; a failing host is tried again."""
        await self._start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.informer.run())
            group.create_task(self._watch_drift())
            group.create_task(self._first())
            while True:
                await self._queue.take()
                try:
                    await self._pass()
                except IsthmusError as error:
                    pause = self._queue.failed(_Key.LOOK)
                    self._log.warning("host refused", error=str(error), again_in=round(pause, 1))
                else:
                    self._queue.done(_Key.LOOK)
                    self._queue.add(_Key.LOOK, RESYNC)

    def ailments(self) -> list[str]:
        """Return nothing: when one of the agent's tasks ends, the agent ends."""
        return []

    def unseen(self) -> list[str]:
        """Say why the agent does not know what its node should be."""
        informer = self.informer
        why = f": {informer.failing}" if informer.failing else ""
        if not informer.synced.is_set():
            return [f"Node {self.node} has not been read yet{why}"]
        age = time.monotonic() - informer.freshness
        if age > BLIND:
            return [f"the watch of Node {self.node} is dead, nothing has been proved for {age:.0f} s{why}"]
        if informer.get(("", self.node)) is None:
            return [f"the cluster has no Node {self.node} (is --node right?)"]
        return []

    def readings(self) -> Iterator[metrics.Reading]:
        """Yield what is now."""
        labels = (self._client.connection.name, self.informer.kind.plural)
        yield metrics.READY, (), float(not self.unseen())
        yield metrics.WATCH_FRESHNESS, labels, time.monotonic() - self.informer.freshness
        yield metrics.WATCH_SYNCED, labels, float(self.informer.synced.is_set())
        yield metrics.WATCH_OBJECTS, labels, len(self.informer)

    async def clean(self) -> int:
        """Remove everything of ours from the host and return how many things went."""
        await self._driver.open()
        observation = await self._driver.observe()
        changes = ordered(Change("delete", key, value, None) for key, value in observation.resources.items())
        await self._apply(changes)
        await self._driver.vacate()
        await self._memory.save([])
        return len(changes)

    # --- one look -----------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        """Put the last known state back: creates and updates only, whatever the API says or does not say."""
        await self._driver.open()
        wanted = {resource.identity: resource for resource in await self._memory.load()}
        if wanted:
            await self._driver.prepare()
        changes = self._steps(wanted, await self._driver.observe(), delete=False)
        if changes:
            self._log.info("restoring the last known state", changes=len(changes))
            await self._apply(changes)

    def _heard(self, _keys: set[ObjectKey]) -> None:
        self._met = True  # also where it went at once: there was a Node, and the cluster said that it is gone
        self._queue.add(_Key.LOOK)

    async def _first(self) -> None:
        await self.informer.synced.wait()
        self._queue.add(_Key.LOOK)

    async def _pass(self) -> None:
        if not self.informer.synced.is_set() or self.informer.suspect is not None:
            return
        observation = await self._driver.observe()
        facts = self.informer.get(("", self.node))
        complaints: list[str] = []
        wanted, certain = self._wanted(facts, observation, complaints.append)
        if wanted:
            await self._driver.prepare()  # not before: a host that is on no overlay is none of ours to change
        changes = self._steps(wanted, observation, delete=certain, complain=complaints.append)
        refused: dict[str, str] = {}
        if changes:
            self._unsaved = True
            refused = await self._apply(changes)
            if certain and not wanted:
                await self._driver.vacate()
        if self._unsaved and certain:
            await self._memory.save(list(wanted.values()))
            self._unsaved = False
        await self._trouble.tell(facts, wanted, refused)
        if frozenset(complaints) != self._complaints:
            self._complaints = frozenset(complaints)
            for text in complaints:
                self._log.warning("not realised", reason=text)

    def _wanted(
        self, facts: NodeFacts | None, observation: Observation, complain: Callable[[str], None]
    ) -> tuple[dict[str, AnyResource], bool]:
        """Return what the annotations come to, and whether that is all: what cannot be read may want what stands."""
        if facts is None:
            if not self._met:
                complain(f"the cluster has no Node {self.node} (is --node right?); what stands stays")
            return {}, self._met
        wanted: dict[str, AnyResource] = {}
        certain = True
        for key, text in sorted(facts.annotations.items()):
            if not key.startswith(PREFIX):
                continue
            try:
                attached = attachment.parse(text)
            except ValueError as error:
                complain(f"annotation {key} does not parse: {error}; what stands stays")
                certain = False
                continue
            found = self._one(attached, facts, observation, complain)
            certain = certain and bool(found)
            for resource in found:
                wanted.setdefault(resource.identity, resource)
        return wanted, certain

    def _one(
        self, attached: Attachment, facts: NodeFacts, observation: Observation, complain: Callable[[str], None]
    ) -> list[AnyResource]:
        version = attached.peers[0].vtep.version if attached.peers else 4
        local = facts.address(version)
        if local is None:
            complain(f"the node has no IPv{version} InternalIP to end the tunnel on; what stands stays")
            return []
        return node_side(attached, local, observation.facts)

    def _steps(
        self,
        wanted: dict[str, AnyResource],
        observation: Observation,
        *,
        delete: bool,
        complain: Callable[[str], None] = lambda text: None,
    ) -> tuple[Change, ...]:
        adapted = self._driver.adapt(wanted)
        for identity, reason in adapted.refused.items():
            complain(f"{identity}: {reason}")
        changes = []
        identities = {*wanted, *observation.resources} if delete else set(wanted)
        for identity in identities:
            resource = adapted.resources.get(identity)
            verdict = Verdict(resource, (Scope("node", "", self.node),)) if resource is not None else None
            step = compare(identity, verdict, resource, observation.resources.get(identity), observation.foreign)
            if isinstance(step, Conflict):
                complain(step.describe())
            elif step is not None and identity not in adapted.refused:
                changes.append(step)
        return ordered(changes)

    async def _apply(self, changes: tuple[Change, ...]) -> dict[str, str]:
        """Carry ``changes`` out; return what the host refused, and why."""
        refused: dict[str, str] = {}
        counts = {"done": 0, "refused": 0, "unknown": 0}
        again = False
        async for outcome in self._driver.apply(changes):
            counts[outcome.result] += 1
            again = again or outcome.disturbed or outcome.result == "unknown"
            if outcome.result == "refused":
                refused[outcome.change.identity] = outcome.reason
                self._log.warning("change refused", change=outcome.change.describe(), reason=outcome.reason)
        self._log.info("applied", **counts)
        if again:
            self._queue.add(_Key.LOOK, 0.1)
        return refused

    async def _watch_drift(self) -> None:
        while True:
            try:
                await self._driver.drift()
            except IsthmusError as error:
                self._log.warning("watching the host failed", error=str(error))
                await asyncio.sleep(5.0)
            self._queue.add(_Key.LOOK, 0.05)
