"""Addresses, networks and ranges as users write them, parsed once into ``ipaddress`` values and integers.

A *range* is a network (``192.0.2.0/28``), one address, or ``first - last``. It remembers its prefix length when it was
written as a network, because "leave out the network and the broadcast address" means nothing for the other two forms.
Ranges of both families are turned into sorted, disjoint intervals of integers per family: a /48 is two integers, never
a list of addresses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Literal

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from isthmus.model.kinds.wrong import Wrong

__all__ = [
    "Address",
    "AddressRange",
    "Family",
    "IPAddress",
    "IPNetwork",
    "IPRange",
    "Interval",
    "Network",
    "address_of",
    "merged",
    "parse_address",
    "parse_network",
    "parse_range",
    "without",
]

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
Family = Literal[4, 6]
Interval = tuple[int, int]
"""First and last address as integers, both included."""


@dataclass(frozen=True, slots=True)
class AddressRange:
    """The addresses from ``first`` to ``last``, both included; ``prefix`` is set when written as a network."""

    first: IPAddress
    last: IPAddress
    prefix: int | None = None

    @property
    def family(self) -> Family:
        """Return 4 or 6."""
        return 4 if self.first.version == 4 else 6

    @property
    def interval(self) -> Interval:
        """Return the range as two integers."""
        return int(self.first), int(self.last)

    def __str__(self) -> str:
        if self.prefix is not None:
            return f"{self.first}/{self.prefix}"
        return str(self.first) if self.first == self.last else f"{self.first} - {self.last}"


def parse_address(value: object) -> IPAddress:
    """Return the address that ``value`` says; a zone, a prefix length or an IPv4-mapped IPv6 address is ``Wrong``."""
    if isinstance(value, IPv4Address | IPv6Address):
        return _canonical(value)
    if not isinstance(value, str):
        raise Wrong("must be an IP address in text", "put it in quotes")
    text = value.strip()
    if "/" in text:
        raise Wrong(f'"{value}" is a network, one address is wanted', f"write {text.split('/')[0]}")
    try:
        return _canonical(ip_address(text))
    except Wrong:
        raise
    except ValueError as error:
        raise Wrong(f'"{value}" is not an IP address', "write it like 192.0.2.10 or 2001:db8::10") from error


def _canonical(address: IPAddress) -> IPAddress:
    """Return ``address`` if it is the one way to write it; two spellings of one address would be two claims of it."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise Wrong(f'"{address}" has a zone', f"write {str(address).split('%')[0]}")
        if address.ipv4_mapped is not None:
            raise Wrong(f'"{address}" is an IPv4 address in IPv6 clothes', f"write {address.ipv4_mapped}")
    return address


def parse_network(value: object) -> IPNetwork:
    """Return the network that ``value`` says; host bits are ``Wrong``, and the remedy shows the corrected value."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str):
        raise Wrong("must be a network in text", "put it in quotes")
    text = value.strip()
    if "/" not in text:
        address = parse_address(text)
        raise Wrong(
            f'"{value}" has no prefix length', f"write {address}/{24 if address.version == 4 else 64} or alike"
        )
    head, _, tail = text.partition("/")
    if not tail.isdigit():
        raise Wrong(f'"{value}" is not a network', "write it like 192.0.2.0/24 or 2001:db8::/64")
    parse_address(head)
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise Wrong(f'"{value}" is not a network', "write it like 192.0.2.0/24 or 2001:db8::/64") from error
    if parse_address(head) != network.network_address:
        raise Wrong(f'"{value}" has host bits set', f"write {network}")
    return network


def parse_range(value: object) -> AddressRange:
    """Return the range that ``value`` says: a network, one address, or ``first - last``; raise ``Wrong``."""
    if isinstance(value, AddressRange):
        return value
    if not isinstance(value, str):
        raise Wrong("must be a network, an address or a range in text", "put it in quotes")
    if "/" in value:
        network = parse_network(value)
        return AddressRange(network[0], network[-1], network.prefixlen)
    if "-" not in value:
        address = parse_address(value)
        return AddressRange(address, address)
    head, _, tail = value.partition("-")
    first, last = parse_address(head), parse_address(tail)
    if first.version != last.version:
        raise Wrong(f'"{value}" begins in one family and ends in the other', "write one range per family")
    if int(last) < int(first):
        raise Wrong(f'"{value}" ends before it begins', f"write {last} - {first}")
    return AddressRange(first, last)


def address_of(number: int, family: Family) -> IPAddress:
    """Return the address of ``family`` whose integer is ``number`` (small integers make it ambiguous otherwise)."""
    return IPv4Address(number) if family == 4 else IPv6Address(number)


def merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return the same integers as sorted intervals that neither overlap nor touch."""
    result: list[Interval] = []
    for first, last in sorted(intervals):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return tuple(result)


def without(intervals: Iterable[Interval], excluded: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return ``intervals`` less ``excluded``, sorted and disjoint; linear in both after sorting."""
    result: list[Interval] = []
    holes = merged(excluded)
    position = 0
    for first, last in merged(intervals):
        while position < len(holes) and holes[position][1] < first:
            position += 1
        start, hole = first, position
        while hole < len(holes) and holes[hole][0] <= last:
            if holes[hole][0] > start:
                result.append((start, holes[hole][0] - 1))
            start = max(start, holes[hole][1] + 1)
            hole += 1
        if start <= last:
            result.append((start, last))
    return tuple(result)


Address = Annotated[
    IPv4Address | IPv6Address,
    PlainValidator(parse_address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "minLength": 2, "maxLength": 45}),
]
Network = Annotated[
    IPv4Network | IPv6Network,
    PlainValidator(parse_network),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9a-fA-F:.]+/[0-9]{1,3}$", "maxLength": 49}),
]
IPRange = Annotated[
    AddressRange,
    PlainValidator(parse_range),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9a-fA-F:./ -]+$", "maxLength": 96}),
]
