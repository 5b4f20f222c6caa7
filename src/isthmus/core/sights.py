"""What each device last showed: whether it answers, its interfaces, and the VIPs it was seen to hold on a segment.

One device's plan rests on this where devices share a segment: who holds a VIP, and whether that one is still there. It is
what was observed, never what was wanted, so a restart finds everything again by looking. The one confusing thing: a silent
device keeps what it was seen with; it may well go on serving while we cannot reach it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

import msgspec

from isthmus.model.facts import DeviceFacts, Interface
from isthmus.model.resources import AnyResource, IPAddress, VirtualAddress

__all__ = ["Move", "Sight", "Sights", "held_in"]


@dataclass(slots=True)
class Sight:
    """One device as it was last seen; ``holds`` says per VIP whether it lapses; ``silent_since`` is none while it answers.

    ``interfaces`` is none where it was never seen at all: then it may have any.
    """

    interfaces: tuple[Interface, ...] | None = None
    holds: dict[IPAddress, bool] = field(default_factory=dict)
    silent_since: float | None = None


class Move(msgspec.Struct, frozen=True):
    """A VIP that was seen on another device than before."""

    address: IPAddress
    before: str
    after: str


class Sights:
    """The devices' last sights by name, and who was last seen to hold each VIP.

    What others' plans rest on and has changed is collected until :meth:`take_stirred`.
    """

    def __init__(self) -> None:
        self._seen: dict[str, Sight] = {}
        self._holders: dict[IPAddress, str] = {}
        self._addresses: set[IPAddress] = set()
        self._devices: set[str] = set()
        self._moves: list[Move] = []

    def get(self, device: str) -> Sight | None:
        """Return how ``device`` was last seen, none if it was never looked at."""
        return self._seen.get(device)

    def holder(self, address: IPAddress) -> str | None:
        """Return which device was last seen to hold ``address``, also if it has lost it since."""
        return self._holders.get(address)

    def holding(self, address: IPAddress) -> list[str]:
        """Return the devices that were seen to hold ``address``, by name."""
        return sorted(name for name, sight in self._seen.items() if address in sight.holds)

    # --- what comes in ------------------------------------------------------------------------------------------

    def saw(self, device: str, facts: DeviceFacts | None, holds: Mapping[IPAddress, bool]) -> None:
        """Take what a device showed when all of it was read; without ``facts`` its interfaces are as they were."""
        before = self._seen.get(device) or Sight(silent_since=0.0)
        after = Sight(_announcing(facts) if facts is not None else before.interfaces, dict(holds))
        self._seen[device] = after
        if before.silent_since is not None or before.interfaces != after.interfaces:
            self._devices.add(device)
        if before.silent_since is not None:
            # Back with nothing of what it had: it is one among others now, and not the one that has it.
            for address in [address for address, name in self._holders.items() if name == device]:
                if address not in after.holds:
                    del self._holders[address]
        self._addresses |= before.holds.keys() ^ after.holds.keys()
        for address in after.holds:
            self._note(address, device)

    def saw_one(self, device: str, identity: str, standing: AnyResource | None) -> None:
        """Take what stands at one identity of a device now; only VIPs matter."""
        if not identity.startswith("vip "):
            return
        address = ip_address(identity.removeprefix("vip "))
        sight = self._seen.setdefault(device, Sight())
        lapses = held_in((standing,)).get(address) if standing is not None else None
        if lapses is None:
            if sight.holds.pop(address, None) is not None:
                self._addresses.add(address)
            return
        if address not in sight.holds:
            self._addresses.add(address)
        sight.holds[address] = lapses
        self._note(address, device)

    def silent(self, device: str, now: float) -> None:
        """Take that a device does not answer at ``now`` (epoch seconds); what counts is since when."""
        sight = self._seen.get(device)
        if sight is None:
            self._seen[device] = Sight(silent_since=now)
        elif sight.silent_since is None:
            sight.silent_since = now
        else:
            return
        self._devices.add(device)

    def forget(self, device: str) -> None:
        """Forget a device that is not configured any more."""
        if self._seen.pop(device, None) is not None:
            self._devices.add(device)

    def released(self, address: IPAddress) -> None:
        """Forget who held an address that nobody claims any more."""
        self._holders.pop(address, None)

    def _note(self, address: IPAddress, device: str) -> None:
        before = self._holders.get(address)
        if before == device:
            return
        if before is not None:
            sight = self._seen.get(before)
            if sight is not None and sight.silent_since is None and address in sight.holds:
                return  # two have it: who had it first goes on having it
            self._moves.append(Move(address, before, device))
        self._holders[address] = device

    # --- what goes out ------------------------------------------------------------------------------------------

    def take_stirred(self) -> tuple[set[IPAddress], set[str]]:
        """Return and forget the VIPs and the devices of which something changed that others' plans rest on."""
        taken = self._addresses, self._devices
        self._addresses, self._devices = set(), set()
        return taken

    def take_moves(self) -> list[Move]:
        """Return and forget the VIPs that another device has now."""
        taken, self._moves = self._moves, []
        return taken


def held_in(resources: Iterable[AnyResource]) -> dict[IPAddress, bool]:
    """Return the VIPs that are answered for on a segment among ``resources``, and whether each lapses."""
    return {
        one.address: one.lapses for one in resources if isinstance(one, VirtualAddress) and one.link not in ("lo", "")
    }


def _announcing(facts: DeviceFacts) -> tuple[Interface, ...]:
    """Return the interfaces that VIPs can be announced on, with their subnets alone."""
    found = []
    for interface in facts.interfaces:
        subnets = tuple(own for own in interface.addresses if own.network.prefixlen < own.max_prefixlen)
        if subnets and not interface.ours and interface.name != "lo":
            found.append(Interface(interface.name, addresses=subnets, up=interface.up))
    return tuple(found)
