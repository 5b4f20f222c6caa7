"""Reading what nobody checked: custom resources, annotations and documents in ConfigMaps, field by field.

The API server holds its own kinds to a schema; what others publish has a string for a list, a number for a string, a null, or
nothing. A field that is not what it should be costs that field and leaves a sentence in ``problems``; nothing is raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from isthmus.model.resources import IPAddress, IPInterface, IPNetwork

_SHOWN = 80


class Loose:
    """One object as it came, and what was found wrong in it so far."""

    def __init__(self, object: Any, problems: list[str] | None = None) -> None:
        self.object = object
        self.problems: list[str] = [] if problems is None else problems

    def at(self, *path: str) -> Any:
        """Return what stands at that path, or none where a step of it is missing."""
        found = self.object
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
        return found

    def text(self, *path: str) -> str:
        """Return a text; numbers and truth values are taken as they would be written."""
        found = self.at(*path)
        if found is None:
            return ""
        if isinstance(found, bool):
            return "true" if found else "false"
        if isinstance(found, str | int | float):
            return str(found)
        self.wrong(path, "is no text", found)
        return ""

    def whole(self, *path: str) -> int | None:
        """Return a whole number, also one that is written as a text."""
        found = self.at(*path)
        if isinstance(found, int) and not isinstance(found, bool):
            return found
        if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 10:
            return int(found)
        if found is not None:
            self.wrong(path, "is no whole number", found)
        return None

    def yes(self, *path: str) -> bool:
        """Return whether it is true, or the text "true"."""
        return self.text(*path).lower() == "true"

    def items(self, *path: str) -> list[Any]:
        """Return a list; a single text or object where a list belongs is taken for a list of one, and said."""
        found = self.at(*path)
        if found is None:
            return []
        if isinstance(found, list):
            return found
        self.wrong(path, "is no list, taken for a list of one", found)
        return [found]

    def mapping(self, *path: str) -> dict[str, str]:
        """Return the texts of a map; whatever else is in it is left out, and said."""
        found = self.at(*path)
        if found is None:
            return {}
        if not isinstance(found, dict):
            self.wrong(path, "is no map", found)
            return {}
        bad = [key for key, value in found.items() if not isinstance(value, str)]
        for key in bad[:3]:
            self.wrong((*path, key), "is no text", found[key])
        return {key: value for key, value in found.items() if isinstance(value, str)}

    def parts(self, *path: str) -> Iterator[Loose]:
        """Yield the objects of a list; problems of each are problems of the whole."""
        for item in self.items(*path):
            if isinstance(item, dict):
                yield Loose(item, self.problems)
            else:
                self.wrong(path, "holds what is no object", item)

    def network(self, text: Any, where: str) -> IPNetwork | None:
        """Return a network that pods may be in; bits beyond its prefix are cut off, and said."""
        try:
            found = ip_network(_string(text), strict=False)
        except ValueError:
            self.problems.append(f"{where}: {_short(text)} is no network")
            return None
        if found.prefixlen == 0 or found.is_loopback or found.is_multicast:
            self.problems.append(f"{where}: {found} cannot be a network of pods")
            return None
        if ip_interface(text).ip != found.network_address:
            self.problems.append(f"{where}: {text} has bits beyond its prefix, taken for {found}")
        return found

    def networks(self, *path: str) -> tuple[IPNetwork, ...]:
        """Return the networks of a list of texts."""
        found = [self.network(text, ".".join(path)) for text in self.items(*path)]
        return tuple(dict.fromkeys(one for one in found if one is not None))

    def address(self, text: Any, where: str) -> IPAddress | None:
        """Return an address that another host can reach."""
        try:
            found = ip_address(_string(text))
        except ValueError:
            self.problems.append(f"{where}: {_short(text)} is no IP address")
            return None
        if "%" in str(found) or found.is_unspecified or found.is_multicast or found.is_loopback:
            self.problems.append(f"{where}: {found} is no address that another host can reach")
            return None
        return found

    def interface(self, *path: str) -> IPInterface | None:
        """Return an address with its prefix length, or none where there is none."""
        text = self.at(*path)
        if text in (None, ""):
            return None
        try:
            return ip_interface(_string(text))
        except ValueError:
            self.wrong(path, "is no address", text)
            return None

    def optional_address(self, *path: str) -> IPAddress | None:
        """Return the address at that path, or none where there is none."""
        text = self.at(*path)
        return None if text in (None, "") else self.address(text, ".".join(path))

    def wrong(self, path: tuple[str, ...], what: str, found: Any) -> None:
        """Note that a field is not what it should be."""
        self.problems.append(f"{'.'.join(path)} {what}: {_short(found)}")


def _string(found: Any) -> str:
    if not isinstance(found, str):
        raise ValueError(found)  # the ipaddress module would take a number for an address
    return found


def _short(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
