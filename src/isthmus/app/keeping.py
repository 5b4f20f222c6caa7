"""Where a controller keeps what it must not forget: in its state directory, or in its home cluster.

Claims and the small memory are in the home cluster where there is one; credentials of devices are always on this machine.
"""

from __future__ import annotations

from dataclasses import replace

from isthmus.app.drivers import Wiring
from isthmus.app.home.home import Home
from isthmus.app.memory import SmallMemory, StateMemory
from isthmus.errors import InputError
from isthmus.loop.duties.service import Claims
from isthmus.registry.state import GATEWAYS, StateDirectory

__all__ = ["memories", "reaching"]


def reaching(wiring: Wiring, state: StateDirectory | None, home: Home | None) -> Wiring:
    """Return ``wiring`` with the places of credentials that go with state directory and home, unless it names them."""
    if wiring.home is None and home is not None:
        wiring = replace(wiring, home=home.client.connection)
    if wiring.directory is not None or state is None:
        return wiring
    return replace(wiring, directory=state.path / GATEWAYS)


def memories(state: StateDirectory | None, home: Home | None) -> tuple[SmallMemory, Claims]:
    """Return where choices and claims are kept; raise ``InputError`` where there is no such place."""
    if home is not None:
        return home.memory, home.claims
    if state is None:
        raise InputError("controller", "has nowhere to keep claims", "name a state directory or a home cluster")
    memory = StateMemory(state)
    return memory, memory
