"""What was applied to a device, kept over a restart: by whom does not matter to the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from isthmus.model.plan import Scope
from isthmus.model.resources import AnyResource

__all__ = ["Memory", "Recorded"]

Recorded: TypeAlias = Sequence[tuple[AnyResource, tuple[Scope, ...]]]
"""Resources as they stood, with the scopes that wanted them."""


class Memory(Protocol):
    """Where the last applied state is kept over a restart."""

    async def load(self, device: str) -> Recorded: ...
    async def save(self, device: str, recorded: Recorded) -> None: ...
