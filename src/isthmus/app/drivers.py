"""Which drivers there are, by the name users write. A plain table: to add one, add a line."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_interface

from isthmus.drivers.base import Driver
from isthmus.drivers.linux.driver import LinuxDriver
from isthmus.drivers.memory import MemoryDriver
from isthmus.model.facts import DeviceFacts, Interface
from isthmus.model.kinds import EdgeDevice


def _linux(device: EdgeDevice) -> Driver:
    options = device.spec.linux
    return LinuxDriver(options.installation, options.protocol, options.announce)


def _memory(device: EdgeDevice) -> Driver:
    lengths = {4: 24, 6: 64}
    addresses = tuple(ip_interface(f"{a}/{lengths[a.version]}") for a in device.spec.tunnel_addresses)
    return MemoryDriver(facts=DeviceFacts((Interface("memory0", addresses=addresses),)))


DRIVERS: dict[str, Callable[[EdgeDevice], Driver]] = {"linux": _linux, "memory": _memory}
