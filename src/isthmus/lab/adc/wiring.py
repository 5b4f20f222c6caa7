"""Where a device is plugged in: its namespace, its cables and the segments behind them.

The one confusing thing: an address that is bound to no VLAN belongs, on a real device, to all interfaces of VLAN 1, and the
device finds out by asking on all of them. Here each cable says which networks it leads to, and the address is put there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
)

Address = IPv4Address | IPv6Address
Cidr = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface


@lru_cache(maxsize=65536)
def address_of(text: str) -> Address:
    """Return the address that ``text`` is; the same few thousand are read again and again. Raises ValueError."""
    return ip_address(text)


@lru_cache(maxsize=65536)
def interface_of(text: str) -> Interface:
    """Return the address with its mask that ``text`` is. Raises ValueError."""
    return ip_interface(text)


@dataclass(frozen=True, slots=True)
class Cable:
    """One interface of a device: its number there, the link in the namespace, its MAC and MTU, and what it leads to."""

    ifnum: str
    link: str
    mac: str
    networks: tuple[Cidr, ...]
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Wiring:
    """All cables of one device; the empty namespace is the one this process lives in."""

    namespace: str
    cables: tuple[Cable, ...]

    def towards(self, address: Address) -> Cable | None:
        """Return the cable whose segment has ``address``, none if it lies behind a router."""
        found = [
            (network.prefixlen, -place)
            for place, cable in enumerate(self.cables)
            for network in cable.networks
            if network.version == address.version and address in network
        ]
        return self.cables[-max(found)[1]] if found else None

    def numbered(self, ifnum: str) -> Cable | None:
        """Return the cable of an interface number."""
        return next((cable for cable in self.cables if cable.ifnum == ifnum), None)

    @property
    def mac(self) -> str:
        """Return the MAC that the device shows on segments it has no interface of its own for."""
        return self.cables[0].mac

    @property
    def mtu(self) -> int:
        """Return the smallest MTU of all cables."""
        return min(cable.mtu for cable in self.cables)
