"""The seam: every request that the code under test makes to the outside goes through here, numbered, and some of them fail.

A *point* is one request: to the API, to the device, to the state directory, to the configuration. At a point a plan can let
the process die before the request is sent, after it took effect but before the reply is there, or with the reply in hand; it
can stop the process there for a while, set its clock wrong, lose the request or the reply, and do whatever else that point
offers (an expired version, a refusal, a reboot). The numbers are the same in every run of one plan up to its first fault.

The one confusing thing: a process that died must do nothing any more, also not in its ``finally`` blocks. Its tasks are
cancelled and every request of theirs ends as cancelled, without effect; the outside keeps what it had.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from faults.virtual import CLOCK

T = TypeVar("T")
Trouble = Mapping[str, Callable[[], Any]]

CRASHES = ("crash-before", "crash-sent", "crash-after")
PAUSES = ("pause-before", "pause-sent")
CLOCKS = ("clock-ahead", "clock-behind")
ANYWHERE = (*CRASHES, *PAUSES, *CLOCKS)
JUMP, JUMP_LASTS = 3600.0, 60.0
"""Seconds by which a wall clock that jumps is wrong, and for how long until somebody sets it right."""
PAUSE = 40.0
"""Seconds for which a stopped process is stopped: longer than a lease, a time-out and a retry."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong: a kind by name, or a number that picks one of those on offer.

    ``at`` is the number of a point, or a point's name and the how many-eth of that name: ``kube.list nodes#1``; of a
    name's first word, too: ``device.change#3``.
    """

    at: int | str
    kind: str | int

    def __str__(self) -> str:
        return f"{self.at}:{self.kind}"


@dataclass
class Process:
    """One life of the controller, as the outside sees it."""

    name: str
    dead: bool = False
    died: asyncio.Event = field(default_factory=asyncio.Event)
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    epoch: int = 0

    def __post_init__(self) -> None:
        self.awake.set()

    def die(self) -> None:
        """End here and now."""
        self.dead = True
        self.died.set()

    def stop(self, seconds: float) -> None:
        """Stand still for some time, as after SIGSTOP."""
        if self.awake.is_set():
            self.awake.clear()
            asyncio.get_running_loop().call_later(seconds, self.awake.set)

    async def buried(self) -> None:
        """Wait until nothing of it is left."""
        me = asyncio.current_task()
        for _ in range(200):
            living = [task for task in self.tasks if not task.done() and task is not me]
            if not living:
                return
            for task in living:
                task.cancel()
            await asyncio.sleep(0)
        raise AssertionError(f"{self.name} does not end: {living}")


PROCESS: ContextVar[Process] = ContextVar("process")


def factory(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    """Make a task, and have its process know of it."""
    task = asyncio.Task(work, loop=loop, **options)
    process = PROCESS.get(None)
    if process is not None:
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)
    return task


class Seam:
    """The points of one run. ``told`` gets a line of the story; ``quiet`` ends all faults."""

    def __init__(self, faults: tuple[Fault, ...], source: random.Random, tell: Callable[[str], None]) -> None:
        self.count = 0
        self.names: list[tuple[str, tuple[str, ...]]] = []
        self.struck: Counter[str] = Counter()
        self._faults = {fault.at: fault for fault in faults}
        self._named: Counter[str] = Counter()
        self._sorts: Counter[str] = Counter()
        self.source = source
        self.tell = tell
        self.record = False
        self.waiting = 0

    def forget(self) -> None:
        """Let nothing fail from here on."""
        self._faults.clear()

    def strike(self, name: str, offered: tuple[str, ...]) -> str:
        """Count one point and return the fault that strikes it, empty if none does."""
        number, self.count = self.count, self.count + 1
        if self.record:
            self.names.append((name, offered))
        turn = f"{name}#{self._named[name]}"
        self._named[name] += 1
        sort = name.split()[0]
        any_such = f"{sort}#{self._sorts[sort]}"
        self._sorts[sort] += 1
        fault = self._faults.pop(number, None) or self._faults.pop(turn, None) or self._faults.pop(any_such, None)
        if fault is None:
            return ""
        if isinstance(fault.kind, int):
            kind = offered[fault.kind % len(offered)]
        else:
            kind = fault.kind if fault.kind in offered else offered[0]
        self.struck[f"{name.split()[0]} {kind}"] += 1
        self.tell(f"FAULT  {kind} at point {number}: {name}")
        if kind in CLOCKS:
            self._jump(JUMP if kind == "clock-ahead" else -JUMP)
        return kind

    def _jump(self, seconds: float) -> None:
        """Set the wall clock wrong, and right again some time later."""
        CLOCK.skew += seconds

        def back() -> None:
            CLOCK.skew -= seconds

        self.later(JUMP_LASTS, back)

    async def call(self, name: str, effect: Callable[[], T], trouble: Trouble, *, pauses: bool = True) -> T:
        """Make one request: ``effect`` happens outside, then the reply is on its way back.

        Without ``pauses`` a process is not stopped here.
        """
        process = PROCESS.get()
        await self._turn(process)
        kind = self.strike(name, (*(ANYWHERE if pauses else (*CRASHES, *CLOCKS)), *trouble))
        if kind == "crash-before":
            await self._die(process)
        if kind == "pause-before":
            process.stop(PAUSE)
            await self._turn(process)
        await asyncio.sleep(self.source.random() * 0.004)
        await self._turn(process)
        result = trouble[kind]() if kind in trouble else effect()
        if kind == "crash-sent":
            await self._die(process)
        if kind == "pause-sent":
            process.stop(PAUSE)
        await asyncio.sleep(self.source.random() * 0.004)
        await self._turn(process)
        if kind == "crash-after":
            asyncio.get_running_loop().call_soon(process.die)
        return result

    async def _turn(self, process: Process) -> None:
        if process.dead:
            raise asyncio.CancelledError
        if not process.awake.is_set():
            await process.awake.wait()
            if process.dead:
                raise asyncio.CancelledError

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Have ``act`` happen outside in some time; until then it is not quiet."""
        self.waiting += 1

        def then() -> None:
            self.waiting -= 1
            act()

        asyncio.get_running_loop().call_later(seconds, then)

    async def late(self, seconds: float) -> None:
        """Have a reply, or the want of one, take its time."""
        self.waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.waiting -= 1

    async def die(self, process: Process) -> None:
        """End ``process`` in the middle of what it does."""
        await self._die(process)

    async def _die(self, process: Process) -> None:
        process.die()
        await asyncio.Event().wait()
