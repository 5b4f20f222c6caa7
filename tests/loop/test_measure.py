"""What is measured of a device: convergence from its cause, changes by result, and one id for all that a pass says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog
from structlog.testing import capture_logs

from core.rig import node
from isthmus.drivers.memory import lose_reply, refuse
from isthmus.loop.origin import caused_now
from isthmus.loop.timed import timed
from isthmus.metrics import REGISTRY, forget
from isthmus.telemetry import reconcile_id, reconciling

from .bench import Bench, small, story
from .clock import now, virtually


@pytest.fixture(autouse=True)
def from_nothing() -> Iterator[None]:
    # Before as well: what other tests of this process have measured is in the same registry.
    _forget_all()
    yield
    _forget_all()


def _forget_all() -> None:
    forget("device", "gw")
    forget("kind", "nodes")


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def converged() -> tuple[float, float]:
    """Return how many events were answered, and how long that took in all."""
    return tuple(value(f"isthmus_convergence_seconds_{part}", kind="nodes") for part in ("count", "sum"))  # type: ignore[return-value]


@contextmanager
def event() -> Iterator[None]:
    with caused_now("nodes"):
        yield


def test_convergence_is_from_the_event_to_the_last_answer() -> None:
    """A node that joins while the device is away converges when its route stands; what no cluster told counts for nothing."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            bench.put(node("n2", "192.0.2.12", "10.244.2.0/24"))
            bench.worker.look_at_everything()
            await bench.until(lambda: "route 10.244.2.0/24" in bench.driver.resources)
            assert converged()[0] == 0, "nobody said that this came from a cluster"

            bench.driver.reachable = False
            with event():
                bench.put(node("n3", "192.0.2.13", "10.244.3.0/24"))
            began = now()
            await asyncio.sleep(20)
            assert converged()[0] == 0
            bench.driver.reachable = True
            await bench.until(lambda: "route 10.244.3.0/24" in bench.driver.resources)
            took = now() - began
            await bench.until(lambda: converged()[0] == 1)
            assert took - 0.1 <= converged()[1] <= took + 0.1

    story(tell, Bench(small()))


def test_what_changes_nothing_is_not_counted() -> None:
    """An event that a device has nothing to do for is no convergence, also not later."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            with event():
                bench.put(node("n2", "192.0.2.12", labels={"a": "b"}))
            await asyncio.sleep(5)
            bench.put(node("n2", "192.0.2.12", "10.244.2.0/24"))
            await bench.until(lambda: "route 10.244.2.0/24" in bench.driver.resources)
            await asyncio.sleep(1)
            assert converged()[0] == 0

    story(tell, Bench(small()))


def test_a_change_whose_outcome_is_not_known_is_answered_when_it_is() -> None:
    """The first reply is lost and nothing was done: the time runs on until the change stands."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            bench.driver.fail_next(lose_reply(carried_out=False))
            with event():
                bench.put(node("n2", "192.0.2.12", "10.244.2.0/24"))
            await bench.until(lambda: converged()[0] == 1)
            assert "route 10.244.2.0/24" in bench.driver.resources
            assert converged()[1] > 0.01, "it had to be asked again"

    story(tell, Bench(small()))


def test_changes_are_counted_by_what_became_of_them() -> None:
    """Done, refused and unknown are different figures."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            for fault in (refuse("no room"), lose_reply()):
                bench.driver.fail_next(fault)
                bench.put(node("n2", "192.0.2.12", "10.244.2.0/24"))
                await asyncio.sleep(5)
                bench.put(node("n2", "192.0.2.12"))
                await asyncio.sleep(5)

    story(tell, Bench(small()))
    results = {
        result: value("isthmus_changes_total", device="gw", action="create", result=result)
        for result in ("refused", "unknown")
    }
    assert results == {"refused": 1, "unknown": 1}
    assert value("isthmus_changes_total", device="gw", action="create", result="done") >= 1
    assert value("isthmus_pass_seconds_count", device="gw", scope="changed") >= 4
    assert value("isthmus_pass_seconds_count", device="gw", scope="everything") >= 1


def test_requests_are_timed_by_how_they_end() -> None:
    """A device that is switched off is an error of that operation."""

    async def tell(bench: Bench) -> None:
        driver = timed(bench.driver, "gw")
        await driver.open()
        await driver.observe()
        await driver.observe({"route 10.244.1.0/24"})
        bench.driver.reachable = False
        with pytest.raises(Exception, match="switched off"):
            await driver.observe()
        assert driver.resources is bench.driver.resources  # type: ignore[attr-defined]

    story(tell, Bench(small()))
    counts = [
        value("isthmus_device_request_seconds_count", device="gw", operation=operation, result=result)
        for operation, result in (("open", "ok"), ("observe", "ok"), ("look", "ok"), ("observe", "error"))
    ]
    assert counts == [1, 1, 1, 1]


def test_all_that_a_pass_says_has_one_id() -> None:
    """The lines of a pass carry its id, those of another another, and outside of one there is none."""

    async def tell(bench: Bench) -> None:
        async with bench.running():
            await bench.settled()
            bench.driver.fail_next(refuse("no room"))
            bench.put(node("n2", "192.0.2.12", "10.244.2.0/24"))
            await asyncio.sleep(1)

    bench = Bench(small())
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as said:
        virtually(lambda: tell(bench))
    ids = [(entry["event"], entry["reconcile"]) for entry in said]
    assert [event for event, _ in ids] == ["plan applied", "change refused", "plan applied"]
    assert ids[0][1] != ids[1][1] == ids[2][1]
    assert reconcile_id() == ""
    with reconciling() as inside:
        assert reconcile_id() == inside
