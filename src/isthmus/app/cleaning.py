"""Takes everything that is ours off devices: the one place where absence is wanted, because a person ordered it."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.app.drivers import DRIVERS, Wiring, by_hand, looking
from isthmus.app.sources import Sources, look
from isthmus.core.diff import ordered
from isthmus.errors import InputError, IsthmusError
from isthmus.model.kinds import EdgeDevice
from isthmus.model.plan import Change


@dataclass(frozen=True, slots=True)
class Cleaned:
    """One thing of ours on a device and how its removal ended (``pending``: it was only looked at)."""

    device: str
    text: str
    result: str
    reason: str = ""


async def clean(where: Sources, only: tuple[str, ...], *, really: bool) -> tuple[list[Cleaned], list[InputError]]:
    """Remove (or, unless ``really``, only find) what is ours on the configured devices, dependents first.

    Return that, and what is wrong in the configuration: a device that cannot be read from it is not cleaned.
    """
    wiring = by_hand(where.state, where.home) if really else looking(where.state, where.home)
    read = await look(where, set(DRIVERS), memory=False)
    objects = read.configuration.snapshot.objects.values()
    devices = {one.name: one for one in objects if isinstance(one, EdgeDevice)}
    for name in only:
        if name not in devices:
            raise InputError(
                f"--device {name}", "is not in the configuration", f"there is {', '.join(sorted(devices)) or 'none'}"
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
    return found, read.problems


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
