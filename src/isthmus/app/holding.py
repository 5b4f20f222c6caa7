"""Being the only one who writes, for the length of one command: the state directory's lock, or the home cluster's Lease.

It is the controller's own turn that is taken, by the same means. So a controller that runs keeps the command out, and one
that is started meanwhile waits until the command is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from isthmus.app.drivers import DRIVERS, Wiring, looking
from isthmus.app.home.claims import HomeClaims
from isthmus.app.home.memory import HomeMemory
from isthmus.app.home.registry import HomeRegistry
from isthmus.app.memory import NoMemory, SmallMemory, StateMemory
from isthmus.app.sources import Sources
from isthmus.app.tenure import Elected, next_epoch
from isthmus.core.election import PROFILES
from isthmus.errors import InputError, StateLocked
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.loop.duties.service import Claims
from isthmus.loop.recorded import Memory
from isthmus.registry.state import StateDirectory

__all__ = ["Held", "hold"]

_TERMS = PROFILES["default"]
_PATIENCE = _TERMS.duration + 3 * _TERMS.retry
"""Seconds after which the Lease would have been ours if nobody renewed it."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a command may write to while it is the only one: memory, claims, what was applied; and how drivers are wired.

    ``may_write`` says whether it still is the only one.
    """

    memory: SmallMemory
    claims: Claims
    applied: Memory
    wiring: Wiring
    may_write: Callable[[], bool]


@asynccontextmanager
async def hold(where: Sources) -> AsyncIterator[Held]:
    """Take the turn to write; raises StateLocked, with the way out, while a controller has it."""
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(_state(where)) if where.state is not None else None
        directory = looking(where.state).directory
        if where.home is None:
            assert state is not None, "without a home cluster there is a state directory"
            memory, epoch = StateMemory(state), await next_epoch(state)
            yield Held(memory, memory, memory, Wiring(lambda: epoch, directory), lambda: True)
            return
        turn = await stack.enter_async_context(_turn(where.home, where.namespace))
        client = await stack.enter_async_context(KubeClient(where.home))
        kept = HomeMemory(client, where.namespace)
        await kept.read()
        claims = HomeClaims(client, HomeRegistry(client, set(DRIVERS)))
        applied: Memory = StateMemory(state) if state is not None else NoMemory()
        yield Held(kept, claims, applied, Wiring(lambda: turn.epoch, directory, where.home), turn.leads)


@asynccontextmanager
async def _state(where: Sources) -> AsyncIterator[StateDirectory]:
    assert where.state is not None, "asked only where there is one"
    async with AsyncExitStack() as stack:
        try:
            state = await stack.enter_async_context(StateDirectory(where.state))
        except StateLocked as error:
            raise StateLocked(
                f"{error}. If that is a controller, it carries plans out by itself; to do it by hand, stop it first "
                "(systemctl stop isthmus-controller)"
            ) from error
        yield state


@asynccontextmanager
async def _turn(home: Connection, namespace: str) -> AsyncIterator[Elected]:
    turn = Elected(home, namespace, _TERMS)
    contending = asyncio.create_task(turn.run())
    try:
        try:
            async with asyncio.timeout(_PATIENCE):
                await turn.won.wait()
        except TimeoutError:
            told = turn.told()
            if told["leader"]:
                raise StateLocked(
                    f"controller {told['leader']} leads, and carries plans out by itself; to do it by hand, stop all "
                    "controllers of this installation first"
                ) from None
            raise InputError("the Lease of the home cluster", f"cannot be had: {told['lease']}") from None
        yield turn
    finally:
        contending.cancel()
        await asyncio.gather(contending, return_exceptions=True)
        await turn.release()
