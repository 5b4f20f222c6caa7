"""A home cluster for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from isthmus.app import controller, status_round
from isthmus.app.home import finalizers, registry, writing
from isthmus.app.home import home as home_module
from isthmus.kube import informer as informer_module
from realapi import RealApi

from .rig import FAST, Place, place, real_place


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look and write more often than a real controller does; a test that needs the real pace sets it."""
    monkeypatch.setattr(controller, "_TELL", 0.05)
    monkeypatch.setattr(informer_module, "Timing", lambda: FAST)  # of the joined cluster's; the home's is given
    monkeypatch.setattr(status_round, "_CALM", 0.3)
    monkeypatch.setattr(home_module, "_LOOK", 0.05)
    monkeypatch.setattr(registry, "_LOOK", 0.05)
    monkeypatch.setattr(finalizers, "_PAUSE", 0.1)
    monkeypatch.setattr(writing, "_PAUSE", 0.1)
    monkeypatch.setattr(writing, "_SETTLE", 0.05)
    monkeypatch.setattr(writing, "_TICK", 0.05)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path) as made:
        yield made


@pytest.fixture
async def real_home(tmp_path: Path, real_api: RealApi) -> AsyncIterator[Place]:
    """Return a home cluster whose API server is the real one."""
    async with real_place(tmp_path, real_api) as made:
        yield made
