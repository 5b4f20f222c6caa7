"""Takes everything that is ours off devices: the one place where absence is wanted, because a person ordered it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isthmus.app.drivers import DRIVERS, Wiring, by_hand, looking
from isthmus.core.diff import ordered
from isthmus.errors import InputError, IsthmusError
from isthmus.model.kinds import EdgeDevice
from isthmus.model.plan import Change
from isthmus.registry.files import load


@dataclass(frozen=True, slots=True)
class Cleaned:
    """One thing of ours on a device and how its removal ended (``pending``: it was only looked at)."""

    device: str
    text: str
    result: str
    reason: str = ""


async def clean(config: Path, only: tuple[str, ...], *, really: bool, state: Path | None = None) -> list[Cleaned]:
    """Remove (or, unless ``really``, only find) what is ours on the devices of ``config``, dependents first.

    ``state`` is the controller's state directory, where the credentials of gateways elsewhere lie.
    """
    wiring = by_hand(state) if really else looking(state)
    loaded = load(config, set(DRIVERS))
    devices = {one.object.name: one.object for one in loaded.objects if isinstance(one.object, EdgeDevice)}
    for name in only:
        if name not in devices:
            raise InputError(
                f"--device {name}", "is not in the configuration", f"there is {', '.join(sorted(devices))}"
            )
    found: list[Cleaned] = []
    for name, device in sorted(devices.items()):
        if only and name not in only:
            continue
        try:
            found += await _one(name, device, wiring, really=really)
        except IsthmusError as error:
            # The next device is cleaned all the same, and what was done so far is told.
            found.append(Cleaned(name, name, "failed", str(error)))
    return found


async def _one(name: str, device: EdgeDevice, wiring: Wiring, *, really: bool) -> list[Cleaned]:
    driver = DRIVERS[device.spec.driver](device, wiring)
    try:
        await driver.open()
        observation = await driver.observe()
        changes = ordered(Change("delete", key, value, None) for key, value in observation.resources.items())
        if not really:
            return [Cleaned(name, change.describe(), "pending") for change in changes]
        found = [
            Cleaned(name, outcome.change.describe(), outcome.result, outcome.reason)
            async for outcome in driver.apply(changes)
        ]
        await driver.vacate()
        return found
    finally:
        await driver.close()
