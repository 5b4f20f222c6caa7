"""Hands a plan to a driver for as long as this process may write, and not a batch longer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from isthmus.drivers.base import Driver, Outcome
from isthmus.model.plan import Change

__all__ = ["HandingOver"]


class HandingOver:
    """The way of one worker's plans to its device; ``under_way`` says whether one is being carried out."""

    def __init__(self, driver: Driver) -> None:
        self.under_way = False
        self._driver = driver

    async def outcomes(self, changes: Sequence[Change], may_write: Callable[[], bool]) -> AsyncIterator[Outcome]:
        """Yield the outcomes of ``changes``, and end early where ``may_write`` says no.

        A driver carries out what comes next when it is asked for the next outcome, so not asking is what stops it; closing
        it makes sure that nobody asks later.
        """
        told = self._driver.apply(changes)
        self.under_way = True
        try:
            async for outcome in told:
                yield outcome
                if not may_write():
                    return
        finally:
            if isinstance(told, AsyncGenerator):
                await told.aclose()
            self.under_way = False
