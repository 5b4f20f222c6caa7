"""Finds a free block of a given length inside a network, the highest first: allocators hand out the lowest."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from isthmus.model.resources import IPNetwork


def free_block(network: IPNetwork, length: int, used: Iterable[IPNetwork]) -> IPNetwork | None:
    """Return the highest block of ``length`` in ``network`` that overlaps nothing in ``used``, or none."""
    if not network.prefixlen <= length <= network.max_prefixlen:
        return None
    step = 1 << (network.max_prefixlen - length)
    ranges = sorted(
        (
            (int(other.network_address), int(other.broadcast_address))
            for other in used
            if other.version == network.version
        ),
        reverse=True,
    )
    start = int(network.broadcast_address) - step + 1
    for first, last in ranges:
        if last < start:
            break
        if first < start + step:
            start = (first - step) // step * step
    if start < int(network.network_address):
        return None
    return IPv4Network((start, length)) if network.version == 4 else IPv6Network((start, length))
