"""Hands a plan to a driver for as long as this process may write, and not a batch longer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from isthmus.drivers.base import Driver, Outcome
from isthmus.model.plan import Change

__all__ = ["outcomes"]


async def outcomes(
    driver: Driver, changes: Sequence[Change], may_write: Callable[[], bool]
) -> AsyncIterator[Outcome]:
    """Yield the outcomes of ``changes``, and end early where ``may_write`` says no.

    A driver carries out what comes next when it is asked for the next outcome, so not asking is what stops it; closing it
    makes sure that nobody asks later.
    """
    told = driver.apply(changes)
    try:
        async for outcome in told:
            yield outcome
            if not may_write():
                return
    finally:
        if isinstance(told, AsyncGenerator):
            await told.aclose()
