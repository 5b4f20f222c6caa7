"""Bugs on purpose, each one that somebody has made: the harness is worth what it finds of them.

A mutant replaces a function of the product in this process, for the rest of its life. Each says which laws it breaks; none
touches the judge, and one is a bug of the gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from faults.gateway import Gateway
from isthmus.app.memory import StateMemory
from isthmus.core.allocate import Allocator
from isthmus.core.known import Known
from isthmus.core.planner import DevicePlanner
from isthmus.errors import DeviceError, KubeError, KubeExpired
from isthmus.kube import wire
from isthmus.kube.belief import Belief
from isthmus.kube.client import KubeClient
from isthmus.kube.informer import Informer
from isthmus.loop.device import DeviceWorker
from isthmus.loop.duties.standin import StandIn
from isthmus.loop.queue import KeyedQueue


def _patch(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    setattr(owner, name, make(getattr(owner, name)))


def _nothing_is_doubtful() -> None:
    def judge(self: Belief, known: Any, shown: Any, version: str) -> set[Any]:
        self.highest = version
        return {key for key in known if key not in shown}

    async def certain(self: Any, listed: Any) -> None:
        return None

    _patch(Belief, "judge", lambda real: judge)
    _patch(Informer, "_check_empty", lambda real: certain)


def empty_list_believed() -> None:
    """Take a list that shows nothing for a cluster that has nothing."""
    _nothing_is_doubtful()


def failed_list_is_empty() -> None:
    """Take a list that failed for one that shows nothing."""
    _nothing_is_doubtful()

    def make(real: Any) -> Any:
        async def list_pages(self: KubeClient, kind: Any, *rest: Any, **options: Any) -> AsyncIterator[Any]:
            try:
                async for page in real(self, kind, *rest, **options):
                    yield page
            except KubeError:
                yield wire.Page([], [], "1", True)

        return list_pages

    _patch(KubeClient, "list_pages", make)


def expired_is_ignored() -> None:
    """Go on watching from now where the version is gone, and list nothing anew: what was deleted meanwhile stays."""

    def make(real: Any) -> Any:
        async def watch(self: Any, listed: Any) -> None:
            try:
                await real(self, listed)
            except KubeExpired:
                if listed is not None:
                    raise
                self.resource_version = str(self._client._transport.api.version)

        return watch

    _patch(Informer, "_watch", make)


def missing_is_kept() -> None:
    """Never take a thing for gone that a complete list does not show."""
    _patch(Belief, "judge", lambda real: lambda self, known, shown, version: set())


def first_list_believed() -> None:
    """Believe an empty answer at a start, and for good."""

    async def certain(self: Any, listed: Any) -> None:
        return None

    def make(real: Any) -> Any:
        async def following(self: Any, stream: Any, *, complete: bool) -> Any:
            self._began_empty = False
            return await real(self, stream, complete=complete)

        return following

    _patch(Informer, "_check_empty", lambda real: certain)
    _patch(Informer, "_next", make)
    _patch(Informer, "proven", lambda real: property(lambda self: True))


def unknown_is_done() -> None:
    """Take a change whose outcome is not known for done, and read nothing again."""

    def make(real: Any) -> Any:
        def take(self: Any, outcome: Any, unknown: set[str], now: float) -> None:
            done = outcome.result == "unknown"
            real(self, type(outcome)(outcome.change, "done") if done else outcome, unknown, now)

        return take

    _patch(DeviceWorker, "_take_outcome", make)


def deletes_before_read() -> None:
    """Compare before the cluster has been read."""
    _patch(Known, "unread", lambda real: lambda self, scope: False)
    _patch(Known, "doubt", lambda real: lambda self, scope: None)
    _patch(Known, "general", lambda real: lambda self: None)


def releases_before_read() -> None:
    """Decide over addresses before the cluster has been read."""
    _patch(Allocator, "doubt", lambda real: lambda self, cluster: None)


def claim_is_not_kept() -> None:
    """Show an address before its claim is stored, and forget to store it."""

    async def create(self: StateMemory, vip: Any) -> None:
        return None

    _patch(StateMemory, "create", lambda real: create)


def news_is_dropped() -> None:
    """Lose a key that is added while it waits already after a failure or a delay."""

    def make(real: Any) -> Any:
        def add(self: Any, key: Any, delay: float = 0.0) -> None:
            if key not in self._due:
                real(self, key, delay)

        return add

    _patch(KeyedQueue, "add", make)


def reboot_goes_unnoticed() -> None:
    """Do not look again at a device whose connection broke: it is as it was."""

    def make(real: Any) -> Any:
        async def watch(self: Any) -> None:
            with contextlib.suppress(DeviceError):
                await real(self)
            await asyncio.Event().wait()

        return watch

    def once(real: Any) -> Any:
        async def observe(self: Any) -> None:
            if not self.status.passes:
                await real(self)

        return observe

    _patch(DeviceWorker, "_watch_drift", make)
    _patch(DeviceWorker, "_observe", once)


def half_applied_is_done() -> None:
    """Believe in the whole plan where the connection broke in the middle of it."""

    def make(real: Any) -> Any:
        async def apply(self: Any, plan: Any, now: float, *rest: Any) -> bool:
            try:
                found: bool = await real(self, plan, now, *rest)
            except DeviceError:
                for change in plan.changes:
                    self.planner.carried_out(change, now)
                return False
            return found

        return apply

    _patch(DeviceWorker, "_apply", make)


def save_in_the_middle() -> None:
    """Keep the state that was when a plan began, and not the one after it."""

    def make(real: Any) -> Any:
        def take(self: Any, *rest: Any) -> None:
            before = self._unsaved
            real(self, *rest)
            self._unsaved = before

        return take

    _patch(DeviceWorker, "_take_outcome", make)


def clock_is_trusted() -> None:
    """Wait for as long as this machine's clock says that the cluster's is ahead."""
    _patch(StandIn, "_age_of", lambda real: lambda self, node: self._context.now() - _created(node))


def _created(node: Any) -> float:
    from isthmus.loop.duties.standin import _seconds

    return _seconds(node.created)


def owners_are_forgotten() -> None:
    """Delete what is not wanted without asking who wanted it and whether that is known."""

    def make(real: Any) -> Any:
        def see(self: Any, *rest: Any, **options: Any) -> None:
            real(self, *rest, **options)
            self.owners.clear()

        return see

    _patch(DevicePlanner, "see", make)
    _patch(Known, "general", lambda real: lambda self: None)


def epoch_is_ignored() -> None:
    """Take writes from whoever sends them."""
    _patch(Gateway, "fence", lambda real: lambda self, epoch: None)


MUTANTS: dict[str, Callable[[], None]] = {
    make.__name__.replace("_", "-"): make
    for make in (
        empty_list_believed,
        failed_list_is_empty,
        expired_is_ignored,
        missing_is_kept,
        first_list_believed,
        unknown_is_done,
        deletes_before_read,
        releases_before_read,
        claim_is_not_kept,
        news_is_dropped,
        reboot_goes_unnoticed,
        half_applied_is_done,
        save_in_the_middle,
        clock_is_trusted,
        owners_are_forgotten,
        epoch_is_ignored,
    )
}
"""Name to what breaks the product."""

LAWS = {
    "empty-list-believed": "on ignorance",
    "failed-list-is-empty": "on ignorance",
    "first-list-believed": "on ignorance",
    "deletes-before-read": "on ignorance",
    "owners-are-forgotten": "on ignorance",
    "releases-before-read": "given back although",
    "epoch-is-ignored": "has begun",
}
"""What is said of the law that a mutant breaks, where it is one: found for another reason, it is not found."""

FOUND_BY = {
    "empty-list-believed": 76,
    "failed-list-is-empty": 76,
    "expired-is-ignored": 0,
    "missing-is-kept": 18,
    "first-list-believed": 199,
    "unknown-is-done": 98,
    "deletes-before-read": 1,
    "releases-before-read": 33,
    "claim-is-not-kept": 0,
    "news-is-dropped": 19,
    "reboot-goes-unnoticed": 19,
    "half-applied-is-done": 127,
    "save-in-the-middle": 46,
    "clock-is-trusted": 39,
    "owners-are-forgotten": 1,
    "epoch-is-ignored": 157,
}
"""The seed whose plan found it last; tried first, so that the test is quick. Others find it, too."""
