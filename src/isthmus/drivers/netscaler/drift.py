"""Notice that somebody else has changed the device: NITRO tells nothing by itself, so a cheap mark is read now and then.

The mark is the time of the device's last change, in whole seconds. A change of ours moves it too; so it is read at the end of
each of our batches and known from then on. The one confusing thing: what somebody else changes in the very second of our own
last change leaves the mark as it is. So for some seconds after a change of ours the numbers of objects are compared as well,
with those that the last look has found and our own writes have moved; and once a minute at most, after changes of ours,
everything is looked at and compared, which finds what no number tells.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from isthmus.drivers.netscaler.canon import text_of
from isthmus.drivers.netscaler.nitro import Nitro

__all__ = ["COUNTED", "INTERVAL", "Mark"]

INTERVAL = 5.0
"""Seconds from one look at the mark to the next."""
_DOUBT = 2.0
_VERIFY = 60.0
COUNTED = ("route", "route6", "bridgetable", "arp", "nd6", "lbvserver", "servicegroup", "netprofile", "vxlan")


class Mark:
    """The last change that we know of, and how many objects there should be."""

    def __init__(self, nitro: Nitro, clock: Callable[[], float] = time.monotonic) -> None:
        self._nitro = nitro
        self._clock = clock
        self._known = ""
        self._counts: dict[str, int] = {}
        self._changed = self._looked = clock()
        self._doubt = False

    async def read(self) -> str:
        """Return the mark as it is; to be asked before a look begins, for what changes during one may be missed by it."""
        rows = await self._nitro.get("nsconfig", attrs=("lastconfigchangedtime",))
        return text_of(rows[0], "lastconfigchangedtime") if rows else ""

    def seen(self, mark: str, counts: Mapping[str, int]) -> None:
        """Take what a look at everything has found for known; ``counts`` are the numbers of objects."""
        self._counts = {kind: counts[kind] for kind in COUNTED if kind in counts}
        if mark != self._known:
            # Somebody has changed something a moment ago, and may have gone on within that second.
            self._changed, self._doubt = self._clock(), True
        self._known = mark
        self._looked = self._clock()
        if self._looked - self._changed > _DOUBT:
            self._doubt = False

    def wrote(self, kind: str, more: int | None) -> None:
        """Count what a write of ours has made or removed; none where that is not known."""
        # An address brings a route of its own with it.
        for other in {"nsip": ("route",), "nsip6": ("route6",)}.get(kind, ()):
            self._counts.pop(other, None)
        if more is None:
            self._counts.pop(kind, None)
        elif kind in self._counts:
            self._counts[kind] += more

    async def written(self) -> None:
        """Take the mark as our own batch has left it for known."""
        self._changed, self._doubt = self._clock(), True
        self._known = await self.read()

    @property
    def doubtful(self) -> bool:
        """Return whether it is time to look at everything: our own writes may have hidden somebody else's."""
        return self._doubt and self._clock() - self._looked > _VERIFY

    async def moved(self) -> bool:
        """Say whether somebody has changed something that we do not know of."""
        if await self.read() != self._known:
            return True
        if self._clock() - self._changed > _DOUBT + INTERVAL:
            return False
        counts = dict(self._counts)
        found = await asyncio.gather(*(self._nitro.count(kind) for kind in counts))
        return counts == self._counts and list(found) != list(counts.values())

    async def unsaved(self) -> bool:
        """Say whether the device runs what it has not saved; whoever changed it may be gone."""
        rows = await self._nitro.get("nsconfig", attrs=("configchanged",))
        return bool(rows) and text_of(rows[0], "configchanged").upper() in ("YES", "TRUE")
