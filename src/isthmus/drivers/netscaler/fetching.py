"""Which rows a look needs, fetched side by side: whole kinds where everything is asked for, single objects where few are.

Only the fields that are read are asked for. The one confusing thing: a kind that the device's release does not have is a kind
of which there is nothing; any other failure to read is one, for what cannot be read must not look like what is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from isthmus.drivers.netscaler.canon import default_domain
from isthmus.drivers.netscaler.nitro import Nitro, NitroError, Row
from isthmus.errors import DeviceUnreachable

__all__ = ["FEW", "Fetcher", "Selection"]

FEW = 16
"""So many objects of a kind are asked for one by one; of more, all are."""

Selection = Sequence[Mapping[str, str]] | None
"""Which objects of a kind: those that fit one of these filters, or all."""

_ATTRS: dict[str, tuple[str, ...]] = {
    "nsip": ("ipaddress", "netmask", "type", "arp", "state", "td"),
    "nsip6": ("ipv6address", "type", "nd", "td", "scope"),
    "vxlan": ("id", "port", "td"),
    "bridgetable": ("mac", "vxlan", "vtep"),
    "arp": ("ipaddress", "mac", "vxlan", "vtep", "vlan", "type", "td"),
    "nd6": ("neighbor", "mac", "vxlan", "vtep", "vlan", "td"),
    "route": ("network", "netmask", "gateway", "routetype", "td"),
    "route6": ("network", "gateway", "routetype", "td"),
    "iptunnel": ("name", "remote", "local"),
    "netprofile": ("name", "srcip", "td"),
    "lbvserver": ("name", "servicetype", "ipv46", "port", "lbmethod", "netprofile", "state", "curstate", "td"),
    "servicegroup": ("servicegroupname", "servicetype", "usip", "netprofile", "state", "td"),
    "lbmonitor": ("monitorname", "type"),
}
_NO_SUCH_KIND = frozenset({1232, 1240})


class Fetcher:
    """The rows of one look; each kind is read once, however many ask for it."""

    def __init__(self, nitro: Nitro) -> None:
        self._nitro = nitro
        self._wanted: dict[str, Selection] = {}
        self._rows: dict[str, list[Row]] = {}
        self.counts: dict[str, int] = {}
        """How many objects there are of each kind that was read whole."""

    def want(self, kind: str, selection: Selection = None) -> None:
        """Have ``kind`` read; who wants more of it than another gets both."""
        if kind not in self._wanted:
            self._wanted[kind] = selection
            return
        before = self._wanted[kind]
        self._wanted[kind] = None if before is None or selection is None else [*before, *selection]

    def rows(self, kind: str) -> list[Row]:
        """Return what was read of a kind, nothing of one that was not wanted."""
        return self._rows.get(kind, [])

    async def all(self) -> None:
        """Read what is wanted; raise what the first failure was, and let none go on behind it."""
        async with asyncio.TaskGroup() as group:
            reads = {kind: group.create_task(self._read(kind, selection)) for kind, selection in self._wanted.items()}
        self._rows = {kind: read.result() for kind, read in reads.items()}

    async def _read(self, kind: str, selection: Selection) -> list[Row]:
        attrs = _ATTRS.get(kind, ())
        try:
            if selection is None or len(selection) > FEW:
                found = await self._nitro.get(kind, attrs=attrs)
                self.counts[kind] = len(found)
            else:
                parts = await asyncio.gather(*(self._one(kind, where, attrs) for where in selection))
                found = [row for part in parts for row in part]
        except NitroError as error:
            if error.code in _NO_SUCH_KIND:
                return []
            raise
        if not all(isinstance(row, dict) for row in found):
            raise DeviceUnreachable(f"{kind} was read as something else than objects")
        return [row for row in found if default_domain(row)]

    async def _one(self, kind: str, where: Mapping[str, str], attrs: Sequence[str]) -> list[Row]:
        if list(where) == ["="]:
            # Those that are found by their name alone.
            return await self._nitro.get(kind, where["="], attrs=attrs)
        return await self._nitro.get(kind, filter=where, attrs=attrs)
