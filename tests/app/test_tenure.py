"""Epochs without a Lease, a client that must not write, and loops that outlive a crash of ours."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from isthmus.app.keeping_up import kept_up
from isthmus.app.tenure import Alone, identity, next_epoch
from isthmus.errors import KubeWithheld
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.kinds import CONFIGMAPS, LEASES, KindRef
from isthmus.registry.state import StateDirectory
from loop.clock import now, virtually


async def test_epochs_rise_from_start_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each start has a higher epoch than the one before, also where the time of day went back in between."""
    before = int(time.time() * 1000)
    async with StateDirectory(tmp_path / "state") as state:
        first = await next_epoch(state)
        second = await next_epoch(state)
    assert before <= first < second
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    async with StateDirectory(tmp_path / "state") as state:
        assert await next_epoch(state) == second + 1
        assert Alone(second + 1).epoch == second + 1
    assert await next_epoch(None) == 1_000_000_000, "without a state directory there is only the clock"


def test_no_two_processes_have_one_name() -> None:
    assert identity() != identity()


async def test_what_must_not_be_written_is_not_even_sent() -> None:
    """Every writing verb says so before a connection is opened; which objects those are is asked each time."""
    asked: list[tuple[KindRef, str]] = []

    def may_write(kind: KindRef, name: str) -> bool:
        asked.append((kind, name))
        return False

    thing = {"metadata": {"name": "x", "namespace": "y"}}
    client = KubeClient(Connection("http://127.0.0.1:9"), may_write=may_write)  # not entered: it could send nothing
    for write in (
        client.create(LEASES, thing),
        client.replace(LEASES, thing),
        client.patch(LEASES, "x", {}, "y"),
        client.patch_status(LEASES, "x", {}, "y"),
        client.apply(LEASES, thing),
        client.apply_status(LEASES, thing),
        client.delete(CONFIGMAPS, "x", "y"),
    ):
        with pytest.raises(KubeWithheld, match="withheld, another controller may write now"):
            await write
    assert asked == [(LEASES, "x")] * 6 + [(CONFIGMAPS, "x")]


def test_a_loop_outlives_its_crashes() -> None:
    """It is said each time, begun again ever more slowly, and left alone once it ends by itself."""
    began: list[float] = []

    async def loop() -> None:
        began.append(now())
        if len(began) < 4:
            raise RuntimeError("a bug of ours")

    with capture_logs() as logs:
        virtually(lambda: kept_up("telling", loop))
    pauses = [round(later - earlier, 3) for earlier, later in itertools.pairwise(began)]
    assert pauses == [1.0, 2.0, 4.0]
    assert [(entry["event"], entry["doing"]) for entry in logs] == [("crashed", "telling")] * 3
