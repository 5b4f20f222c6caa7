"""The time that a plan runs in: one loop that jumps, a wall clock that can be set wrong, and chance that repeats itself.

The one confusing thing: the code under test binds ``time.time`` and ``time.monotonic`` as defaults of its constructors. They
are found and replaced in every class of the product, whoever adds one, because a clock that was forgotten would run on real
time and make a plan unrepeatable. That is for a process that does nothing else; so the tests run plans in processes of
their own.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import sys
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import structlog

from loop.clock import START, JumpingLoop

EPOCH = 1_760_000_000.0
"""The wall clock's time at the start of a plan: an autumn day in 2025."""


class Clock:
    """The clocks of the plan that runs now. ``skew`` is by how much the wall clock is wrong."""

    loop: asyncio.AbstractEventLoop | None = None
    skew = 0.0

    def monotonic(self) -> float:
        """Return the loop's time."""
        return self.loop.time() if self.loop is not None else START

    def wall(self) -> float:
        """Return the time of day, as far as this machine knows it."""
        return EPOCH + self.monotonic() - START + self.skew


CLOCK = Clock()
_CLOCKS = {
    "time": CLOCK.wall,
    "monotonic": CLOCK.monotonic,
    "perf_counter": CLOCK.monotonic,
    "clock_gettime": lambda which: CLOCK.monotonic(),
}
_monotonic, _wall = time.monotonic, time.time
_installed = False


class PlanLoop(JumpingLoop):
    """A loop on virtual time whose executor has no threads: what is asked of it is done in its turn."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Call ``func`` now and return a future of what it returned."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


def install() -> None:
    """Put the whole product on virtual time and silence its log; for the rest of this process's life."""
    global _installed
    if _installed:
        return
    _installed = True
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    for name, module in sorted(sys.modules.items()):
        if name == "isthmus" or name.startswith("isthmus."):
            _rewire(module)


def _rewire(module: ModuleType) -> None:
    for word, value in list(vars(module).items()):
        if value is time:
            setattr(module, word, SimpleNamespace(**{**vars(time), **_CLOCKS}))
        elif value is random:
            # ``random.Random()`` without a seed asks the system; here it asks the plan's own source.
            seeded = {"Random": lambda seed=None: random.Random(random.random() if seed is None else seed)}
            setattr(module, word, SimpleNamespace(**{**vars(random), **seeded}))
        elif inspect.isclass(value) and value.__module__ == module.__name__:
            for function in vars(value).values():
                if inspect.isfunction(function):
                    _redefault(function)
        elif inspect.isfunction(value) and value.__module__ == module.__name__:
            _redefault(value)


def _redefault(function: Any) -> None:
    clocks = {_wall: CLOCK.wall, _monotonic: CLOCK.monotonic}
    if function.__kwdefaults__:
        for word, default in function.__kwdefaults__.items():
            if callable(default) and default in (_wall, _monotonic):
                function.__kwdefaults__[word] = clocks[default]
    if function.__defaults__:
        function.__defaults__ = tuple(
            clocks[default] if default in (_wall, _monotonic) else default for default in function.__defaults__
        )
