"""Follows the objects by which a CNI says where pods are: Calico's blocks, CiliumNodes, OpenShift's HostSubnets.

They are custom resources that most clusters do not have, so each kind is first asked for; it may appear later, with its CNI.
Then it is watched as everything else is, and the same holds: nothing is gone because a list failed or came empty.

The one confusing thing: what is *forbidden*. If such a kind is there and we may not read it, nobody knows where pods are, so
what stands stays, and the cluster's status names the missing rule.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable
from typing import Any

from isthmus.core.homes import State
from isthmus.core.world import World
from isthmus.errors import KubeError, KubeForbidden, KubeNotFound
from isthmus.kube.client import KubeClient
from isthmus.kube.gathering import offers
from isthmus.kube.identity import cluster_uid
from isthmus.kube.informer import Informer
from isthmus.kube.publishing import HOMES
from isthmus.loop.origin import caused, caused_now
from isthmus.model.facts import ObjectKey
from isthmus.model.plan import Scope
from isthmus.telemetry import get_logger

EVERY = 300.0
"""Seconds until an API that did not have a kind is asked again."""
AGAIN = 30.0
"""Seconds until a kind that we may not read is asked for again; and after a failure, at most."""
_EMPTY_PAUSE = 1.0


class HomeSession:
    """Follows one cluster's homes until cancelled. ``moved`` gets the scopes that a change touches."""

    def __init__(
        self,
        name: str,
        client: KubeClient,
        world: World,
        *,
        moved: Callable[[set[Scope]], None],
        accepts: Callable[[], bool] = lambda: False,
        stands: Callable[[], bool] = lambda: False,
    ) -> None:
        """``stands`` says whether something stands, or may stand, that came from nodes of this cluster."""
        self._name = name
        self._client = client
        self._world = world
        self._moved = moved
        self._accepts = accepts
        self._stands = stands
        self._log = get_logger("loop").bind(cluster=name)
        self.informers: dict[str, Informer[Any]] = {}

    async def run(self) -> None:
        """Follow every kind that the API has; a failing one is tried again by itself and holds up no other."""
        async with asyncio.TaskGroup() as group:
            for kind in HOMES:
                group.create_task(self._follow(kind))

    def accept(self) -> None:
        """Believe what the API shows now, because a person says so."""
        for informer in self.informers.values():
            if informer.suspect is not None:
                informer.accept_empty()

    def failing(self) -> str | None:
        """Return why a kind that is there cannot be followed now, or none."""
        return next((informer.failing for informer in self.informers.values() if informer.failing), None)

    async def _follow(self, kind: str) -> None:
        """Wait until the kind is there and may be read, then watch it."""
        projection = HOMES[kind]
        pause = 1.0
        while True:
            try:
                state = await self._ask(kind)
            except KubeError as error:
                # Neither there nor absent: what is known of it stays unread, and what stands stays.
                self._log.debug("whether the API has a kind is not known", kind=kind, error=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN)
                continue
            if state == "read":
                break
            self._state(kind, state)
            await asyncio.sleep(EVERY if state == "absent" else AGAIN)
        informer = self.informers[kind] = Informer(
            self._client,
            projection,
            on_change=functools.partial(self._changed, kind),
            on_suspect=functools.partial(self._doubted, kind),
            identity=functools.partial(cluster_uid, self._client),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run())
            group.create_task(self._first(kind, informer))

    async def _ask(self, kind: str) -> State:
        reference = HOMES[kind].kind
        try:
            if not await offers(self._client, reference):
                return "absent"
        except KubeForbidden:
            pass  # whoever may not ask what there is may still be allowed to read it
        try:
            await self._client.collection_version(reference)
        except KubeForbidden:
            return "forbidden"
        except KubeNotFound:
            return "absent"
        return "read"

    async def _first(self, kind: str, informer: Informer[Any]) -> None:
        await informer.synced.wait()
        while not (len(informer) or informer.proven or self._accepts() or not self._stands()):
            reason = f"its list of {kind} is empty, although things stand that came from some; it is looked at again"
            self._state(kind, "unread", reason)
            await asyncio.sleep(_EMPTY_PAUSE)
        known = self._world.view(self._name).homes.home_names(kind)
        self._changed(kind, [("", name) for name in known if informer.get(("", name)) is None])
        self._log.info("read", kind=kind, objects=len(informer))
        self._state(kind, "read")

    def _state(self, kind: str, state: State, doubt: str | None = None) -> None:
        with caused(None):
            self._moved(self._world.put_home_state(self._name, kind, state, doubt))

    def _changed(self, kind: str, keys: Iterable[ObjectKey]) -> None:
        informer, scopes = self.informers[kind], set[Scope]()
        for key in keys:
            scopes |= self._world.put_home(self._name, kind, key[1], informer.get(key))
        with caused(None) if self._world.view(self._name).homes.states[kind] != "read" else caused_now(kind):
            self._moved(scopes)

    def _doubted(self, kind: str, reason: str | None) -> None:
        if reason is not None:
            self._log.warning("the answer is doubtful, nothing is deleted", kind=kind, reason=reason)
        self._state(kind, self._world.view(self._name).homes.states[kind], reason)
