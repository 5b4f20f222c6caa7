"""Two controllers, one gateway: once the newer one was heard, nothing of the older is written any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.agents.gateway import host
from isthmus.agents.gateway.fence import Fence, StaleEpoch
from isthmus.app.gateway_agent import reset_epoch
from isthmus.drivers.base import Outcome
from isthmus.drivers.memory import MemoryDriver
from isthmus.errors import DeviceFenced, StateError, StateLocked
from isthmus.model.plan import Change
from isthmus.model.resources import Route

from ..bench import outcomes
from .rig import FACTS, Rig, opened, running


def creates(count: int, net: int = 244) -> list[Change]:
    """Return changes that make ``count`` routes."""
    routes = [
        Route(ip_network(f"10.{net}.{n // 256}.{n % 256}/32"), ip_address("192.0.2.11"), "eth0") for n in range(count)
    ]
    return [Change("create", route.identity, None, route) for route in routes]


class Gated(MemoryDriver):
    """A device that waits at a gate before each batch, and remembers in which order batches came."""

    def __init__(self) -> None:
        super().__init__(facts=FACTS)
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        self.waiting.set()
        await self.gate.wait()
        async for outcome in super().apply(changes):
            yield outcome


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        yield rig


async def test_a_stale_controller_writes_nothing(rig: Rig) -> None:
    """It is told so, with the newer epoch, for every kind of write; looking stays allowed."""
    async with (
        opened(await rig.client("old", epoch=lambda: 5)) as old,
        opened(await rig.client("new", epoch=lambda: 6)) as new,
    ):
        await outcomes(old, creates(2))
        await new.prepare()
        for write in (outcomes(old, creates(3, 245)), old.prepare(), old.vacate()):
            with pytest.raises(DeviceFenced, match="epoch 6 has taken over, yours is 5") as caught:
                await write
            assert caught.value.epoch == 6
        assert len((await old.observe()).resources) == 2
        assert [one.result for one in await outcomes(new, creates(3, 246))] == ["done"] * 3
        assert len(rig.memory.resources) == 5


async def test_the_same_epoch_goes_on(rig: Rig) -> None:
    """A controller that lost its connection is the same controller."""
    async with opened(await rig.client(epoch=lambda: 5)) as driver:
        await driver.prepare()
        await driver.close()
        await driver.open()
        assert [one.result for one in await outcomes(driver, creates(2))] == ["done"] * 2


async def test_a_restart_of_the_agent_forgets_no_epoch(rig: Rig) -> None:
    """The epoch was on disk before it counted."""
    async with opened(await rig.client("new", epoch=lambda: 6)) as new:
        await new.prepare()
    await rig.stop()
    await rig.start()
    async with opened(await rig.client("old", epoch=lambda: 5)) as old:
        with pytest.raises(DeviceFenced):
            await outcomes(old, creates(1))
    assert rig.memory.resources == {}


async def test_the_rest_of_an_apply_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old controller's batch under way is finished, the new one's comes next, and nothing of the old after it."""
    monkeypatch.setattr(host, "BATCH", 10)
    device = Gated()
    async with running(tmp_path, device) as rig:
        old, new = await rig.client("old", epoch=lambda: 5), await rig.client("new", epoch=lambda: 6)
        async with opened(old), opened(new):
            device.gate.clear()
            told: list[Outcome] = []

            async def write() -> None:
                async for outcome in old.apply(creates(30)):
                    told.append(outcome)  # noqa: PERF401  # what was told before the end counts, too

            writing = asyncio.create_task(write())
            await device.waiting.wait()
            taking = asyncio.create_task(outcomes(new, creates(5, 250)))
            await asyncio.sleep(0.2)
            assert device.resources == {}
            device.gate.set()
            assert [one.result for one in await taking] == ["done"] * 5
            with pytest.raises(DeviceFenced):
                await writing
            order = [change.identity.split(".")[1] for change in device.log]
            assert order == ["244"] * 10 + ["250"] * 5
            assert [one.result for one in told] == ["done"] * 10


async def test_an_epoch_that_cannot_be_kept_writes_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it on disk, a restart would let the older one in again."""

    def full(path: Path, data: bytes) -> None:
        raise StateError("no space left on device")

    async with opened(await rig.client(epoch=lambda: 5)) as driver:
        monkeypatch.setattr("isthmus.agents.gateway.fence.write_private", full)
        with pytest.raises(Exception, match="cannot keep its state"):
            await outcomes(driver, creates(1))
    assert rig.memory.resources == {}


async def test_an_epoch_of_a_wrong_clock_can_be_forgotten(rig: Rig) -> None:
    """A person does it, with the agent stopped; then the right controller writes again."""
    async with opened(await rig.client("wrong", epoch=lambda: 2**52)) as wrong:
        await wrong.prepare()
    with pytest.raises(StateLocked):
        await asyncio.to_thread(reset_epoch, rig.state)
    await rig.stop()
    await asyncio.to_thread(reset_epoch, rig.state)
    await rig.start()
    async with opened(await rig.client("right", epoch=lambda: 5)) as right:
        assert [one.result for one in await outcomes(right, creates(1))] == ["done"]


async def test_a_damaged_epoch_lets_nobody_write(rig: Rig) -> None:
    """The agent does not guess: it does not start, and says what to do."""
    await rig.stop()
    (rig.state / "epoch.json").write_text("{")
    with pytest.raises(StateError, match="reset-epoch"):
        await rig.start()


@settings(max_examples=60, deadline=None)
@given(epochs=st.lists(st.integers(0, 8), min_size=1, max_size=12))
def test_what_was_admitted_only_rises(tmp_path_factory: pytest.TempPathFactory, epochs: list[int]) -> None:
    """Whoever comes in whatever order, with restarts between: who is let in has the highest epoch until then."""

    async def main() -> None:
        path = tmp_path_factory.mktemp("fence") / "epoch.json"
        fence, highest = Fence(path), 0
        for number, epoch in enumerate(epochs):
            if number % 3 == 2:
                fence = Fence(path)
            if epoch < highest:
                with pytest.raises(StaleEpoch, match=f"epoch {highest}"):
                    await fence.admit(epoch)
            else:
                await fence.admit(epoch)
                highest = epoch
            assert fence.highest == highest

    asyncio.run(main())
