"""What a long-lived process does about its own memory: collect seldom while it reads, and settle once all stands.

Facts and resources stay for as long as what they are about, and refer to nothing that refers to them. Python's collector does
not know that, and looks at all of them again and again: a third of a second without an answer, at ten thousand Services.
So what stands after the start is taken out of its sight. The one confusing thing: that leaks nothing. What is taken out of
its sight still goes when nobody holds it any more; only a cycle among things from before that moment would stay.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc

from isthmus.app.fleet import Fleet
from isthmus.app.health import ControllerHealth

__all__ = ["SELDOM", "collect_seldom", "settle"]

SELDOM = (50_000, 20, 50)
"""How many more objects there are than before the young ones are looked at, and how often the older ones with them."""
_M_ARENA_MAX = -8
_LOOK, _QUIET, _LONGEST = 1.0, 3, 300


def collect_seldom() -> None:
    """Have the collector run less often, and the C library keep one heap for all threads: ours mostly wait."""
    gc.set_threshold(*SELDOM)
    with_arenas = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's; others have nothing to tune
    if with_arenas is not None:
        with_arenas(_M_ARENA_MAX, 1)


async def settle(health: ControllerHealth, fleet: Fleet) -> None:
    """Wait until everything has been read and every device has had its pass, and then settle."""
    quiet, before = 0, -1
    for _ in range(_LONGEST):
        await asyncio.sleep(_LOOK)
        workers = fleet.workers.values()
        writes = sum(worker.status.writes for worker in workers)
        seen = not health.unseen() and all(worker.status.passes or worker.status.error for worker in workers)
        quiet, before = (quiet + 1 if seen and writes == before else 0), writes
        if quiet >= _QUIET:
            break
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)  # what reading the lists took is of no more use
