"""Which drivers there are, by the name users write. A plain table: to add one, add a line.

A driver is made from what the user wrote (the EdgeDevice) and from what only this process knows (:class:`Wiring`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import TypeAlias

from isthmus.drivers.base import Driver
from isthmus.drivers.external import ExternalDevice
from isthmus.drivers.linux.driver import LinuxDriver
from isthmus.drivers.linux.hops import ProbeTiming
from isthmus.drivers.memory import MemoryDriver
from isthmus.kube.connection import Connection
from isthmus.model.facts import DeviceFacts, Interface
from isthmus.model.kinds import EdgeDevice
from isthmus.model.kinds.device import MemberProbe
from isthmus.registry.state import GATEWAYS

__all__ = ["DEFAULT_DIRECTORY", "DRIVERS", "UNFENCED", "DriverFactory", "Wiring", "by_hand", "looking"]


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a driver needs of the process it runs in.

    ``epoch`` is asked before each write that another writer could contend for; it rises from one writer to the next and
    is 0 where nobody contends. ``directory`` is where the credentials of devices lie, each device's in a folder of its name;
    ``home`` is the cluster whose Secrets may be named as such a place, none where there is no home cluster.
    """

    epoch: Callable[[], int] = lambda: 0
    directory: Path | None = None
    home: Connection | None = None


DriverFactory: TypeAlias = Callable[[EdgeDevice, Wiring], Driver]

DEFAULT_DIRECTORY = Path("/var/lib/isthmus") / GATEWAYS
"""Where credentials of devices lie if nobody says another place."""

UNFENCED = Wiring()
"""The wiring of who only looks."""


def by_hand(state: Path | None, home: Connection | None = None) -> Wiring:
    """Return the wiring of one command that writes because a person says so: newer than any controller until now.

    A controller that is running then writes no more until it is started again, which is what keeps the two from taking turns.
    """
    epoch = int(time.time() * 1000)
    return Wiring(lambda: epoch, None if state is None else state / GATEWAYS, home)


def looking(state: Path | None, home: Connection | None = None) -> Wiring:
    """Return the wiring of a command that writes nothing."""
    return Wiring(directory=None if state is None else state / GATEWAYS, home=home)


def _linux(device: EdgeDevice, wiring: Wiring) -> Driver:
    options = device.spec.linux
    if options.agent is not None:
        from isthmus.drivers.linux.remote import RemoteGateway  # with cryptography, 12 MB for whoever has no agent

        directory = Path(options.agent.directory) if options.agent.directory else wiring.directory
        return RemoteGateway(device.name, options.agent.url, directory or DEFAULT_DIRECTORY, wiring.epoch)
    return LinuxDriver(options.installation, options.protocol, options.announce, _timing(options.member_probe))


def _timing(wanted: MemberProbe | None) -> ProbeTiming | None:
    if wanted is None:
        return None
    return ProbeTiming(wanted.interval, wanted.timeout, wanted.failures, wanted.rises)


def _memory(device: EdgeDevice, wiring: Wiring) -> Driver:
    lengths = {4: 24, 6: 64}
    addresses = tuple(ip_interface(f"{a}/{lengths[a.version]}") for a in device.spec.tunnel_addresses)
    return MemoryDriver(facts=DeviceFacts((Interface("memory0", addresses=addresses),)))


def _external(device: EdgeDevice, wiring: Wiring) -> Driver:
    options = device.spec.external
    return ExternalDevice(device.spec.tunnel_addresses, options.mac, options.mtu)


def _netscaler(device: EdgeDevice, wiring: Wiring) -> Driver:
    from isthmus.app.device_credentials import (
        netscaler_credentials,
    )  # with an HTTP client, for whoever has a NetScaler
    from isthmus.drivers.netscaler.driver import NetScalerDriver

    options = device.spec.netscaler
    assert options is not None, "the kind requires it of this driver"
    return NetScalerDriver(device.name, options, netscaler_credentials(options, wiring.home), wiring.epoch)


DRIVERS: dict[str, DriverFactory] = {
    "external": _external,
    "linux": _linux,
    "memory": _memory,
    "netscaler": _netscaler,
}
