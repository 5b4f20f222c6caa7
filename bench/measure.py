"""Measuring in turns: ours and the reference, alternately, in one process and one run.

The one confusing thing is ``noise``: how far the reference differs from itself between one round and the next, as a
share. A ratio that misses its goal by less than that says little.
"""

from __future__ import annotations

import cProfile
import gc
import io
import os
import pstats
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from statistics import median

import msgspec

__all__ = ["Pairs", "in_turns", "percentile", "profiled", "progress", "scale", "scaled"]


class Pairs(msgspec.Struct, frozen=True):
    """What rounds of measuring gave: the medians, their ratio, and how far to trust it."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def value(self) -> float:
        return median(self.ours)

    @property
    def reference(self) -> float:
        return median(self.theirs)

    @property
    def ratio(self) -> float:
        return self.value / self.reference

    @property
    def spread(self) -> float:
        """Return half the distance between the smallest and the largest ratio of a round."""
        ratios = [our / their for our, their in zip(self.ours, self.theirs, strict=True)]
        return (max(ratios) - min(ratios)) / 2

    @property
    def noise(self) -> float:
        """Return how far the reference is from itself, one round to the next, in the middle."""
        steps = [abs(a - b) / max(a, b) for a, b in zip(self.theirs, self.theirs[1:], strict=False)]
        return median(steps) if steps else 0.0


async def in_turns(
    ours: Callable[[], Awaitable[float]], theirs: Callable[[], Awaitable[float]], *, pairs: int = 5
) -> Pairs:
    """Measure ``pairs`` times in turns, whoever was first being second next; each function returns its own figure.

    One round before them warms both up and is not counted.
    """
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs + 1):
        for which in (0, 1) if number % 2 else (1, 0):
            gc.collect()
            figure = await (ours, theirs)[which]()
            if number:
                found[which].append(figure)
        progress(f"{number}/{pairs}")
    return Pairs(tuple(found[0]), tuple(found[1]))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that ``share`` of ``values`` do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * share) - 1)]


def scale() -> float:
    """Return by how much the sizes are cut, 1 by default (``BENCH_SCALE``)."""
    return float(os.environ.get("BENCH_SCALE", "1"))


def scaled(size: int, least: int = 5) -> int:
    """Return ``size`` at the scale asked for."""
    return max(min(size, least), round(size * scale()))


def progress(text: str) -> None:
    """Say on a terminal how far it is; nothing anywhere else."""
    if sys.stderr.isatty():
        name = os.environ.get("BENCH_NOW", "")
        sys.stderr.write(f"\r\x1b[K{name} {text}")
        sys.stderr.flush()


@contextmanager
def profiled() -> Iterator[None]:
    """Write what takes the time inside to the file that ``BENCH_PROFILE_TO`` names; nothing without it.

    Threads count too: netlink is spoken in them.
    """
    path = os.environ.get("BENCH_PROFILE_TO")
    if not path:
        yield
        return
    main = cProfile.Profile()
    others: list[cProfile.Profile] = []

    def begin(*_: object) -> None:
        other = cProfile.Profile()
        others.append(other)
        other.enable()

    threading.setprofile(begin)
    main.enable()
    try:
        yield
    finally:
        main.disable()
        threading.setprofile(None)
        text = io.StringIO()
        stats = pstats.Stats(main, stream=text)
        stats.add(*others)
        stats.sort_stats("tottime").print_stats(40)
        stats.sort_stats("cumulative").print_stats(40)
        Path(path).write_text(text.getvalue())
