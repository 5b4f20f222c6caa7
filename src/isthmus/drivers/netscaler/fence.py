"""Who may write: the newest controller alone, as far as a device without compare-and-set lets anybody see to it.

Before the first write in a session, the ledger is read: a writer with a higher epoch means that we are the old one. Sessions
of older writers that are named there are ended, by number and start, so that neither a person's session nor one that got an
old number is hit; if one was alive, its last request is waited for. Then our own session and epoch are written down.

Two processes without epochs look alike: then whoever came last goes on, and the other, whose line is gone, does not fight.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from isthmus.drivers.netscaler.canon import text_of
from isthmus.drivers.netscaler.intents import Writer
from isthmus.drivers.netscaler.ledger import Ledger
from isthmus.drivers.netscaler.nitro import Nitro, Row
from isthmus.errors import DeviceFenced
from isthmus.telemetry import get_logger

__all__ = ["Fence"]


class Fence:
    """The right to write to one device, taken anew in each session."""

    def __init__(
        self,
        device: str,
        ledger: Ledger,
        epoch: Callable[[], int],
        *,
        timeout: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._device = device
        self._ledger = ledger
        self._epoch = epoch
        self._timeout = timeout
        self._sleep = sleep
        self._own: Writer | None = None
        self._mine: set[Writer] = set()  # of all our sessions: a reboot may bring back the line of an earlier one
        self._session: object = None
        self._entering = False
        self._log = get_logger("drivers").bind(device=device)

    def check(self) -> None:
        """Raise ``DeviceFenced`` if the term that we write in has ended; asked before each request that writes."""
        if self._own is not None and self._epoch() != self._own.epoch:
            epoch, self._own = self._own.epoch, None
            raise DeviceFenced(
                f"{self._device}: our term as writer ({epoch}) has ended, nothing was sent", epoch=epoch
            )

    async def enter(self, nitro: Nitro) -> None:
        """Take the right to write in the present session, once; raise ``DeviceFenced`` where somebody newer has it."""
        if self._entering or (self._own is not None and self._session == nitro.session):
            return
        self._entering = True
        try:
            await self._enter(nitro)
            self._session = nitro.session
        finally:
            self._entering = False

    async def _enter(self, nitro: Nitro) -> None:
        epoch = self._epoch()
        await self._ledger.read()
        self._refuse_newer(epoch, replaced=True)
        rows = await nitro.get("systemsession")
        current = next((row for row in rows if text_of(row, "currentconn") == "YES"), None)
        own = Writer(epoch, *(("0", "-") if current is None else (text_of(current, "sid"), _since(current))))
        # Our line goes first and the look that counts comes after it: of two that do so, one sees the other.
        self._mine.add(own)
        if why := await self._ledger.add([own.line]):
            raise DeviceFenced(f"{self._device}: {why[own.line]}", epoch=epoch)
        while True:
            await self._ledger.read()
            try:
                self._refuse_newer(epoch)
            except DeviceFenced:
                await self._ledger.remove([own.line])
                raise
            if not await self._end_older(nitro, own):
                break
            # Somebody newer may have come while we waited: look again.
        await self._ledger.remove(writer.line for writer in self._ledger.writers if writer != own)
        self._own = own

    async def _end_older(self, nitro: Nitro, own: Writer) -> bool:
        """End the live sessions of other writers and wait for their last requests; return whether there were any."""
        alive = {(text_of(row, "sid"), _since(row)) for row in await nitro.get("systemsession")}
        old = [one for one in self._ledger.writers if (one.sid, one.since) in alive and one != own]
        sids: list[Row] = [{"sid": int(one.sid)} for one in old if one.sid.isdecimal() and one.sid != own.sid]
        if not sids:
            return False
        await nitro.act("systemsession", "kill", sids)
        if all(one == self._own for one in old):
            return False  # a session of ours that we have left
        self._log.info("older writer ended", sessions=len(sids), epoch=own.epoch)
        await self._sleep(self._timeout)
        return True

    def _refuse_newer(self, epoch: int, *, replaced: bool = False) -> None:
        """Raise ``DeviceFenced`` where the ledger names a newer writer; with ``replaced`` also one as new in our place."""
        writers = self._ledger.writers
        if not writers:
            return
        own = self._own
        taken = replaced and own is not None and own.epoch == epoch and own not in writers
        taken = taken and writers[0].epoch == epoch and writers[0] not in self._mine
        if writers[0].epoch > epoch or taken:
            raise DeviceFenced(
                f"{self._device}: a controller with epoch {writers[0].epoch} writes here since {writers[0].since}, "
                f"ours is {epoch}; if none runs any more, unbind its line from the pattern set ({writers[0].line})",
                epoch=writers[0].epoch,
            )


def _since(row: Row) -> str:
    """Return when a session began, as one word of plain letters."""
    return re.sub(r"[^0-9A-Za-z:]+", "-", text_of(row, "logintime")) or "-"
