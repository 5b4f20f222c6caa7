"""The controller's process: the user's objects on one side, clusters and devices on the other, and the memory between runs.

It owns no decision. A change anywhere (a file, a watch, a device) becomes scopes and keys on queues; everything is looked at
again from the present state, never from what happened.

The one confusing thing: with a home cluster there are two reasons to hold still. Until that cluster has been read for the
first time, nothing is known and nothing is changed (a gateway that boots only puts back what it had). Once it has been read,
losing sight of it holds nothing up but new addresses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from isthmus.app.acceptance import Acceptance, acceptances
from isthmus.app.adopting import Orders
from isthmus.app.device_places import DevicePlaces
from isthmus.app.drivers import DRIVERS, UNFENCED, DriverFactory, Wiring
from isthmus.app.fleet import Fleet
from isthmus.app.health import ControllerHealth
from isthmus.app.home.home import Home
from isthmus.app.home.moving import move_in
from isthmus.app.home.recollection import Recollection
from isthmus.app.joining import Joining
from isthmus.app.keeping import memories, reaching
from isthmus.app.keeping_up import kept_up
from isthmus.app.memory import NoMemory, StateMemory
from isthmus.app.older import Older
from isthmus.app.origins import Configuration, Origin, beside, combined, files_origin
from isthmus.app.probing import Probing
from isthmus.app.sharing import Sharing
from isthmus.app.status_round import StatusRound
from isthmus.app.taking import WrittenClaims, known, take_kinds
from isthmus.app.tenure import Alone
from isthmus.core.allocate import Allocator
from isthmus.core.world import Holder, World
from isthmus.errors import IsthmusError
from isthmus.model.kinds import Key, VirtualIP
from isthmus.model.plan import Scope
from isthmus.registry.state import StateDirectory
from isthmus.registry.watch import Changes, FileRegistry
from isthmus.telemetry import get_logger

_AGAIN = 2.0
"""Seconds until what could not be done (a kubeconfig that is not there, an address not kept) is tried again."""
_SOON = 0.2
"""Seconds until what keeps a new leader from beginning is tried again."""
_TELL = 0.5
"""Seconds between two looks at how everything stands."""


class Controller:
    """Runs until :meth:`stop`. Objects come from ``config``, from ``home`` or from both; ``state`` is open."""

    def __init__(
        self,
        config: Path | None,
        state: StateDirectory | None,
        *,
        home: Home | None = None,
        allow_deletes: bool = False,
        drivers: Mapping[str, DriverFactory] = DRIVERS,
        wiring: Wiring = UNFENCED,
        turn: Alone | None = None,
        older: Older | None = None,
    ) -> None:
        """``turn`` says when this process may write; without one it always may, for it is alone.

        ``older`` are the objects that the environment says, as for the older systems.
        """
        self.turn = turn or Alone()
        self.turn.resumed = self._look_at_everything
        self.world = World()
        self.registry = FileRegistry(config, set(drivers)) if config is not None else None
        self.home = home
        self.older = older
        self._log = get_logger("app")
        self._memory, self._claims = memories(state, home)
        self._state = state
        self.fleet = Fleet(
            self.world,
            StateMemory(state) if state is not None else NoMemory(),
            passed=self._passed,
            moved=self._moved,
            allow_deletes=allow_deletes,
            drivers=drivers,
            wiring=reaching(wiring, state, home),
            crashed=self._crashed,
            tenure=self.turn.of,
            blind=self.turn.blind,
            contended=self.turn.contended,
        )
        if isinstance(self.turn, Sharing):
            self.turn.join(
                devices=lambda: self.world.devices.keys(),
                busy=self.fleet.is_writing,
                moved=lambda device: self.fleet.look_at_everything([device]),
            )
        self._allocator = Allocator(self.world)
        self._joining = Joining(
            self.world,
            self.fleet,
            self._allocator,
            self._claims,
            self._memory,
            crashed=self._crashed,
            turn=self.turn,
        )
        self.probing = Probing(self.world, self.fleet)
        self._tasks: list[asyncio.Task[object]] = []
        self.health = ControllerHealth(
            self.world,
            self.fleet,
            self._joining,
            self.probing,
            home,
            tasks=lambda: self._tasks,
            problems=lambda: len(self._problems),
            leads=self.turn.holds,
        )
        self._written = WrittenClaims(self.world, kept_elsewhere=self._at_home)
        self._places = DevicePlaces(self.world, self._memory, may_write=self.turn.holds)
        self._recollection = Recollection(state) if state is not None and home is not None else None
        self._stopping = asyncio.Event()
        self._heard = asyncio.Event()
        self._news: set[Key] = set()
        self._crash: asyncio.Future[None] | None = None
        self._remembers = home is None
        self._problems: tuple[str, ...] = ()
        self._accepted: dict[Key, Acceptance] = {}
        self._configuration = Configuration(combined(Origin(), Origin()).snapshot)
        if older is not None:
            older.join(self.world, self.fleet, self.turn, lambda: self._hear({("Controller", "controller")}))

    def stop(self) -> None:
        """Ask for a graceful end: changes under way finish, state is kept, devices keep what they have."""
        self._stopping.set()

    async def run(self) -> bool:
        """Work until stopped, or until another controller has taken over; say whether it was the latter."""
        self._crash = asyncio.get_running_loop().create_future()
        async with AsyncExitStack() as stack:
            follow: list[Changes] = []
            if self.home is not None:
                follow.append(await self._join_home(stack, self.home))
            if self.registry is not None:
                await stack.enter_async_context(self.registry)
                follow.append(self.registry.changes())
            statuses = StatusRound(
                self.world, self.fleet, self._joining, self.probing, self._state, self.home, self.turn
            )
            self._log.info("controller started")
            await self._remember()
            await statuses.remember()
            await self._configure()
            works: list[Coroutine[Any, Any, object]] = [
                self._stopping.wait(),
                self.turn.lost.wait(),
                kept_up("following the configuration", self._keep_configured),
                kept_up("telling how everything stands", lambda: self._tell(statuses)),
                self._probe(),
                *map(self._follow, follow),
            ]
            if self._state is not None:
                works.append(Orders(self.world, self._state.path, self.fleet.look_at_everything).run())
            if self.older is not None:
                works.append(self.older.run())
            if self.home is not None:
                home = self.home
                works += [home.run(), kept_up("taking over", lambda: self._when_home_is_read(home))]
            tasks = [asyncio.create_task(work, name=getattr(work, "__name__", "")) for work in works]
            contending = asyncio.create_task(self.turn.run(), name="contending for the lease")
            self._tasks = [*tasks, contending]
            try:
                ends: list[asyncio.Future[Any]] = [*tasks, contending, self._crash]
                done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for ended in done:
                    ended.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._joining.stop()
                await self.fleet.stop()
                # Last, and held until now: whoever takes over finds nothing of ours under way.
                contending.cancel()
                await asyncio.gather(contending, return_exceptions=True)
                await self.turn.release()
                await self._say_status(statuses, running=False)
                self._log.info("controller stopped")
        return self.turn.lost.is_set() and not self._stopping.is_set()

    async def _join_home(self, stack: AsyncExitStack, home: Home) -> Changes:
        await stack.enter_async_context(home)
        home.join(self.world, self.fleet, touch=self._touch, look=self._look_at_service)
        home.forgotten = self._forget_link
        if self._recollection is not None:
            home.registry.seed(await self._recollection.read())
        else:
            self._log.info(
                "no state directory: what is applied is not kept, so a reboot needs the home cluster to serve"
            )
        self.world.config_doubt = "the home cluster has not been read yet"
        return home.registry.changes()

    async def _remember(self) -> None:
        if self.home is None and self._state is not None:
            for claim in await self._state.held():
                self.world.put_vip(claim.name, claim)
        if self.home is None:
            self.world.choices.update(await self._memory.choices())

    async def _when_home_is_read(self, home: Home) -> None:
        await home.ready.wait()
        if self.turn.contended:
            await self._stand_by(home)
        if self._state is not None:
            await move_in(self._state, home)
        await self._joining.recognise()
        await self._take_memory()
        self.turn.open()
        self._look_at_everything()
        await self._stopping.wait()

    async def _stand_by(self, home: Home) -> None:
        """Follow what the writer remembers until it is our turn, and then read it once more."""
        await self._take_memory()
        while True:
            try:
                async with asyncio.timeout(_AGAIN):
                    await self.turn.won.wait()
            except TimeoutError:
                pass
            try:
                if await home.memory.read():
                    await self._take_memory()
            except IsthmusError as error:
                if self.turn.won.is_set():
                    self._log.error("the memory cannot be read, so nothing is decided", error=str(error))
                    await asyncio.sleep(_SOON)
                continue
            if self.turn.won.is_set():
                return

    async def _take_memory(self) -> None:
        """Decide by what is remembered now, and by nothing that was known before."""
        choices = await self._memory.choices()
        self.world.choices.clear()
        self.world.choices.update(choices)
        await self._places.take()
        self._remembers = True  # only now: who knows no choices takes annotations for leftovers
        self.turn.prepared()
        self._hear(self._configuration.snapshot.objects.keys() | {("Controller", "controller")})

    async def _probe(self) -> None:
        await self.turn.opened.wait()
        await self.probing.run()

    # --- the user's kinds ---------------------------------------------------------------------------------------

    async def _follow(self, changes: Changes) -> None:
        async for keys in changes:
            self._hear(keys)
        await self._stopping.wait()

    def _hear(self, keys: Collection[Key]) -> None:
        """Have the configuration looked at again; without keys only its problems have changed."""
        self._news.update(keys)
        self._heard.set()

    async def _keep_configured(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_AGAIN if self._places.waiting or self._joining.unjoined else None):
                    await self._heard.wait()
            except TimeoutError:
                await self._try_again()
                continue
            self._heard.clear()
            news, self._news = self._news, set()
            if news:
                await self._configure()
            else:
                self._judge()

    def _judge(self) -> None:
        """Take what stands in both origins, and what is to be said of it."""
        files = files_origin(self.registry.snapshot()) if self.registry is not None else Origin()
        home = self.home.registry.origin() if self.home is not None else Origin()
        if self.older is not None:
            files = beside(files, self.older.origin())
        self._configuration = combined(files, home)
        if self.home is not None and self._remembers:
            self.home.count(self._configuration)
        self._say(self._configuration.snapshot.problems)
        self._accepted = acceptances(self._configuration, lambda key: known(self.world, key) is not None)

    async def _configure(self) -> None:
        """Take the objects as they are now."""
        self._judge()
        if take_kinds(self.world, self._configuration):
            self._allocator.forget()
        objects = self._configuration.snapshot.objects
        written = {
            kind.name: kind
            for key, kind in objects.items()
            if isinstance(kind, VirtualIP) and key in self._configuration.from_files
        }
        if self._written.take(written, self._touch):
            self._allocator.forget()
        if self._remembers:
            await self._places.assign()
            self.world.config_doubt = None
        await self.fleet.follow()
        if self.world.config_doubt is None:
            await self._joining.follow()
            if self._recollection is not None and self.home is not None:
                await self._recollection.keep(self.home.registry.origin().objects.values())
        self._look_at_everything()

    async def _try_again(self) -> None:
        before = set(self._places.waiting)
        await self._places.assign()
        await self._joining.follow()
        if before != self._places.waiting:
            self._look_at_everything()

    def _say(self, problems: Iterable[IsthmusError]) -> None:
        texts = tuple(str(problem) for problem in problems)
        for text in texts:
            if text not in self._problems:
                self._log.error("configuration", problem=text)
        if self._problems and not texts:
            self._log.info("configuration is good again")
        self._problems = texts

    # --- what devices, clusters and the home tell ---------------------------------------------------------------

    def _look_at_everything(self) -> None:
        self.fleet.look_at_everything()
        self._joining.look_at_everything()

    def _passed(self, device: str, scopes: Collection[Scope]) -> None:
        self._joining.passed(device, scopes)

    def _moved(self, device: str) -> None:
        self._joining.look_at_links_of(device)

    def _touch(self, scopes: Iterable[Scope]) -> None:
        self.fleet.touch(scopes)

    def _look_at_service(self, holder: Holder | None) -> None:
        """Have a Service decided anew; without one, all that wait for an address."""
        self._joining.look_at_service(holder)
        if holder is None and self._configuration.beaten:
            self._hear(self._configuration.beaten)  # a claim that kept a written one from counting may be gone

    def _at_home(self, name: str) -> bool:
        return self.home is not None and self.home.registry.get(("VirtualIP", name)) is not None

    def _forget_link(self, link: str) -> None:
        self.world.choices.pop(link, None)
        for key in [key for key in self.world.device_addresses if key[0] == link]:
            del self.world.device_addresses[key]

    def _crashed(self, error: BaseException) -> None:
        """End the process with ``error``: a worker that died silently would be a device or cluster nobody looks after."""
        if self._crash is not None and not self._crash.done():
            self._crash.set_exception(error)

    # --- what people see ----------------------------------------------------------------------------------------

    async def _tell(self, statuses: StatusRound) -> None:
        clock, pause = asyncio.get_running_loop().time, _TELL
        while True:
            await asyncio.sleep(pause)
            began = clock()
            await self._say_status(statuses)
            # Ten thousand objects take a moment to describe; describing them never takes more than a twentieth of the time.
            pause = max(_TELL, 20 * (clock() - began))

    async def _say_status(self, statuses: StatusRound, *, running: bool = True) -> None:
        await statuses.say(self._problems, self._accepted, running=running)
