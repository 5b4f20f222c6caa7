"""Carries what a state directory remembers over into a home cluster, for who begins to use one.

Claims, paths and addresses were kept on this machine while the objects came from files alone. In the home cluster nobody
knows of them yet, and forgetting them would move addresses and paths that are in use. What the home cluster knows already
stands; what was carried over is taken out of the state directory, so that it can never come back old.

The one confusing thing: nothing here runs twice for one claim, and nothing is lost if it stops half-way. What is still in the
state directory is still to be carried over.
"""

from __future__ import annotations

from isthmus.app.home.home import Home
from isthmus.app.memory import StateMemory, claimed
from isthmus.errors import IsthmusError
from isthmus.loop.duties.service import Taken
from isthmus.registry.state import StateDirectory
from isthmus.telemetry import get_logger

__all__ = ["move_in"]


async def move_in(state: StateDirectory, home: Home) -> None:
    """Carry over what ``state`` remembers and ``home`` (which has been read) does not; a failure is logged, and tried anew
    by the next start."""
    log = get_logger("app")
    moved = 0
    try:
        memory, links = StateMemory(state), set()
        for link, choice in (await memory.choices()).items():
            links.add(link)
            if link not in await home.memory.choices():
                await home.memory.keep_choice(link, choice)
            await state.choose(link, None)
        links |= {name for kind, name in home.registry.origin().objects if kind == "ClusterLink"}
        for link in sorted(links):
            given = await memory.addresses(link)
            known = await home.memory.addresses(link)
            new = {device: own for device, own in given.items() if device not in known}
            if new:
                await home.memory.keep_addresses(link, new)
            await state.assign(f"overlay/{link}", dict.fromkeys(given))
        for claim in await state.claims():
            vip = claimed(claim)
            try:
                await home.claims.create(vip)
                moved += 1
            except Taken as taken:
                if taken.vip.spec.holder != vip.spec.holder:
                    log.warning("a remembered claim is another's in the home cluster", address=vip.name)
            await state.delete_claim(vip.name, vip.spec.holder)
    except IsthmusError as error:
        log.warning("not everything that is remembered was carried over", error=str(error))
    if moved:
        log.info("claims carried over from the state directory to the home cluster", claims=moved)
