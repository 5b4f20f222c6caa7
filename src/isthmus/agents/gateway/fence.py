"""Who may write: the highest epoch that was ever seen, on disk before it counts.

A controller's epoch rises with every take-over. Once a higher one was here, nothing of a lower one is written any more, not
even the rest of what it is in the middle of. The one confusing thing: admitting and writing are two steps. A higher epoch is
admitted at once, while a batch of the lower may still be under way; it then waits for that batch, and the lower one finds
at its next that it is over.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from isthmus.drivers.linux.remote.private_files import read_small, write_private
from isthmus.errors import StateError

__all__ = ["Fence", "StaleEpoch"]


class StaleEpoch(Exception):
    """A writer with an older epoch than ``highest``."""

    def __init__(self, epoch: int, highest: int) -> None:
        self.epoch = epoch
        self.highest = highest
        super().__init__(f"a controller with epoch {highest} has taken over, yours is {epoch}")


class _Kept(msgspec.Struct, frozen=True):
    epoch: int


class Fence:
    """The epoch in ``path``; constructing it blocks on a small file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()
        raw = read_small(path)
        try:
            self.highest = 0 if raw is None else msgspec.json.decode(raw, type=_Kept).epoch
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            # Guessing an epoch would let an old controller write; a person can see which one is right.
            raise StateError(
                f"{path} is damaged: {error}; see that only one controller runs, then `isthmus agent gateway reset-epoch`"
            ) from error

    async def admit(self, epoch: int) -> None:
        """Let the writer with ``epoch`` in; raise ``StaleEpoch``, or ``StateError`` if a new one cannot be kept."""
        async with self._lock:
            if epoch > self.highest:
                await asyncio.to_thread(write_private, self._path, msgspec.json.encode(_Kept(epoch)))
                self.highest = epoch
            self.check(epoch)

    def check(self, epoch: int) -> None:
        """Raise ``StaleEpoch`` if a higher epoch was admitted meanwhile."""
        if epoch != self.highest:
            raise StaleEpoch(epoch, self.highest)

    @staticmethod
    def reset(path: Path) -> None:
        """Forget the epoch. Blocks."""
        write_private(path, msgspec.json.encode(_Kept(0)))
