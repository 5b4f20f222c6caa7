"""One cluster's worker: keys side by side, failures that hold up nobody, bugs that stop nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from isthmus.errors import DeviceUnreachable, InputError, KubeForbidden, KubeThrottled, StateError
from isthmus.loop.cluster import ClusterWorker

from .clock import now, virtually


class Told:
    """A duty that remembers when it looked, and fails where it was told to."""

    def __init__(self) -> None:
        self.looks: list[tuple[str, float]] = []
        self.errors: dict[str, list[Exception]] = {}

    async def look(self, name: str) -> float | None:
        self.looks.append((name, now()))
        await asyncio.sleep(0)
        if self.errors.get(name):
            raise self.errors[name].pop(0)
        return None

    def times(self, name: str) -> list[float]:
        return [at for of, at in self.looks if of == name]


def story(tell: Callable[[ClusterWorker, Told], Coroutine[Any, Any, None]]) -> list[dict[str, Any]]:
    """Run a story of one worker on virtual time and return what was logged."""

    async def run() -> None:
        duty = Told()
        worker = ClusterWorker("east", {"attach": duty})
        task = asyncio.create_task(worker.run())
        try:
            await tell(worker, duty)
            assert not task.done(), "a worker never ends by itself"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    with capture_logs() as logs:
        virtually(run)
    return [dict(entry) for entry in logs]


@pytest.mark.parametrize(
    "error",
    [
        KubeForbidden("no"),
        StateError("the disk is full"),
        DeviceUnreachable("away"),
        InputError("here", "wrong"),
        ValueError("a bug"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failing_key_holds_up_no_other(error: Exception) -> None:
    """Whatever one key ends in, the others are looked at at once, and that one again after a pause of its own."""

    async def tell(worker: ClusterWorker, duty: Told) -> None:
        duty.errors["bad"] = [error] * 3
        worker.look("attach", ["bad", "good"])
        await asyncio.sleep(0.01)
        assert (len(duty.times("bad")), len(duty.times("good"))) == (1, 1)
        await asyncio.sleep(60)
        assert (len(duty.times("bad")), len(duty.times("good"))) == (4, 1)
        assert worker.complaints() == []

    story(tell)


def test_a_bug_is_seen_while_it_lasts() -> None:
    """A key that trips over our own code is logged once, with its place, and is told in the cluster's status."""

    async def tell(worker: ClusterWorker, duty: Told) -> None:
        duty.errors["n1"] = [LookupError("a bug")] * 3
        worker.look("attach", ["n1"])
        await asyncio.sleep(0.01)
        assert worker.complaints() == ["attach n1: internal error: LookupError('a bug')"]
        await asyncio.sleep(60)
        assert worker.complaints() == []

    logs = story(tell)
    assert [entry["event"] for entry in logs] == ["crashed"]
    assert isinstance(logs[0]["exc_info"], LookupError)


def test_a_throttled_key_waits_as_long_as_it_was_told() -> None:
    """An API that says when to come back is not asked before."""

    async def tell(worker: ClusterWorker, duty: Told) -> None:
        duty.errors["n1"] = [KubeThrottled("slow down", retry_after=30.0)]
        worker.look("attach", ["n1"])
        await asyncio.sleep(29)
        assert len(duty.times("n1")) == 1
        await asyncio.sleep(2)
        assert len(duty.times("n1")) == 2

    story(tell)


def test_one_key_is_never_looked_at_twice_at_a_time() -> None:
    """News of a key that is being looked at has it looked at again afterwards, once."""

    class Slow(Told):
        most = running = 0

        async def look(self, name: str) -> float | None:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(1)
            self.running -= 1
            return await super().look(name)

    async def run() -> None:
        duty = Slow()
        worker = ClusterWorker("east", {"attach": duty})
        task = asyncio.create_task(worker.run())
        for _ in range(5):
            worker.look("attach", ["n1"])
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)
        assert (len(duty.looks), duty.most) == (2, 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtually(run)
