"""What our objects are called on a NetScaler, and which objects a name says are ours.

Whatever has a name bears ``isth_<installation>_``, then what it stands for: a virtual server and its service group the
address, port and protocol, a net profile its address, a policy route its source and prefix. A name is ours only if all of it
reads back: the installation ``a`` must not take what belongs to ``a_b`` for its own. IPv6 addresses are written with dashes
for colons, for colons end words in NITRO's arguments.
"""

from __future__ import annotations

import hashlib
import re
from ipaddress import ip_address, ip_network

from isthmus.model.resources import HealthCheck, IPAddress, IPNetwork, Protocol, VirtualServer

__all__ = ["NAME_MAX", "Names"]

NAME_MAX = 127
"""Characters in a name, as the vendor documents for virtual servers and service groups."""
_MONITOR_MAX = 31
_LONGEST_CHECK = len("ping_3600_3599_127")
_PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp")
_MONITOR = re.compile(r"(tcp|ping)_([0-9]{1,5})_([0-9]{1,5})_([0-9]{1,3})")


def _spell(address: IPAddress) -> str:
    return str(address).replace(":", "-")


def _address(text: str) -> IPAddress:
    """Return the address that ``text`` spells; raise ``ValueError`` where we would have spelled it otherwise."""
    address = ip_address(text.replace("-", ":"))
    if _spell(address) != text:
        raise ValueError(text)
    return address


def _number(text: str, most: int) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if not 0 <= number <= most or str(number) != text:
        raise ValueError(text)
    return number


class Names:
    """The names of one installation."""

    def __init__(self, installation: str) -> None:
        self.installation = installation
        self.prefix = f"isth_{installation}_"
        short = hashlib.sha256(installation.encode()).hexdigest()[:7]
        fits = len(self.prefix) + _LONGEST_CHECK <= _MONITOR_MAX
        self._monitors = self.prefix if fits else f"isth_{short}_"

    def server(self, server: VirtualServer) -> str:
        """Return the name of a virtual server and of its service group."""
        return f"{self.prefix}{_spell(server.address)}_{server.port}_{server.protocol}"

    def of_address(self, address: IPAddress) -> str:
        """Return how the names of all virtual servers on ``address`` begin."""
        return f"{self.prefix}{_spell(address)}_"

    def read_server(self, name: str) -> VirtualServer | None:
        """Return the virtual server, with nothing but its identity, that ``name`` stands for; none if it is not ours."""
        parts = self._parts(name, 3)
        if parts is None or parts[2] not in _PROTOCOLS:
            return None
        try:
            return VirtualServer(_address(parts[0]), parts[2], _number(parts[1], 65535))
        except ValueError:
            return None

    def profile(self, address: IPAddress) -> str:
        """Return the name of the net profile that sends from ``address``."""
        return self.prefix + _spell(address)

    def read_profile(self, name: str) -> IPAddress | None:
        """Return the address of a net profile of ours, by its name."""
        parts = self._parts(name, 1)
        try:
            return None if parts is None else _address(parts[0])
        except ValueError:
            return None

    def policy_route(self, source: IPAddress, prefix: IPNetwork) -> str:
        """Return the name of the policy route from ``source`` to ``prefix``."""
        return f"{self.prefix}{_spell(source)}_{_spell(prefix.network_address)}_{prefix.prefixlen}"

    def read_policy_route(self, name: str) -> tuple[IPAddress, IPNetwork] | None:
        """Return source and prefix of a policy route of ours, by its name."""
        parts = self._parts(name, 3)
        if parts is None:
            return None
        try:
            source = _address(parts[0])
            prefix = ip_network(f"{_address(parts[1])}/{_number(parts[2], 128)}")
        except ValueError:
            return None
        return (source, prefix) if source.version == prefix.version else None

    def ip_tunnel(self, name: str) -> str:
        """Return what an IP tunnel is called on the device."""
        return self.prefix + name

    def read_ip_tunnel(self, name: str) -> str | None:
        """Return our name of an IP tunnel, none if it is not ours."""
        parts = self._parts(name, 1)
        return parts[0] if parts is not None and parts[0] else None

    def monitor(self, check: HealthCheck, protocol: Protocol) -> str:
        """Return the name of the monitor that all servers with this check share; 31 characters at most."""
        kind = "tcp" if protocol == "tcp" else "ping"
        return f"{self._monitors}{kind}_{check.interval}_{check.timeout}_{check.failures}"

    def read_monitor(self, name: str) -> HealthCheck | None:
        """Return the check that a monitor of ours carries out, by its name."""
        if not name.startswith(self._monitors):
            return None
        parts = _MONITOR.fullmatch(name.removeprefix(self._monitors))
        return HealthCheck(int(parts[2]), int(parts[3]), int(parts[4])) if parts is not None else None

    def ledger(self, number: int) -> str:
        """Return the name of a pattern set of our ledger, counted from 1."""
        return f"{self.prefix}ledger{number if number > 1 else ''}"

    def _parts(self, name: str, count: int) -> list[str] | None:
        if not name.startswith(self.prefix):
            return None
        parts = name.removeprefix(self.prefix).split("_")
        return parts if len(parts) == count else None
