"""Gives the devices of overlay links their addresses there, once; what was given is never computed again.

The one confusing thing: a device that joins a link in use must not take an address that a node has. Which those are only the
nodes' own annotations say, so such a device waits until the cluster has been read; the first devices of a new link do not.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from isthmus.app.memory import SmallMemory
from isthmus.core import attachment
from isthmus.core.overlay_addresses import device_addresses
from isthmus.core.world import World
from isthmus.errors import IsthmusError
from isthmus.model.kinds import ClusterLink
from isthmus.telemetry import get_logger

__all__ = ["DevicePlaces"]


class DevicePlaces:
    """The overlay addresses of all devices. ``waiting`` names the links whose devices have not all got theirs."""

    def __init__(self, world: World, memory: SmallMemory, *, may_write: Callable[[], bool] = lambda: True) -> None:
        """While ``may_write`` says no, what others gave is taken and nothing is given."""
        self._may_write = may_write
        self.waiting: set[str] = set()
        self._world = world
        self._memory = memory
        self._log = get_logger("app")

    async def take(self) -> None:
        """Take what the memory says now instead of what was known, writing nothing."""
        given = {name: await self._memory.addresses(name) for name in self._world.links}
        self._world.device_addresses.clear()
        for name, devices in given.items():
            self._world.device_addresses.update({(name, device): own for device, own in devices.items()})

    async def assign(self) -> None:
        """Give every device its addresses, as far as they can be known and kept; whoever is left is in ``waiting``."""
        if not self._may_write():
            await self.take()
            return
        waiting = set()
        for name, link in list(self._world.links.items()):
            if link.spec.overlay is None:
                continue
            try:
                if not await self._assign(name, link):
                    waiting.add(name)
            except IsthmusError as error:
                waiting.add(name)
                if name not in self.waiting:
                    self._log.warning("a device's overlay address cannot be kept yet", link=name, error=str(error))
        self.waiting = waiting

    async def _assign(self, name: str, link: ClusterLink) -> bool:
        recorded = await self._memory.addresses(name)
        fresh = [device for device in link.spec.devices if device not in recorded]
        nodes: set[IPv4Address | IPv6Address] = set()
        unknown = bool(recorded and fresh) and self._world.view(link.spec.cluster).doubt("nodes") is not None
        if recorded and fresh and not unknown:
            nodes = self._of_nodes(link)
        given = device_addresses(link, recorded, nodes)
        if unknown:
            given = {device: own for device, own in given.items() if device in recorded}
        new = {device: own for device, own in given.items() if recorded.get(device) != own}
        if new:
            await self._memory.keep_addresses(name, new)
            standing = await self._memory.addresses(name)  # somebody else may have been faster
            given = {device: standing.get(device, own) for device, own in given.items()}
        for device, own in given.items():
            self._world.device_addresses[name, device] = own
        return not unknown

    def _of_nodes(self, link: ClusterLink) -> set[IPv4Address | IPv6Address]:
        key = attachment.annotation(link.name)
        found: set[IPv4Address | IPv6Address] = set()
        for node in self._world.view(link.spec.cluster).nodes.values():
            text = node.annotations.get(key)
            if text is None:
                continue
            try:
                found.update(address.ip for address in attachment.parse(text).addresses)
            except ValueError:
                continue  # no attachment, so no address; it is written anew
        return found
