"""One plan played to its end: a world, a controller that fails as the plan says, quiet, and the verdict.

The controller is the real one, from :class:`isthmus.app.controller.Controller` down to the queues; only the three edges are
simulated. When it dies it is started again, as a supervisor would. When nothing happens any more, everything must come right
within :data:`PATIENCE` virtual seconds; then nobody writes for a while, and a restart writes nothing either.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections import Counter, deque
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path

from faults import netscaler, virtual
from faults.api import Json, Key
from faults.disk import Disk, Reader, fresh
from faults.election import Contender
from faults.gateway import Gateway, SeamDriver
from faults.judge import Judge
from faults.nitro import SimWire
from faults.outside import Outside
from faults.seam import PROCESS, Fault, Process, Seam, factory
from faults.transport import SimClient
from faults.virtual import CLOCK
from isthmus.app import clusters as clusters_module
from isthmus.app import controller as controller_module
from isthmus.app.controller import Controller
from isthmus.app.drivers import DRIVERS, DriverFactory, Wiring
from isthmus.app.tenure import Alone
from isthmus.drivers.netscaler import driver as _driver  # noqa: F401 - on the plan's clock before it is used
from isthmus.drivers.netscaler.nitro import client as client_module
from isthmus.errors import IsthmusError

PATIENCE = 900.0
"""Seconds of quiet after which everything must have come right: the slowest cure is the resync, after 300."""
PROMPT = 150.0
"""The same where nothing struck that only the resync cures: a device that said no, a clock that was wrong."""
_SLOW = ("refused", "item-refused", "disk-full", "clock-ahead", "clock-behind")
STILL = 15.0
"""Seconds for which nobody may write once all is well."""
_GRACE = 6.0
"""Seconds until time itself changes nothing more: the nodes' grace period."""
_STATUS_EVERY = 5.0


@dataclass(frozen=True)
class Plan:
    """What one run is made of: a value, so that it can be played again."""

    seed: int
    path: str
    faults: tuple[Fault, ...] = ()
    steps: int = 8
    rivals: bool = False
    """Whether two controllers contend for the Lease."""
    device: str = "memory"
    """The driver at the edge: ``memory``, or ``netscaler`` with its client and the lab's appliance behind it."""

    def __str__(self) -> str:
        faults = ",".join(map(str, self.faults))
        more = (", rivals" if self.rivals else "") + (f", {self.device}" if self.device != "memory" else "")
        return f'seed {self.seed}, path {self.path}{more}, faults "{faults}"'


@dataclass
class Verdict:
    """How a run ended. ``wrongs`` must be empty."""

    plan: Plan
    wrongs: list[str] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)
    points: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    seconds: float = 0.0
    cured: float = 0.0
    lives: int = 0
    writes: int = 0
    refused: int = 0

    @property
    def good(self) -> bool:
        """Say whether every law held."""
        return not self.wrongs


def play(plan: Plan, tell: Callable[[str], None] = lambda line: None, *, record: bool = False) -> Verdict:
    """Play ``plan`` and return how it went; ``tell`` gets the story line by line."""
    return played(plan.seed, lambda: Run(plan, tell, record=record))


def played(seed: int, make: Callable[[], Run]) -> Verdict:
    """Play what ``make`` returns to its end, on time of its own."""
    virtual.install()
    netscaler.install()
    random.seed(seed)
    with asyncio.Runner(loop_factory=virtual.PlanLoop) as runner:
        loop = runner.get_loop()
        CLOCK.loop, CLOCK.skew = loop, 0.0
        loop.set_task_factory(factory)
        loop.set_exception_handler(lambda _, context: None)
        return runner.run(make().run())


class Run:
    """The play itself."""

    def __init__(self, plan: Plan, tell: Callable[[str], None], *, record: bool) -> None:
        self.plan = plan
        self.verdict = Verdict(plan)
        self._tell = tell
        self.judge = Judge(self._say)
        self.seam = Seam(plan.faults, random.Random(f"latency {plan.seed}"), self._say)
        self.seam.record = record
        self.outside = Outside(plan.path, random.Random(f"life {plan.seed}"), self.judge, self._say, plan.device)
        self.judge.outside = self.outside
        self.outside.api.on_write.append(self._written)
        self._stop = asyncio.Event()
        self._last: deque[str] = deque(maxlen=5)
        self._running: dict[str, tuple[Process, Controller]] = {}
        self._processes: dict[int, Process] = {}

    def _written(self, kind: str, key: Key, before: Json | None, after: Json | None) -> None:
        if kind in ("leases", "events"):
            return
        self._last.append(f"{kind} {'/'.join(key)}")
        self.outside.note()
        self.judge.written(kind, key, before, after)

    def _say(self, line: str) -> None:
        self._tell(f"{CLOCK.monotonic() - 1000:9.3f}  {line}")

    async def run(self) -> Verdict:
        self.outside.populate()
        life = asyncio.create_task(self.outside.live(self.plan.steps))
        lives = [asyncio.create_task(self._live_on(slot)) for slot in range(2 if self.plan.rivals else 1)]
        try:
            await life
            self._say("world  is quiet from now on")
            await asyncio.sleep(_GRACE)
            await self.story()
        except _Hopeless as end:
            self.judge.wrong(str(end))
        finally:
            self.seam.forget()
            self._stop.set()
            for one in lives:
                one.cancel()
            await asyncio.gather(*lives, life, return_exceptions=True)
        verdict = self.verdict
        verdict.wrongs = self.judge.wrongs
        verdict.struck, verdict.points = self.seam.struck, self.seam.names
        verdict.seconds = CLOCK.monotonic() - 1000
        verdict.writes, verdict.refused = self.judge.writes, self.outside.edge.refused
        return verdict

    async def story(self) -> None:
        """Play what comes when the life of nodes and Services is over: all comes right, and stays so."""
        await self.until_well()
        await self._still("in quiet")
        await self._restart()
        await self._still("after a restart")

    # --- the controller's lives ---------------------------------------------------------------------------------

    async def _live_on(self, slot: int) -> None:
        """Start the controller, and again whenever it has died."""
        while True:
            self.verdict.lives += 1
            process = Process(f"c{self.verdict.lives}", epoch=self.verdict.lives)
            self._processes[slot] = process
            self._say(f"{process.name:6} starts")
            context = copy_context()
            task = context.run(self._begin, process)
            died = asyncio.create_task(process.died.wait())
            try:
                await asyncio.wait({task, died}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                process.die()
                died.cancel()
                await process.buried()
                self._running.pop(process.name, None)
            self._look_at_end(process, task)
            await asyncio.sleep(self.seam.source.choice((0.05, 1.0, 4.0)))

    def _begin(self, process: Process) -> asyncio.Task[None]:
        PROCESS.set(process)
        return asyncio.get_running_loop().create_task(self._controlled(process))

    async def _controlled(self, process: Process) -> None:
        turn, own = Alone(process.epoch), None
        if self.plan.rivals:
            own = fresh()  # as a pod has: what was applied is not kept over a restart
            turn = Contender(SimClient(self.outside.api, self.seam), process.name)
            await turn.win()
            process.epoch = turn.epoch
            self._say(f"{process.name:6} leads, epoch {turn.epoch}")
        state = Disk(self.outside.connection, self.seam, self._remembered, own, turn.leads)
        clusters_module.client = lambda kind, may_write: SimClient(self.outside.api, self.seam, may_write)
        controller_module._TELL = _STATUS_EVERY
        controller = Controller(
            Path("/configuration"),
            state,
            drivers=self._drivers(process, lambda: turn.epoch),
            turn=turn,
        )
        assert controller.registry is not None, "it has files"
        controller.registry._reader = Reader(self.outside.files, self.seam)  # type: ignore[assignment]
        self._running[process.name] = (process, controller)
        await controller.run()

    def _drivers(self, process: Process, turn: Callable[[], int]) -> dict[str, DriverFactory]:
        """Return the way to the device at the edge, for one life."""
        edge = self.outside.edge

        def epoch() -> int:
            process.epoch = max(process.epoch, turn())
            return turn()

        if isinstance(edge, Gateway):
            return {"memory": lambda kind, wiring: SeamDriver(edge, self.seam, epoch)}
        client_module.Wire = lambda *_, **__: SimWire(edge, self.seam, process)  # type: ignore[assignment,misc]
        return {"netscaler": lambda kind, wiring: DRIVERS["netscaler"](kind, Wiring(epoch))}

    def _remembered(self, work: str, first: object) -> None:
        """Take the news that the controller's memory changed."""
        name = str(getattr(first, "name", first))
        if work == "remove_claim":
            self.judge.release(name)
        self.outside.note(memory=True)
        if work == "insert_claim":
            self.judge.claim(name)

    def _look_at_end(self, process: Process, task: asyncio.Task[None]) -> None:
        error = task.exception() if task.done() and not task.cancelled() else None
        if error is None:
            self._say(f"{process.name:6} ends")
        elif isinstance(error, IsthmusError):
            self._say(f"{process.name:6} ends: {error}")
        else:
            text = "".join(traceback.format_exception(error))
            self.judge.wrong(f"{process.name} crashed by itself: {text}")

    # --- the end ------------------------------------------------------------------------------------------------

    async def until_well(self) -> None:
        """Wait until all is as it should be; it must not take too long."""
        began = CLOCK.monotonic()
        amiss = ["nothing was looked at yet"]
        while CLOCK.monotonic() - began < PATIENCE:
            await asyncio.sleep(1.0)
            if CLOCK.monotonic() - began > 60:
                self.seam.forget()  # trouble ends some day; what is asked is that nothing of it stays
            if self.judge.wrongs:
                return
            amiss = self.judge.amiss() or self._unsettled()
            if not amiss:
                self.verdict.cured = CLOCK.monotonic() - began
                self._say("world  all is well")
                slow = [kind for kind in self.seam.struck if kind.endswith(_SLOW)]
                if self.verdict.cured > PROMPT and not slow:
                    self.judge.wrong(
                        f"well only after {self.verdict.cured:.0f} s, and nothing struck that takes so long"
                    )
                return
        raise _Hopeless(f"not well after {PATIENCE:.0f} s: " + "; ".join(amiss))

    def _unsettled(self) -> list[str]:
        """Return what is still under way, so that nothing that looks well can be called so."""
        for process in self._processes.values():
            if not process.dead and not process.awake.is_set():
                return [f"{process.name} is stopped"]
        if len([process for process, _ in self._running.values() if not process.dead]) != 1:
            return ["not one alone is at work"]
        return ["a request hangs"] if self.seam.waiting else []

    async def _still(self, when: str) -> None:
        """See that nobody writes any more, and that all stays well."""
        self.seam.forget()
        await asyncio.sleep(5.0)
        before = self.judge.writes, self.outside.api.writes
        await asyncio.sleep(STILL)
        after = self.judge.writes, self.outside.api.writes
        if after != before:
            self.judge.wrong(
                f"{when} there are {after[0] - before[0]} writes to the gateway, {after[1] - before[1]} to the API"
            )
        if amiss := self.judge.amiss():
            self.judge.wrong(f"{when} it is not well any more: " + "; ".join(amiss))

    async def _restart(self) -> None:
        if self.judge.wrongs:
            return
        before = self.judge.writes, self.outside.api.writes
        self._say("world  the controller is restarted")
        before_it = list(self._running)
        for _, controller in self._running.values():
            controller.stop()
        for _ in range(60):
            await asyncio.sleep(1.0)
            if self._running and list(self._running) != before_it:
                break
        else:
            self.judge.wrong("nobody takes over after a controller has stopped")
        await asyncio.sleep(3.0)
        after = self.judge.writes, self.outside.api.writes
        if after != before:
            self.judge.wrong(
                f"a restart in sync makes {after[0] - before[0]} writes to the gateway, {after[1] - before[1]} to the API; "
                f"the last that were written: {', '.join(self._last)}"
            )


class _Hopeless(Exception):
    """It did not come right."""
