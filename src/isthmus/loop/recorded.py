"""What was applied to a device, kept over a restart: by whom does not matter to the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from isthmus.model.plan import Scope
from isthmus.model.resources import AnyResource

__all__ = ["Memory", "Record", "Recorded"]

Record: TypeAlias = tuple[AnyResource, tuple[Scope, ...]]
"""A resource as it stood, with the scopes that wanted it."""

Recorded: TypeAlias = Sequence[Record]


class Memory(Protocol):
    """Where the last applied state is kept over a restart."""

    async def load(self, device: str) -> Recorded: ...
    async def save(self, device: str, records: Mapping[str, Record | None], *, whole: bool = False) -> None:
        """Write down what ``records`` say by identity (none: nothing any more); if ``whole``, nothing else stays."""
