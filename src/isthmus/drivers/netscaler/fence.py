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
        self._log = get_logger("drivers").bind(device=device)

    def check(self) -> None:
        """Raise ``DeviceFenced`` if the term that we write in has ended; asked before each request that writes."""
        if self._own is not None and self._epoch() != self._own.epoch:
            epoch, self._own = self._own.epoch, None
            raise DeviceFenced(
                f"{self._device}: our term as writer ({epoch}) has ended, nothing was sent", epoch=epoch
            )

    async def enter(self, nitro: Nitro) -> None:
        """Take the right to write in the present session; raise ``DeviceFenced`` where somebody newer has it."""
        epoch = self._epoch()
        await self._ledger.read()
        writers = self._ledger.writers
        newer = next((writer for writer in writers if writer.epoch > epoch), None)
        superseded = self._own is not None and self._own.epoch == epoch and self._own not in writers and writers
        if newer is not None or superseded:
            writer = newer or writers[0]
            raise DeviceFenced(
                f"{self._device}: a controller with epoch {writer.epoch} writes here since {writer.since}, ours is {epoch}; "
                f"if none runs any more, unbind its line from the pattern set ({writer.line})",
                epoch=writer.epoch,
            )
        rows = await nitro.get("systemsession")
        alive = {(text_of(row, "sid"), _since(row)) for row in rows}
        mine = next(
            ((text_of(row, "sid"), _since(row)) for row in rows if text_of(row, "currentconn") == "YES"), ("0", "-")
        )
        old = [writer for writer in writers if (writer.sid, writer.since) != mine]
        killed = [writer for writer in old if (writer.sid, writer.since) in alive]
        if killed:
            sids: list[Row] = [{"sid": int(writer.sid)} for writer in killed if writer.sid.isdecimal()]
            await nitro.act("systemsession", "kill", sids)
            if any(writer != self._own for writer in killed):
                self._log.info("older writer ended", sessions=len(killed), epoch=epoch)
                await self._sleep(self._timeout)
        own = Writer(epoch, *mine)
        failed = await self._ledger.add([own.line])
        if failed:
            raise DeviceFenced(f"{self._device}: {failed[own.line]}", epoch=epoch)
        await self._ledger.remove(writer.line for writer in writers if writer != own)
        self._own = own


def _since(row: Row) -> str:
    """Return when a session began, as one word of plain letters."""
    return re.sub(r"[^0-9A-Za-z:]+", "-", text_of(row, "logintime")) or "-"
