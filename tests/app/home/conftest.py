"""A home cluster for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from isthmus.app import controller, status_round
from isthmus.app.home import home as home_module

from .rig import Place, place


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often than a real controller does; how long things wait for one another stays as it is."""
    monkeypatch.setattr(controller, "_TELL", 0.05)
    monkeypatch.setattr(status_round, "_CALM", 0.3)
    monkeypatch.setattr(home_module, "_LOOK", 0.05)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path) as made:
        yield made
