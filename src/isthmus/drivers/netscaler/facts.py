"""What a NetScaler tells of itself: its links with their subnets, and what it does differently from a Linux gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from isthmus.drivers.netscaler.canon import text_of
from isthmus.drivers.netscaler.nitro import Meaning, Nitro, NitroError, Row
from isthmus.drivers.netscaler.sight import Places
from isthmus.model.facts import DeviceFacts, DeviceTraits, Interface

__all__ = ["facts_of", "told_mac"]

_MTU = 1500


async def told_mac(nitro: Nitro) -> str:
    """Return the MAC that the device sends from in tunnels, as far as it tells its interfaces; empty where it does not.

    It is that of its first data interface (``1/1`` before ``10/1``, never a management port or a loopback), for all
    interfaces of a NetScaler answer for one host.
    """
    try:
        rows = await nitro.get("interface", attrs=("id", "mac", "macaddr"))
    except NitroError as error:
        # A device that is away, or does not answer in its own words, has not said that it tells none.
        if error.meaning not in (Meaning.REFUSED, Meaning.MISSING, Meaning.NOT_PERMITTED):
            raise
        return ""
    return pick_mac(rows)


def pick_mac(rows: Sequence[Row]) -> str:
    """Return the MAC of the first data interface among ``rows``."""
    found: list[tuple[tuple[int, ...], str]] = []
    for row in rows:
        name, mac = text_of(row, "id"), text_of(row, "mac") or text_of(row, "macaddr")
        parts = name.split("/")
        if mac and all(part.isdecimal() for part in parts):
            numbers = tuple(int(part) for part in parts)
            # Ports 0/x manage the device; on small ones there is nothing else.
            found.append(((1, *numbers) if numbers[0] == 0 else (0, *numbers), mac.lower()))
    return min(found)[1] if found else ""


def facts_of(places: Places, *, neighbors: Literal["flooded", "joined"], tunnel_mac: str) -> DeviceFacts:
    """Return the device's links and what it is like; ``tunnel_mac`` is zero where it is not known, and nodes look for it."""
    links: dict[str, list[int]] = {}
    for index, place in enumerate(places.all):
        links.setdefault(place.link, []).append(index)
    interfaces = tuple(
        Interface(
            link,
            tunnel_mac,
            _MTU,
            tuple(sorted((places.all[index].own for index in indices), key=lambda own: (own.version, own))),
            ours=all(places.all[index].ours for index in indices),
        )
        for link, indices in sorted(links.items())
    )
    traits = DeviceTraits(
        neighbors=neighbors,
        onlink=False,
        clamps=False,
        profiles=True,
        policy_routes=True,
        shares_vni=False,
        tunnel_mac=tunnel_mac,
    )
    return DeviceFacts(interfaces, traits)
