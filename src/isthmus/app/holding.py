"""Being the only one who writes, for the length of one command: the state directory's lock, and what is kept behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from isthmus.app.drivers import Wiring, by_hand
from isthmus.app.memory import SmallMemory, StateMemory
from isthmus.app.sources import Sources
from isthmus.errors import InputError, StateLocked
from isthmus.loop.duties.service import Claims
from isthmus.loop.recorded import Memory
from isthmus.registry.state import StateDirectory

__all__ = ["Held", "hold"]


@dataclass(frozen=True, slots=True)
class Held:
    """What a command may write to while it is the only one: memory, claims, what was applied; and how drivers are wired."""

    memory: SmallMemory
    claims: Claims
    applied: Memory
    wiring: Wiring


@asynccontextmanager
async def hold(where: Sources) -> AsyncIterator[Held]:
    """Hold the state directory; raises StateLocked, with the way out, while a controller has it."""
    if where.home is not None:
        raise InputError(
            "apply",
            "does not write where a home cluster keeps the memory",
            "let the controller carry it out; `isthmus plan --home` shows what it will do",
        )
    assert where.state is not None, "without a home cluster there is a state directory"
    async with AsyncExitStack() as stack:
        try:
            state = await stack.enter_async_context(StateDirectory(where.state))
        except StateLocked as error:
            raise StateLocked(
                f"{error}. If that is a controller, it carries plans out by itself; to do it by hand, stop it first "
                "(systemctl stop isthmus-controller)"
            ) from error
        memory = StateMemory(state)
        yield Held(memory, memory, memory, by_hand(where.state))
