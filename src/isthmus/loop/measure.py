"""What one device's worker tells Prometheus: how long things took, what became of changes, and when a cause was answered.

It only counts. The one confusing thing is when an origin is done with: a change of its scope that is acknowledged ends it, a
pass that wants nothing of it drops it, and a pass that failed, or a change whose outcome is not known, keeps it waiting.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

from isthmus import metrics
from isthmus.drivers.base import Outcome
from isthmus.loop.origin import Origin, Origins
from isthmus.model.plan import Plan, Scope

__all__ = ["Measure"]


class Measure:
    """The figures of one device."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._origins: Origins[Scope] = Origins()
        self._taken: dict[Scope, Origin] = {}
        self._answered: dict[Scope, float] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def dirty(self, scopes: Iterable[Scope]) -> None:
        """Take scopes that must be looked at, with what caused that."""
        self._origins.note(scopes)

    @contextmanager
    def one_pass(self, keys: Collection[Hashable], *, whole: bool) -> Iterator[None]:
        """Measure a pass over the scopes in ``keys`` (everything, if ``whole``)."""
        began = perf_counter()
        self._taken = self._origins.take_all() if whole else self._origins.take(keys)
        self._answered.clear()
        try:
            yield
        except BaseException:
            self._origins.put_back(self._taken)
            raise
        finally:
            self._taken = {}
        metrics.PASSES.labels(self._device, "everything" if whole else "changed").observe(perf_counter() - began)

    def failed(self) -> None:
        """Take a failure of the device as a whole."""
        metrics.DEVICE_FAILURES.labels(self._device).inc()

    def drift(self, things: int) -> None:
        """Take how many things of ours were found changed."""
        metrics.DRIFT.labels(self._device).inc(things)

    def outcome(self, outcome: Outcome) -> None:
        """Take what became of one change."""
        self._counts[outcome.change.action, outcome.result] += 1
        if self._taken and outcome.result == "done":
            for scope in outcome.change.scopes:
                if scope in self._taken:
                    self._answered[scope] = asyncio.get_running_loop().time()

    def applied(self, plan: Plan, *, silent: Collection[str], again: Collection[Scope]) -> None:
        """Take the end of ``plan``: ``silent`` had no outcome at all; ``again`` is looked at again, to know what stands."""
        metrics.PLANS.labels(self._device).observe(len(plan.changes))
        for change in plan.changes if silent else ():
            if change.identity in silent:
                self._counts[change.action, "unknown"] += 1
        for (action, result), count in self._counts.items():
            metrics.CHANGES.labels(self._device, action, result).inc(count)
        self._counts.clear()
        self._origins.put_back({scope: origin for scope, origin in self._taken.items() if scope in again})
        for scope, at in self._answered.items():
            if scope not in again:
                origin = self._taken[scope]
                metrics.CONVERGENCE.labels(origin.kind).observe(at - origin.at)
        self._answered.clear()
