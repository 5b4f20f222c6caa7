"""Which drivers there are, by the name users write. A plain table: to add one, add a line.

A driver is made from what the user wrote (the EdgeDevice) and from what only this process knows (:class:`Wiring`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import TypeAlias

from isthmus.drivers.base import Driver
from isthmus.drivers.linux.driver import LinuxDriver
from isthmus.drivers.memory import MemoryDriver
from isthmus.model.facts import DeviceFacts, Interface
from isthmus.model.kinds import EdgeDevice

__all__ = ["DRIVERS", "UNFENCED", "DriverFactory", "Wiring"]


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a driver needs of the process it runs in.

    ``epoch`` is asked before each write that another writer could contend for; it rises from one writer to the next and
    is 0 where nobody contends. ``directory`` is where the credentials of devices lie, each device's in a folder of its name.
    """

    epoch: Callable[[], int] = lambda: 0
    directory: Path | None = None


DriverFactory: TypeAlias = Callable[[EdgeDevice, Wiring], Driver]

UNFENCED = Wiring()
"""The wiring of who only looks, or of a process that keeps no credentials."""


def _linux(device: EdgeDevice, wiring: Wiring) -> Driver:
    options = device.spec.linux
    return LinuxDriver(options.installation, options.protocol, options.announce)


def _memory(device: EdgeDevice, wiring: Wiring) -> Driver:
    lengths = {4: 24, 6: 64}
    addresses = tuple(ip_interface(f"{a}/{lengths[a.version]}") for a in device.spec.tunnel_addresses)
    return MemoryDriver(facts=DeviceFacts((Interface("memory0", addresses=addresses),)))


DRIVERS: dict[str, DriverFactory] = {"linux": _linux, "memory": _memory}
