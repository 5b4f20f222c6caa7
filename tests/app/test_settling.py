"""A controller settles once everything has been read and written, and not while it still writes."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest

from isthmus.app import settling


async def test_it_settles_when_nothing_moves_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[int] = []
    status = SimpleNamespace(passes=1, error="", writes=0)
    health: Any = SimpleNamespace(unseen=list)
    fleet: Any = SimpleNamespace(workers={"gw1": SimpleNamespace(status=status)})
    monkeypatch.setattr(settling, "_LOOK", 0.01)
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(status.writes))

    async def write() -> None:
        for _ in range(30):
            status.writes += 1
            await asyncio.sleep(0.002)

    await asyncio.gather(write(), settling.settle(health, fleet))
    assert frozen == [30], "after the last write"
