"""The user's objects in the home cluster, followed by five watches, one per kind.

It gives what the registry of files gives: objects, what is wrong with them, and when something moved. An object that was
edited into something wrong keeps its last good version; an API that is away, shows nothing where there was something, went
back in time or is another cluster's changes nothing, and a problem says so (the informers judge that).

The one confusing thing: VirtualIPs are many and are mostly ours, so their changes are told one by one to ``on_claims`` and
are no change of the configuration.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from weakref import WeakSet

from isthmus.app.home.objects import HomeObject, projection
from isthmus.app.origins import Origin, combined
from isthmus.errors import InputError
from isthmus.kube.client import KubeClient
from isthmus.kube.identity import cluster_uid
from isthmus.kube.informer import Informer
from isthmus.kube.pace import Timing
from isthmus.model.facts import ObjectKey
from isthmus.model.kinds import KINDS, ClusterLink, Key, Kind, KubeCluster
from isthmus.model.kinds.parse import field_text
from isthmus.registry.problems import Problem
from isthmus.registry.watch import Changes, Snapshot
from isthmus.telemetry import get_logger

__all__ = ["HomeRegistry"]

_CLAIMS = "VirtualIP"
_LOOK = 0.5
"""Seconds between two looks at whether the API still answers; that is a problem to show, not news to act on."""
_PATIENCE = 5.0
"""Seconds that the first reading may take before it is a problem to show."""


class HomeRegistry:
    """Follows the objects of one home cluster while :meth:`run` runs."""

    def __init__(
        self,
        client: KubeClient,
        drivers: Collection[str],
        *,
        on_claims: Callable[[set[str]], None] = lambda names: None,
        timing: Timing | None = None,
    ) -> None:
        """``drivers`` are the known ones; ``on_claims`` gets the names of VirtualIPs that changed, came or went."""
        self.on_claims = on_claims
        self.synced = asyncio.Event()
        self._client = client
        self._readers: WeakSet[Changes] = WeakSet()
        self._good: dict[Key, Kind] = {}
        self._gone: dict[str, KubeCluster] = {}
        self._wrong_claims: set[Key] = set()
        self._troubles: tuple[InputError, ...] = ()
        self._began = time.monotonic()
        self._log = get_logger("app")
        self._informers: dict[str, Informer[HomeObject]] = {
            kind: Informer(
                client,
                projection(kind, drivers),
                on_change=functools.partial(self._changed, kind),
                identity=functools.partial(cluster_uid, client),
                timing=timing,
            )
            for kind in KINDS
        }

    @property
    def informers(self) -> Mapping[str, Informer[HomeObject]]:
        """Return the watches by the kind's name, to see how they are."""
        return self._informers

    # --- what is known ------------------------------------------------------------------------------------------

    def get(self, key: Key) -> HomeObject | None:
        """Return an object as it stands in the cluster."""
        return self._informers[key[0]].get(("", key[1]))

    def all(self, *kinds: str) -> Iterable[HomeObject]:
        """Return the objects of ``kinds`` (all, if none are named) as they stand in the cluster."""
        return [found for kind in kinds or KINDS for _, found in self._informers[kind].items()]

    def good(self, key: Key) -> Kind | None:
        """Return what an object said when it last said something good."""
        return self._good.get(key)

    def version(self, kind: str) -> str:
        """Return the resourceVersion up to which ``kind`` is known."""
        return self._informers[kind].resource_version

    def origin(self) -> Origin:
        """Return what stands there, alone."""
        objects = dict(self._good) | {cluster.key: cluster for cluster in self._needed_still()}
        problems: list[InputError] = list(self._troubles)
        broken = set()
        for kind in KINDS:
            for (_, name), found in sorted(self._informers[kind].items()):
                if found.object is not None:
                    continue
                broken.add((kind, name))
                problems += [
                    Problem(_place((kind, name), field_text(one.path)), one.reason, one.remedy, key=(kind, name))
                    for one in found.problems
                ]
        return Origin(objects, tuple(problems), frozenset(broken), {key: _place(key) for key in objects})

    def snapshot(self) -> Snapshot:
        """Return what the registry of files would return, were these objects in files."""
        return combined(Origin(), self.origin()).snapshot

    def changes(self) -> Changes:
        """Return the changes of the configuration from now on, for one reader."""
        changes = Changes()
        self._readers.add(changes)
        return changes

    def troubles(self) -> tuple[InputError, ...]:
        """Return why what is known may be old, or is kept in spite of what the API says."""
        name = self._client.connection.name
        found: list[InputError] = []
        failing = next((one.failing for one in self._informers.values() if one.failing), None)
        if failing is not None:
            found.append(InputError(f"home cluster {name}", failing, "what was read before stays in force"))
        elif not self.synced.is_set() and time.monotonic() - self._began > _PATIENCE:
            found.append(InputError(f"home cluster {name}", "has not been read yet", "nothing is changed meanwhile"))
        found += [
            InputError(f"home cluster {name}", one.suspect, "delete or create the objects there as you mean it")
            for one in self._informers.values()
            if one.suspect
        ]
        return tuple(found)

    # --- keeping it so ------------------------------------------------------------------------------------------

    def seed(self, objects: Iterable[Kind]) -> None:
        """Start from what was known before a restart: it holds until the cluster has been read, or is wrong there now."""
        self._good = {one.key: one for one in objects}

    async def run(self) -> None:
        """Follow the cluster until cancelled; readers of changes end with that, and outlive a crash of ours."""
        try:
            async with asyncio.TaskGroup() as group:
                for informer in self._informers.values():
                    group.create_task(informer.run())
                group.create_task(self._first())
                while True:
                    self._look_at_troubles()
                    await asyncio.sleep(_LOOK)
        except asyncio.CancelledError:
            for reader in list(self._readers):
                reader.end(None)
            raise

    async def _first(self) -> None:
        for informer in self._informers.values():
            await informer.synced.wait()
        for key in [key for key in self._good if self.get(key) is None]:
            del self._good[key]
        self.synced.set()
        self._log.info("home cluster read", objects=sum(len(one) for one in self._informers.values()))
        self._look_at_troubles()
        self._publish(set(self._good))

    def _look_at_troubles(self) -> None:
        now = self.troubles()
        if [str(one) for one in now] != [str(one) for one in self._troubles]:
            self._troubles = now
            self._publish(())

    def _changed(self, kind: str, keys: set[ObjectKey]) -> None:
        changed = {key for _, name in keys if self._take(key := (kind, name))}
        if kind == _CLAIMS:
            self.on_claims({name for _, name in keys})
            if self._judge_claims((kind, name) for _, name in keys) and self.synced.is_set():
                self._publish(())  # only what is wrong has changed
        elif changed and self.synced.is_set():
            self._publish(changed)

    def _judge_claims(self, keys: Iterable[Key]) -> bool:
        """Keep which claims do not parse; say whether that has changed."""
        moved = False
        for key in keys:
            found = self.get(key)
            wrong = found is not None and found.object is None
            if wrong != (key in self._wrong_claims):
                moved = True
                (self._wrong_claims.add if wrong else self._wrong_claims.discard)(key)
        return moved

    def _take(self, key: Key) -> bool:
        """Take one object as it stands now; say whether that is news for the configuration."""
        found, before = self.get(key), self._good.get(key)
        if found is None:
            if isinstance(before, KubeCluster):
                self._gone[before.name] = before
            return self._good.pop(key, None) is not None
        now = found.object
        if now is None:
            if before is None:
                return True  # wrong from the start: there is a problem to show
            now = found.revived(before)
        if key[0] == "KubeCluster":
            self._gone.pop(key[1], None)
        self._good[key] = now
        return found.object is None or now != before

    def _needed_still(self) -> list[KubeCluster]:
        """Return the clusters that are gone but that a link being deleted must still be cleaned out of."""
        wanted = {
            link.spec.cluster
            for link in self._good.values()
            if isinstance(link, ClusterLink) and link.metadata.deletion_timestamp is not None
        }
        return [cluster for name, cluster in sorted(self._gone.items()) if name in wanted]

    def _publish(self, keys: Collection[Key]) -> None:
        for reader in list(self._readers):
            reader.add(keys)


def _place(key: Key, path: str = "") -> str:
    return f"{'/'.join(key)} (home cluster)" + (f": {path}" if path else "")
