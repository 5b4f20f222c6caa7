"""The simulated NetScaler does to the product's client what it says, and the judge sees what stands there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from faults.netscaler import NetScaler
from faults.nitro import SimWire
from faults.seam import PROCESS, Fault, Process, Seam
from faults.virtual import CLOCK, PlanLoop
from isthmus.drivers.netscaler.nitro import Nitro, client
from isthmus.drivers.netscaler.nitro.credentials import DirectoryCredentials
from isthmus.model.kinds.netscaler import NetScalerOptions

ROUTE = {"network": "10.1.0.0", "netmask": "255.255.0.0", "gateway": "192.0.2.77"}
ROUTES = [{**ROUTE, "network": f"10.{number}.0.0"} for number in range(1, 5)]


class Notes:
    """A judge that only remembers."""

    def __init__(self) -> None:
        self.wrongs: list[str] = []
        self.gone: list[Any] = []

    def asked(self, process: Process, what: str) -> None:
        pass

    def changed(self, process: Process, what: str) -> None:
        pass

    def made(self, key: Any) -> None:
        pass

    def removed(self, process: Process, key: Any, edge: Any) -> None:
        self.gone.append(key)

    def wrong(self, text: str) -> None:
        self.wrongs.append(text)


Act = Callable[[NetScaler, Nitro], Awaitable[None]]


def played(act: Act, *faults: Fault, pair: bool = False, monkeypatch: pytest.MonkeyPatch) -> tuple[NetScaler, Notes]:
    """Do ``act`` with a client over a device that fails so; return the device and what the judge noted."""
    notes = Notes()
    seed = next(seed for seed in range(99) if (random.Random(seed).random() < 0.5) is pair)
    made: list[NetScaler] = []

    async def main() -> None:
        CLOCK.loop = asyncio.get_running_loop()
        device = NetScaler(notes, random.Random(seed))  # type: ignore[arg-type]
        made.append(device)
        process = Process("c1")
        PROCESS.set(process)
        seam = Seam(faults, random.Random(1), lambda line: None)
        monkeypatch.setattr(client, "Wire", lambda *_, **__: SimWire(device, seam, process))
        options = NetScalerOptions.model_validate(device.spec["netscaler"])
        directory = Path(str(options.credentials.directory))
        nitro = Nitro("adc", options, DirectoryCredentials(directory), clock=CLOCK.monotonic, source=random.Random(1))
        await nitro.open()
        await act(device, nitro)
        await nitro.close()

    try:
        with asyncio.Runner(loop_factory=PlanLoop) as runner:
            runner.run(main())
    finally:
        CLOCK.loop = None
    return made[0], notes


@pytest.mark.parametrize(
    ("kind", "stands"),
    [
        *((kind, True) for kind in ("reply-lost", "hung-done", "cut", "other", "unsent", "killed")),
        *((kind, False) for kind in ("hung", "503", "reboot")),
    ],
)
def test_a_write_that_fails_has_the_effect_it_has(kind: str, stands: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply that is lost is no request that is lost; what never left, or met a dead session, is sent again."""
    results: list[Any] = []

    async def act(device: NetScaler, nitro: Nitro) -> None:
        results.extend(await nitro.add("route", [ROUTE]))

    device, notes = played(act, Fault("nitro.post route#0", kind), monkeypatch=monkeypatch)
    assert (("route", "10.1.0.0/16", "192.0.2.77") in device.objects()) is stands
    assert results[0].unknown is (kind not in ("unsent", "killed"))
    assert notes.wrongs == []


@pytest.mark.parametrize(("kind", "stand"), [("half-applied", 2), ("item-refused", 3), ("in-progress", 0)])
def test_a_bulk_request_may_come_to_a_part(kind: str, stand: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first half of it, all but one, or nothing."""

    async def act(device: NetScaler, nitro: Nitro) -> None:
        await nitro.add("route", ROUTES)

    device, _ = played(act, Fault("nitro.post route#0", kind), monkeypatch=monkeypatch)
    assert len(device.objects()) == stand


def test_a_save_may_find_no_room_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not saved is seen by the judge, and gone after a reboot."""

    async def act(device: NetScaler, nitro: Nitro) -> None:
        await nitro.add("route", [ROUTE])
        await asyncio.sleep(8.0)
        assert device.objects(saved=True) == {}
        assert device.objects() != {}
        await asyncio.sleep(120.0)
        assert device.objects(saved=True) == device.objects()

    device, _ = played(act, Fault("nitro.post nsconfig?save#0", "disk-full"), monkeypatch=monkeypatch)
    device.primary.reboot()
    assert len(device.objects()) == 1


def test_a_pair_changes_its_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that meets the old primary is made at the new one, and only there."""

    async def act(device: NetScaler, nitro: Nitro) -> None:
        first = device.primary
        assert (await nitro.add("route", [ROUTE]))[0].done
        assert device.primary is not first

    device, notes = played(act, Fault("nitro.post route#0", "fail-over"), pair=True, monkeypatch=monkeypatch)
    assert len(device.objects()) == 1
    assert notes.wrongs == []


def test_the_judge_sees_whose_things_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal of ours is judged; one of somebody else's is wrong."""

    async def act(device: NetScaler, nitro: Nitro) -> None:
        await nitro.add("route", [ROUTE])
        await nitro.remove("route", [ROUTE])
        await nitro.remove("lbvserver", [{"name": "old_app"}])

    _, notes = played(act, monkeypatch=monkeypatch)
    assert notes.gone == [("route", "10.1.0.0/16", "192.0.2.77")]
    assert len(notes.wrongs) == 3, "the virtual server, its binding, and the address that it brought"
    assert all("old_app" in wrong or "203.0.113.200" in wrong for wrong in notes.wrongs)


def test_nothing_of_ours_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lets go of a device has ended its session; people's stay."""

    async def act(device: NetScaler, nitro: Nitro) -> None:
        await nitro.get("route")
        assert len(device.primary.sessions.live()) == 2

    device, _ = played(act, monkeypatch=monkeypatch)
    [left] = device.primary.sessions.live()
    assert left.token == device.people[device.primary.address]
