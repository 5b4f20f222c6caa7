"""Which controllers are there, for the log alone: one line when one comes, goes, or is too old to write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from isthmus.telemetry import get_logger

__all__ = ["Sessions"]


class Sessions:
    """Counts what each client listens to; the first makes it connected, the last disconnected."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self._fenced: dict[str, int] = {}
        self._log = get_logger("agent")

    @contextmanager
    def one(self, name: str, address: str) -> Iterator[None]:
        """Count a client as there for as long as the ``with`` lasts."""
        if not self._open.get(name):
            self._log.info("controller connected", client=name, address=address)
        self._open[name] = self._open.get(name, 0) + 1
        try:
            yield
        finally:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]
                self._log.info("controller disconnected", client=name, address=address)

    def __len__(self) -> int:
        """Return how many clients listen."""
        return len(self._open)

    def fenced(self, name: str, epoch: int) -> None:
        """Say that a client writes with an older epoch than ``epoch``; once for each."""
        if self._fenced.get(name) != epoch:
            self._fenced[name] = epoch
            self._log.warning("controller fenced: a newer one has taken over", client=name, epoch=epoch)
