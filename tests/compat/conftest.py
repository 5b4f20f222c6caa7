"""A cluster with two nodes that an old environment points at, and a controller that looks more often than a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.home.rig import FAST
from isthmus.app import controller as controller_module
from isthmus.app import joined, older
from isthmus.compat import gate, publishing
from isthmus.kube import informer as informer_module
from isthmus.lab.kube import KubeApi

from .rig import Cluster, node


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look and write more often than a real controller does."""
    monkeypatch.setattr(controller_module, "_TELL", 0.05)
    monkeypatch.setattr(informer_module, "Timing", lambda: FAST)
    monkeypatch.setattr(gate, "_LOOK", 0.05)
    monkeypatch.setattr(gate, "_PAUSE", 0.1)
    monkeypatch.setattr(older, "_AGAIN", 0.1)
    monkeypatch.setattr(joined, "_BURST", 0.02)
    monkeypatch.setattr(publishing, "_PAUSE", 0.05)
    monkeypatch.setattr(publishing, "_SOON", 0.05)


@pytest.fixture
async def cluster(tmp_path: Path, brisk: None) -> AsyncIterator[Cluster]:
    api = KubeApi(tls=False)
    api.put(node(1))
    api.put(node(2))
    async with api.serving() as endpoint:
        yield Cluster(api, endpoint.kubeconfig_path, tmp_path)
