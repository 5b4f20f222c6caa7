"""One spelling for what NITRO spells in several ways: numbers as text or not, letters of any case, masks, defaults.

All values are compared as text. What does not read is an ``Unreadable``: it concerns its own row and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address
from typing import Any

from isthmus.drivers.netscaler.nitro import Row
from isthmus.model.resources import IPAddress, IPNetwork

__all__ = [
    "Unreadable",
    "address_of",
    "default_domain",
    "interface_of",
    "mask_of",
    "network_of",
    "prefix_range",
    "text_of",
    "whole",
]


class Unreadable(ValueError):
    """A row, or a field of it, is not what we know such rows to be."""


def text_of(row: Row, name: str) -> str:
    """Return a field as text, in any case of its name; empty where it is not there."""
    value = row.get(name)
    if value is None:
        value = next((given for field, given in row.items() if field.lower() == name.lower()), None)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "YES" if value else "NO"
    if isinstance(value, int | str):
        return str(value)
    raise Unreadable(f"{name} is {type(value).__name__}")


def whole(text: str) -> str:
    """Return a whole number in decimal digits."""
    try:
        return str(int(text))
    except ValueError:
        raise Unreadable(f"{text!r} is not a number") from None


def address_of(text: str) -> IPAddress:
    """Return an address, of a device that may write its prefix length behind it."""
    try:
        return ip_address(text.partition("/")[0])
    except ValueError:
        raise Unreadable(f"{text!r} is not an address") from None


def _plain_address(text: str) -> str:
    return str(address_of(text))


def _interface6(text: str) -> str:
    try:
        return str(IPv6Interface(text))
    except ValueError:
        raise Unreadable(f"{text!r} is not an IPv6 address with its length") from None


def _network6(text: str) -> str:
    try:
        return str(IPv6Network(text, strict=False))
    except ValueError:
        raise Unreadable(f"{text!r} is not an IPv6 prefix") from None


def _mask(text: str) -> str:
    try:
        return str(IPv4Network(f"0.0.0.0/{text}").netmask)
    except ValueError:
        raise Unreadable(f"{text!r} is not a mask") from None


def _mac(text: str) -> str:
    return text.lower().replace("-", ":")


def _upper(text: str) -> str:
    return text.upper()


FORMS: Mapping[str, Callable[[str], str]] = {
    "arp": _upper,
    "gateway": _plain_address,
    "id": whole,
    "ip": _plain_address,
    "ipaddress": _plain_address,
    "ipv46": _plain_address,
    "ipv6address": _interface6,
    "lbmethod": _upper,
    "local": _plain_address,
    "mac": _mac,
    "nd": _upper,
    "neighbor": _plain_address,
    "netmask": _mask,
    "port": whole,
    "remote": _plain_address,
    "servicetype": _upper,
    "srcip": _plain_address,
    "state": _upper,
    "type": _upper,
    "usip": _upper,
    "vtep": _plain_address,
    "vxlan": whole,
    "weight": whole,
}
"""How a field is spelled, by its name."""

OTHER_FORMS: Mapping[tuple[str, str], Callable[[str], str]] = {
    ("route6", "network"): _network6,
    ("vxlan_nsip6_binding", "ipaddress"): _interface6,
}
"""Fields that are spelled otherwise in one kind."""


def spell(kind: str, name: str, text: str) -> str:
    """Return a field's text in the one spelling; raise ``Unreadable``."""
    form = OTHER_FORMS.get((kind, name)) or FORMS.get(name)
    return text if form is None or not text else form(text)


def mask_of(length: int) -> str:
    """Return an IPv4 prefix length as a mask."""
    return str(IPv4Network((0, length)).netmask)


def interface_of(address: str, mask: str) -> IPv4Interface:
    """Return an IPv4 address with its mask; raise ``Unreadable``."""
    try:
        return IPv4Interface(f"{address}/{mask}")
    except ValueError:
        raise Unreadable(f"{address}/{mask} is not an address with its mask") from None


def network_of(network: str, mask: str) -> IPv4Network:
    """Return an IPv4 prefix; raise ``Unreadable`` where bits of the host are set."""
    try:
        return IPv4Network(f"{network}/{mask}")
    except ValueError:
        raise Unreadable(f"{network}/{mask} is not a prefix") from None


def prefix_range(prefix: IPNetwork) -> str:
    """Return a prefix as policy routes are told it: first and last address, or the one there is."""
    first, last = prefix.network_address, prefix.broadcast_address
    return str(first) if first == last else f"{first}-{last}"


def default_domain(row: Mapping[str, Any]) -> bool:
    """Say whether a row is in the traffic domain that we know of: the default one."""
    return str(row.get("td", "0") or "0") == "0"
