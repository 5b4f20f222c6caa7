"""VIPs on the host's links: put up, announced, kept alive, and taken only where nobody else answers for them.

A VIP that lapses is asked for on its segment before it is put up, and refreshed for as long as it is ours. One that we could
not keep (this process was stopped for seconds) is taken back at once if it is still free, without waiting for anybody's
order: a gateway whose controller is away goes on. The one confusing thing: who answers for it meanwhile has it, and then we
forget it; whether we should have it again is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence

from isthmus.drivers.base import Outcome
from isthmus.drivers.linux import links as linkmessages
from isthmus.drivers.linux.addresses import apply_addresses, place_of
from isthmus.drivers.linux.announce import Announcer
from isthmus.drivers.linux.answers import unknown
from isthmus.drivers.linux.kernel import Kernel, Links
from isthmus.drivers.linux.lifetimes import Place, Refresher, seconds
from isthmus.drivers.linux.segment import answering
from isthmus.errors import DeviceUnreachable
from isthmus.model.plan import Change
from isthmus.model.resources import IPAddress, VirtualAddress
from isthmus.telemetry import get_logger

__all__ = ["Vips"]

_log = get_logger("linux")
_BEAT = 1.0
_PART = 256
_FRESH = 1.0
"""Seconds for which it counts that nobody answered: a process may have been stopped between the question and the deed."""


class Vips:
    """The VIPs of one open driver; ``busy`` is held while anything is written."""

    def __init__(self, kernel: Kernel, busy: asyncio.Lock) -> None:
        self._kernel = kernel
        self._busy = busy
        self._announcer = Announcer()
        self._loop = asyncio.get_running_loop()
        self._refresher = Refresher(kernel.owner.protocol, self._tell_lapsed)
        self._lapsed: set[Place] = set()
        self._asked: dict[Place, float] = {}
        self._woken = asyncio.Event()
        works = (self._beat(), self._watch_carriers(), self._take_back_for_ever())
        self._tasks = [asyncio.create_task(work) for work in works]

    async def close(self) -> None:
        """Stop announcing and refreshing; VIPs that lapse do so."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._announcer.close()
        await asyncio.to_thread(self._refresher.close)

    async def adopt(self) -> None:
        """Keep alive what stands of ours and lapses: another process of ours put it up before this one."""
        began = seconds()
        rows, links = await self._kernel.addresses(), await self._kernel.links()
        found = {
            (row.interface, row.link)
            for row in rows
            if row.lapses
            and row.protocol == self._kernel.owner.protocol
            and row.length == row.address.max_prefixlen
            and links.name(row.link) not in links.ours
        }
        new = found - self._refresher.held
        if new:
            # How much of its lifetime is left is not known: what stood when we looked is refreshed now, or not at all.
            self._refresher.hold(new, began)
            await asyncio.to_thread(self._refresher.refresh)

    async def contested(self, links: Links, changes: Sequence[Change]) -> dict[str, Outcome]:
        """Return an outcome for each VIP that must not be put up now, because somebody else on its segment has it."""
        if not any(isinstance(change.after, VirtualAddress) and change.after.lapses for change in changes):
            return {}
        rows = await self._kernel.addresses([_vip(change).address for change in changes])
        standing = {(row.interface, row.link) for row in rows}
        # A VIP that moves between two links of ours on one segment is answered for by ourselves until it has moved.
        own: dict[IPAddress, set[str]] = {}
        for row in rows:
            if row.protocol == self._kernel.owner.protocol and row.link in links.names:
                own.setdefault(row.address, set()).add(links.by_name[links.names[row.link]].mac)
        asked: dict[str, dict[IPAddress, Change]] = {}
        for change in changes:
            vip = change.after
            if isinstance(vip, VirtualAddress) and vip.lapses and vip.link in links.by_name:
                address, link = place_of(vip)
                if (address, links.index(link)) not in standing and links.by_name[link].mac:
                    asked.setdefault(link, {})[vip.address] = change
        outcomes: dict[str, Outcome] = {}
        for link, wanted in asked.items():
            try:
                if not links.by_name[link].running:
                    raise DeviceUnreachable(f"{link} has no carrier, so nobody there can be asked who has it")
                found = await answering(links.by_name[link], wanted.keys(), own)
            except DeviceUnreachable as error:
                outcomes |= {change.identity: unknown(change, str(error)) for change in wanted.values()}
                continue
            now = seconds()
            for change in wanted.values():
                address, name = place_of(_vip(change))
                self._asked[address, links.index(name)] = now
            for ip, mac in found.items():
                reason = f"{mac} still answers for {ip} on {link}; tried again until it does not"
                outcomes[wanted[ip].identity] = unknown(wanted[ip], reason)
        return outcomes

    async def apply(self, links: Links, changes: Sequence[Change]) -> list[Outcome]:
        """Put VIPs up and take them down, announce those that are new, keep alive those that lapse.

        In parts, because thousands take the kernel seconds, and the first must not lapse before the last is up.
        """
        outcomes: list[Outcome] = []
        for start in range(0, len(changes), _PART):
            outcomes += await self._apply_part(links, changes[start : start + _PART])
        return outcomes

    async def _apply_part(self, links: Links, changes: Sequence[Change]) -> list[Outcome]:
        taken = await self._taken_meanwhile(links, changes)
        if taken:
            rest = await self._apply_part(links, [change for change in changes if change.identity not in taken])
            told = taken | {one.change.identity: one for one in rest}
            return [told[change.identity] for change in changes]
        goes = {change.identity for change in changes}
        self._lapsed = {place for place in self._lapsed if f"vip {place[0].ip}" not in goes}
        self._refresher.drop([place for place in self._refresher.held if f"vip {place[0].ip}" in goes])
        self._announcer.forget(_vip(change).address for change in changes if _leaves(change))
        began = seconds()
        outcomes, added = await apply_addresses(self._kernel, links, changes)
        kept = [
            one.change.after
            for one in outcomes
            if one.result == "done" and isinstance(one.change.after, VirtualAddress) and one.change.after.lapses
        ]
        self._refresher.hold([(address, links.index(link)) for address, link in map(place_of, kept)], began)
        up = [change.after for change in added if isinstance(change.after, VirtualAddress)]
        if seconds() - began > _FRESH:
            up = await self._ask_again(links, up)
        if any(one.result != "done" for one in outcomes):
            await self.adopt()
        self._announce(links, up)
        return outcomes

    async def _taken_meanwhile(self, links: Links, changes: Sequence[Change]) -> dict[str, Outcome]:
        """Ask again for those that were asked for too long ago; return an outcome for each that somebody has by now."""
        now, stale = seconds(), []
        for change in changes:
            if change.after is not None:
                address, link = place_of(_vip(change))
                if now - self._asked.pop((address, links.index(link)), now) > _FRESH:
                    stale.append(change)
        found = await self.contested(links, stale) if stale else {}
        self._asked.clear()
        return found

    async def _ask_again(self, links: Links, added: Collection[VirtualAddress]) -> list[VirtualAddress]:
        """Take down what lapses and came up too late after its question, to be taken back if it is free; return the rest."""
        late = [vip for vip in added if vip.lapses and links.by_name[vip.link].mac]
        places = {(address, links.index(link)) for address, link in map(place_of, late)}
        if places:
            self._refresher.drop(places)
            await self._kernel.send([linkmessages.delete_address(*place) for place in sorted(places, key=str)])
            self._lapsed |= places
            self._woken.set()
        return [vip for vip in added if vip not in late]

    def _announce(self, links: Links, vips: Collection[VirtualAddress]) -> None:
        by_link: dict[str, list[IPAddress]] = {}
        for vip in vips:
            by_link.setdefault(vip.link, []).append(vip.address)
        for link, addresses in by_link.items():
            self._announcer.announce(addresses, links.by_name[link])

    # --- what could not be kept ---------------------------------------------------------------------------------

    def _tell_lapsed(self, places: list[Place]) -> None:
        """Take the news from the refresher's thread."""
        with contextlib.suppress(RuntimeError):  # the loop may be closing
            self._loop.call_soon_threadsafe(self._note_lapsed, places)

    def _note_lapsed(self, places: list[Place]) -> None:
        self._announcer.forget(address.ip for address, _ in places)
        self._lapsed.update(places)
        self._woken.set()

    async def _beat(self) -> None:
        while True:
            self._refresher.beat()
            await asyncio.sleep(_BEAT)

    async def _watch_carriers(self) -> None:
        """Let go of VIPs on a link without a carrier: another may take them there, and the carrier comes back unannounced."""
        while True:
            await asyncio.sleep(_BEAT)
            if not self._refresher.held and not self._lapsed:
                continue
            with contextlib.suppress(DeviceUnreachable):
                async with self._busy:
                    await self._let_go()

    async def _let_go(self) -> None:
        links = await self._kernel.links()
        running = {row.ifindex for row in links.rows if row.running}
        lost = {place for place in self._refresher.held if place[1] not in running}
        if lost:
            _log.warning("VIPs let go, no carrier", links=sorted({links.name(index) for _, index in lost}))
            self._refresher.drop(lost)
            self._announcer.forget(address.ip for address, _ in lost)
            await self._kernel.send([linkmessages.delete_address(*place) for place in sorted(lost, key=str)])
            self._lapsed |= lost
        if any(index in running for _, index in self._lapsed):
            self._woken.set()

    async def _take_back_for_ever(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                async with self._busy:
                    await self._take_back()
            except DeviceUnreachable as error:
                _log.warning("VIPs that lapsed are not taken back", reason=str(error))

    async def _take_back(self) -> None:
        """Put up again what lapsed and is nobody's; forget what somebody has; wait with the rest for a carrier."""
        links = await self._kernel.links()
        running = {row.ifindex for row in links.rows if row.running}
        lapsed = {place for place in self._lapsed if place[1] in running}
        self._lapsed = {place for place in self._lapsed - lapsed if place[1] in links.names}
        if not lapsed:
            return
        changes = []
        for address, index in sorted(lapsed, key=str):
            vip = VirtualAddress(address.ip, links.names[index], lapses=True)
            changes.append(Change("create", vip.identity, None, vip))
        taken = await self.contested(links, changes)
        free = [change for change in changes if change.identity not in taken]
        _log.warning("VIPs lapsed", taken_back=len(free), lost=len(lapsed) - len(free))
        await self.apply(links, free)


def _leaves(change: Change) -> bool:
    """Say whether a VIP goes from where it stands, altogether or to another link."""
    before, after = change.before, change.after
    return after is None or (isinstance(before, VirtualAddress) and before.link != _vip(change).link)


def _vip(change: Change) -> VirtualAddress:
    assert isinstance(change.resource, VirtualAddress), "only VIPs come here"
    return change.resource
