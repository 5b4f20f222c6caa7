"""Keeps a loop of ours going over a bug of ours: said, and begun again, ever more slowly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from isthmus.telemetry import get_logger

__all__ = ["kept_up"]

_FIRST = 0.5
_LONGEST = 60.0
_HEALTHY = 60.0
"""Seconds after which a crash is the first one again."""


async def kept_up(what: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Run ``loop`` until it ends by itself; ``what`` it does is the sentence where it crashes.

    For loops that look at the present state each time round: what one of them was about to do is found again.
    """
    task = asyncio.current_task()
    assert task is not None, "a loop is a task of its own"
    task.set_name(what)
    clock, pause = asyncio.get_running_loop().time, _FIRST
    while True:
        began = clock()
        try:
            await loop()
        except Exception as error:
            pause = _FIRST if clock() - began > _HEALTHY else min(2 * pause, _LONGEST)
            get_logger("app").error("crashed", doing=what, error=repr(error), again_in=pause, exc_info=error)
            await asyncio.sleep(pause)
        else:
            return
