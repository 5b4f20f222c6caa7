"""One cluster's watches, poured into the world: what changed goes in, and who must look again comes out.

Nodes, Services, EndpointSlices and Namespaces are followed; nothing here decides anything. The one confusing thing: a watch
in doubt (an empty answer after a full one, a cluster that is not the same any more) changes no facts at all, it only says so
in the view's ``suspect``, and deletes wait.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from isthmus.core.world import World
from isthmus.kube.client import KubeClient
from isthmus.kube.identity import cluster_uid
from isthmus.kube.informer import Informer
from isthmus.kube.parse import NAMESPACE, NODE, SERVICE, SLICE, Projection
from isthmus.loop.origin import caused, caused_now
from isthmus.model.facts import ObjectKey
from isthmus.model.plan import Scope
from isthmus.telemetry import get_logger

PROJECTIONS: dict[str, Projection[Any]] = {
    "nodes": NODE,
    "services": SERVICE,
    "endpointslices": SLICE,
    "namespaces": NAMESPACE,
}


_EMPTY_PAUSE = 1.0
"""Seconds until a list that is empty against expectation is looked at again."""


class Heard(msgspec.Struct, frozen=True):
    """What a batch of changes means to others: scopes for devices, names for the cluster's own worker."""

    kind: str
    keys: frozenset[ObjectKey]
    scopes: frozenset[Scope]


class ClusterSession:
    """Follows one cluster until cancelled. ``heard`` is told of every change, ``read`` when a kind is known completely."""

    def __init__(
        self,
        name: str,
        client: KubeClient,
        world: World,
        *,
        heard: Callable[[Heard], None],
        read: Callable[[str], None],
        accepts: Callable[[], bool] = lambda: False,
        stands: Callable[[str], bool] = lambda kind: False,
    ) -> None:
        """``stands`` says of a kind whether something stands, or may stand, that came from such objects of this cluster."""
        self.name = name
        self.client = client
        self._world = world
        self._heard = heard
        self._read = read
        self._accepts = accepts
        self._stands = stands
        self._log = get_logger("loop").bind(cluster=name)
        self.informers: dict[str, Informer[Any]] = {}
        for kind, projection in PROJECTIONS.items():
            self.informers[kind] = Informer(
                client,
                projection,
                on_change=functools.partial(self._changed, kind),
                on_suspect=functools.partial(self._doubted, kind),
                identity=functools.partial(cluster_uid, client),
            )

    async def run(self) -> None:
        """Follow all four kinds; a failing one is retried by itself and holds up no other."""
        async with asyncio.TaskGroup() as group:
            for kind, informer in self.informers.items():
                group.create_task(informer.run())
                group.create_task(self._first(kind, informer))

    def accept(self) -> None:
        """Believe what the API shows now, because a person says so; what it no longer shows goes."""
        for informer in self.informers.values():
            if informer.suspect is not None:
                informer.accept_empty()

    def freshness(self) -> dict[str, float]:
        """Return per kind how many seconds ago the API last proved that the watch is alive."""
        now = time.monotonic()
        return {kind: now - informer.freshness for kind, informer in self.informers.items()}

    def failing(self) -> str | None:
        """Return why the cluster cannot be followed now, or none."""
        return next((informer.failing for informer in self.informers.values() if informer.failing), None)

    async def _first(self, kind: str, informer: Informer[Any]) -> None:
        await informer.synced.wait()
        view = self._world.view(self.name)
        while not len(informer) and not self._accepts() and (reason := self._doubtful(kind, informer)):
            view.suspect[kind] = reason
            await asyncio.sleep(_EMPTY_PAUSE)
        view.suspect.pop(kind, None)
        self._changed(kind, [key for key in view.keys(kind) if informer.get(key) is None])
        if kind == "nodes":
            self._world.judge_network(self.name)  # what Nodes say of their CNI is complete now
        view.pending.discard(kind)
        self._log.info("read", kind=kind, objects=len(informer))
        self._read(kind)

    def _doubtful(self, kind: str, informer: Informer[Any]) -> str | None:
        """Return why a first list that shows nothing is not taken for an answer yet, or none."""
        # After a change of how the cluster is reached, the view still holds what the earlier session heard.
        if self._world.view(self.name).keys(kind):
            return f"its list of {kind} is empty, and was not; what was known stays"
        # Of an earlier life there is what stands. It goes, but not on the word of one moment.
        if not informer.proven and self._stands(kind):
            return f"its list of {kind} is empty, although things stand that came from some; it is looked at again"
        return None

    def _changed(self, kind: str, keys: Iterable[ObjectKey]) -> None:
        informer = self.informers[kind]
        scopes: set[Scope] = set()
        for key in keys:
            scopes |= self._world.put(self.name, kind, key, informer.get(key))
        # A first list tells nothing new: the device may have stood like this for weeks.
        with caused(None) if kind in self._world.view(self.name).pending else caused_now(kind):
            self._heard(Heard(kind, frozenset(keys), frozenset(scopes)))

    def _doubted(self, kind: str, reason: str | None) -> None:
        """Carry an informer's doubt into the view; when it ends, everything it held up is looked at again."""
        suspect = self._world.view(self.name).suspect
        if reason is not None:
            suspect[kind] = reason
            self._log.warning("the answer is doubtful, nothing is deleted", kind=kind, reason=reason)
        elif suspect.pop(kind, None) is not None:
            self._log.info("the answer is believed again", kind=kind)
            self._read(kind)
