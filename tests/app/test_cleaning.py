"""Cleaning: everything of ours goes, device by device, and one that cannot be reached keeps no other from it."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from app.home.rig import thing
from isthmus.app import cleaning
from isthmus.app.cleaning import clean
from isthmus.app.sources import Sources
from isthmus.drivers.memory import MemoryDriver
from isthmus.errors import InputError
from isthmus.model.resources import Route

ROUTE = Route(ip_network("10.244.1.0/24"), ip_address("192.0.2.11"), "eth0")


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, MemoryDriver]:
    made = {name: MemoryDriver(resources={ROUTE.identity: ROUTE}) for name in ("gw1", "gw2", "gw3")}
    for name in made:
        (tmp_path / f"{name}.json").write_text(json.dumps(thing("EdgeDevice", name, {"driver": "memory"})))
    monkeypatch.setattr(cleaning, "DRIVERS", {"memory": lambda kind, wiring: made[kind.name]})
    return made


async def test_one_dead_device_keeps_no_other_from_being_cleaned(
    devices: dict[str, MemoryDriver], tmp_path: Path
) -> None:
    """What cannot be reached is told as failed, with the reason; the devices after it are cleaned (law 5)."""
    devices["gw2"].reachable = False
    found, _ = await clean(Sources(tmp_path, None), (), really=True)
    assert [(one.device, one.result) for one in found] == [("gw1", "done"), ("gw2", "failed"), ("gw3", "done")]
    assert "switched off" in found[1].reason
    assert [len(device.resources) for device in devices.values()] == [0, 1, 0]
    assert not any(device.is_open for device in devices.values())


async def test_looking_changes_nothing(devices: dict[str, MemoryDriver], tmp_path: Path) -> None:
    """Without an order it is only said what would go, and only of the devices asked for."""
    found, _ = await clean(Sources(tmp_path, None), ("gw3",), really=False)
    assert [(one.device, one.result) for one in found] == [("gw3", "pending")]
    assert not any(device.writes for device in devices.values())
    with pytest.raises(InputError, match="gw1, gw2, gw3"):
        await clean(Sources(tmp_path, None), ("gw9",), really=True)
