"""Which drivers there are, by the name users write. A plain table: to add one, add a line."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.drivers.base import Driver
from isthmus.drivers.linux.driver import LinuxDriver
from isthmus.drivers.memory import MemoryDriver
from isthmus.model.kinds import EdgeDevice


def _linux(device: EdgeDevice) -> Driver:
    options = device.spec.linux
    return LinuxDriver(installation=options.installation, protocol=options.protocol)


def _memory(device: EdgeDevice) -> Driver:
    return MemoryDriver()


DRIVERS: dict[str, Callable[[EdgeDevice], Driver]] = {"linux": _linux, "memory": _memory}
