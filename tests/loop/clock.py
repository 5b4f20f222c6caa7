"""An event loop whose clock jumps to the next thing due instead of waiting for it: minutes pass in microseconds.

Only for tests that open no sockets: where nothing is due the loop would wait for the outside, and here that is a fault.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START = 1000.0


class _Jumping(selectors.DefaultSelector):
    """Never waits: it moves the clock by what it was asked to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        if timeout is None:
            raise AssertionError("everybody waits for something that cannot come")
        # A little more than asked, else rounding leaves the loop short of what is due, for ever.
        self.now += timeout + 1e-9
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._jumping.now


def virtually(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` on virtual time and return its result."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main())


def now() -> float:
    """Return the running loop's time since the start of the test."""
    return asyncio.get_running_loop().time() - START
