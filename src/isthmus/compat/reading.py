"""One value of the environment at a time: text to something typed, or a problem with variable, value, reason and way out.

Nothing is raised for a bad value: it is noted, the reader goes on, and whoever asked gets none. So one run tells everything
that is wrong. A secret's value is never shown, whatever is wrong with it. A variable set to nothing counts as not set:
templates leave such variables behind.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from pathlib import Path

from isthmus.compat.variables import VARIABLES, old_names_of
from isthmus.model.kinds.addresses import IPAddress, IPNetwork
from isthmus.model.kinds.names import NAME
from isthmus.model.kinds.wrong import closest
from isthmus.registry.problems import InputWarning, Problem

__all__ = ["Reader"]

_LONGEST_SHOWN = 60
_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}")
_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}")
_HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*")


class Reader:
    """Reads variables out of ``environment``; what is wrong gathers in ``problems``, what is only odd in ``warnings``."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._values = {name: text.strip() for name, text in environment.items() if text.strip()}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def names(self) -> Collection[str]:
        """Return the names of all variables that say something."""
        return self._values.keys()

    # --- what is wrong ------------------------------------------------------------------------------------------

    def wrong(self, name: str, reason: str, remedy: str = "") -> None:
        """Note that what ``name`` says cannot be."""
        self.problems.append(Problem(self._place(name), reason, remedy))

    def is_wrong(self, name: str) -> bool:
        """Say whether a problem with ``name`` has been noted."""
        return any(problem.place.split("=")[0] == f"environment: {name}" for problem in self.problems)

    def odd(self, name: str, reason: str, remedy: str = "") -> None:
        """Note that what ``name`` says is probably not what was meant; everything works in spite of it."""
        self.warnings.append(InputWarning(self._place(name), reason, remedy))

    def _place(self, name: str) -> str:
        text = self._values.get(name)
        known = VARIABLES.get(name)
        # Of a name that nobody knows the value may be a secret: NS_PASSWROD holds one.
        if text is None or known is None or known.secret:
            return f"environment: {name}"
        shown = "".join(character if character.isprintable() else "?" for character in text[:_LONGEST_SHOWN])
        return f'environment: {name}="{shown}{"..." if len(text) > _LONGEST_SHOWN else ""}"'

    # --- values -------------------------------------------------------------------------------------------------

    def text(self, name: str) -> str | None:
        """Return what ``name`` says, none if nothing."""
        return self._values.get(name)

    def needed(self, name: str, because: str, example: str) -> str | None:
        """Return what ``name`` says, or note that it is missing and what it is needed for."""
        text = self._values.get(name)
        if text is None:
            meant = next((old for old in old_names_of(name) if old in self._values), None)
            remedy = f"{meant} is set: did you mean {name}?" if meant else f"set it, like {name}={example}"
            self.problems.append(Problem(f"environment: {name}", f"is missing: {because}", remedy))
        return text

    def number(self, name: str, text: str, least: int, most: int) -> int | None:
        """Return ``text`` as a whole number between ``least`` and ``most``."""
        if not (text.isascii() and text.isdecimal()):
            self.wrong(name, "is not a whole number", f"write digits, {least} to {most}")
            return None
        if len(text) > 12 or not least <= int(text) <= most:
            self.wrong(name, f"is outside {least} to {most}", "write a number between them")
            return None
        return int(text)

    def choice(self, name: str, text: str, known: Mapping[str, str]) -> str | None:
        """Return what ``known`` says for ``text``, whatever its case."""
        found = {spelled.lower(): meant for spelled, meant in known.items()}.get(text.lower())
        if found is None:
            meant = closest(text, known)
            one_of = f"one of {', '.join(known)}"
            self.wrong(name, "is not known", f'did you mean "{meant}"? {one_of}' if meant else one_of)
        return found

    def addresses(self, name: str, text: str) -> tuple[IPAddress, ...]:
        """Return the unicast addresses in ``text``, at most one of each family."""
        found: list[IPAddress] = []
        for part in _parts(text):
            try:
                address = ip_address(part)
            except ValueError:
                self.wrong(name, f'"{_short(part)}" is not an IP address', "write it like 192.0.2.50")
                continue
            if address.version == 6 and address.scope_id is not None:
                self.wrong(
                    name, f"{address} has a zone, which means something on one host only", "leave out the zone"
                )
            elif address.is_unspecified or address.is_multicast or address.is_loopback or _broadcast(address):
                self.wrong(name, f"{address} cannot be the end of a tunnel", "write a unicast address of the device")
            elif any(address.version == other.version for other in found):
                self.wrong(name, f"names two IPv{address.version} addresses", "keep one of each family")
            else:
                found.append(address)
        return tuple(found)

    def networks(self, name: str, text: str) -> tuple[IPNetwork, ...]:
        """Return the networks in ``text``; host bits are cut off and told, a missing length is a problem."""
        found: list[IPNetwork] = []
        for part in _parts(text):
            if "/" not in part:
                self.wrong(name, f'"{_short(part)}" has no prefix length', "write it like 192.168.1.0/24")
                continue
            try:
                interface: IPv4Interface | IPv6Interface = ip_interface(part)
            except ValueError:
                self.wrong(name, f'"{_short(part)}" is not a network', "write it like 192.168.1.0/24")
                continue
            if interface.ip != interface.network.network_address:
                self.odd(name, f"{part} has host bits, {interface.network} is meant", f"write {interface.network}")
            found.append(interface.network)
        return tuple(found)

    def mac(self, name: str, text: str) -> str | None:
        """Return ``text`` as the lower-case MAC of one station."""
        mac = text.lower().replace("-", ":")
        if not _MAC.fullmatch(text):
            self.wrong(name, "is not a MAC", "write it like 02:00:5e:10:00:01")
        elif int(mac[:2], 16) & 1 or not int(mac.replace(":", ""), 16):
            self.wrong(name, "is no one device's MAC", "write the unicast MAC that the device sends from")
        else:
            return mac
        return None

    def name(self, name: str, text: str) -> str | None:
        """Return ``text`` if a Kubernetes object can be called so."""
        if len(text) > 200 or not re.fullmatch(NAME, text):
            self.wrong(
                name,
                "cannot be the name of a ConfigMap",
                "lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit, at most 200",
            )
            return None
        return text

    def hosts(self, name: str, text: str) -> tuple[str, ...]:
        """Return one or two hosts (addresses or names) in ``text``, as they stand in a URL."""
        found = []
        for part in _parts(text):
            try:
                address = ip_address(part)
            except ValueError:
                # All digits and dots is an address that somebody mistyped, not a name.
                if not _HOST.fullmatch(part) or not re.search(r"[A-Za-z]", part):
                    self.wrong(
                        name, f'"{_short(part)}" is neither an address nor a host name', "write it like 192.0.2.10"
                    )
                    continue
                found.append(part.lower())
            else:
                found.append(f"[{address}]" if address.version == 6 else str(address))
        if len(found) > 2:
            self.wrong(name, f"names {len(found)} hosts", "write one, or the two nodes of an HA pair")
        return tuple(found)

    def path(self, name: str, text: str, *, folder: bool = False) -> str | None:
        """Return ``text`` if it is the absolute path of something that is there."""
        where = Path(text)
        if not where.is_absolute():
            self.wrong(name, "is not an absolute path", f"write it like /etc/isthmus/{'adc' if folder else 'ca.pem'}")
            return None
        if not (where.is_dir() if folder else where.is_file()):
            self.wrong(name, f"there is no such {'directory' if folder else 'file'}", "mount it, or correct the path")
            return None
        return text

    def fingerprint(self, name: str, text: str) -> str | None:
        """Return ``text`` as a SHA-256 fingerprint in 64 lower-case hex digits."""
        if not _FINGERPRINT.fullmatch(text):
            self.wrong(
                name,
                "is not a SHA-256 fingerprint",
                "write 64 hex digits, as `openssl x509 -noout -fingerprint -sha256` prints them",
            )
            return None
        return text.replace(":", "").lower()


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _short(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:_LONGEST_SHOWN])


def _broadcast(address: IPAddress) -> bool:
    return address.version == 4 and int(address) == 0xFFFFFFFF
