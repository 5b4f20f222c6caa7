"""What a driver may ask of a NetScaler over NITRO: rows read, rows written, and the configuration saved.

Only wiring and the words of the API: how a request gets there is ``exchange``'s, how rows end is ``writes``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from isthmus.drivers.netscaler.nitro.bodies import rows_of
from isthmus.drivers.netscaler.nitro.credentials import Credentials
from isthmus.drivers.netscaler.nitro.errors import Meaning
from isthmus.drivers.netscaler.nitro.exchange import Entered, Exchange
from isthmus.drivers.netscaler.nitro.facts import Release, features_in, missing_features
from isthmus.drivers.netscaler.nitro.node import Node, Tools
from isthmus.drivers.netscaler.nitro.pair import Pair
from isthmus.drivers.netscaler.nitro.queries import fits, path
from isthmus.drivers.netscaler.nitro.results import Result, Row
from isthmus.drivers.netscaler.nitro.saving import Saver
from isthmus.drivers.netscaler.nitro.tls import Trust
from isthmus.drivers.netscaler.nitro.wire import NotSent, Request, Wire
from isthmus.drivers.netscaler.nitro.writes import Writes
from isthmus.errors import DeviceError, DeviceUnreachable, DeviceUnsupported
from isthmus.model.kinds.netscaler import NetScalerOptions
from isthmus.telemetry import get_logger

__all__ = ["Nitro"]

_SAVE = 60.0
"""Seconds that a save may take at least: a large configuration is written to a small disk."""
_SAVE_AT_LAST = 15.0
"""Seconds that a save may hold up the end of a process; the device goes on with it by itself."""


_FIND_AT_LAST = 5.0
"""The same where the last answer was lost: a device that is gone must not hold up its next opening."""


class Nitro:
    """One device's API. It outlives ``close``: what it learned of the device's pace and of the pair is kept.

    Reading raises ``DeviceError``: ``DeviceUnreachable`` or ``NitroError``. Writing raises it only where nothing was sent;
    else each row has its result, in the order of the rows. An error in a result is one that the same row would meet again;
    whatever else keeps a row from being known to stand is ``unknown``.

    ``entered`` is called once in each session before its first write; what it raises keeps that write from going out. It may
    read and write through here itself.
    """

    def __init__(
        self,
        device: str,
        options: NetScalerOptions,
        credentials: Credentials,
        *,
        entered: Entered | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        source: random.Random | None = None,
    ) -> None:
        self.requests: Counter[str] = Counter()
        self._device = device
        self._options = options
        self._trust = Trust(
            device,
            clock,
            ca_file=None if options.ca_file is None else Path(options.ca_file),
            ca=options.ca,
            pin=options.certificate_sha256,
        )
        self._wire: Wire | None = None
        turns = asyncio.Semaphore(options.concurrency)
        tools = Tools(
            device,
            credentials,
            self._open_wire,
            turns,
            clock,
            source or random.Random(),  # noqa: S311 - only spreads clients out
            self.requests,
            options.timeout,
        )
        self._pair = Pair(device, [Node(root, tools) for root in options.urls], limit=options.timeout)
        self._saver = Saver(device, self._save, options.save_after, clock=clock, sleep=sleep)
        self._exchange = Exchange(self._pair, sleep, entered)
        self._writes = Writes(device, self._exchange, self._saver.changed, limit=options.timeout)
        self._log = get_logger("drivers").bind(device=device)

    # --- a device's life ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Log in, find the primary, read release and features; writes nothing. Raises ``DeviceError`` with what is wrong."""
        if self._wire is None:
            self._wire = Wire(self._device, self._trust, connections=self._options.concurrency)
        await self._pair.primary()
        self._saver.resume()

    async def close(self) -> None:
        """Save what is not saved, log out, let go of connections; a device that does not answer is left as it is."""
        try:
            await self._saver.stop()
            if self._saver.unsaved and self._wire is not None and not self._pair.shut():
                with contextlib.suppress(DeviceError, TimeoutError):
                    async with asyncio.timeout(_SAVE_AT_LAST if self._pair.found() else _FIND_AT_LAST):
                        await self._saver.now()
        finally:
            wire = self._wire
            if wire is not None:
                try:
                    await self._pair.leave()
                finally:
                    self._wire = None
                    await wire.close()

    @property
    def release(self) -> Release:
        """Return the release, as in 13.1 build 53: (13, 1, 53); zeros until open."""
        return self._pair.release

    @property
    def features(self) -> frozenset[str]:
        """Return the features that are switched on, as the device spells them (``LB``); none until open."""
        return self._pair.features

    @property
    def session(self) -> tuple[str, int]:
        """Return the URL of the node in use and how many sessions we have had there; another value is another session."""
        met = self._pair.met()
        return ("", 0) if met is None else (met[0].root, met[1])

    @property
    def save_trouble(self) -> str:
        """Return why the configuration cannot be saved; empty while all is well."""
        return self._saver.trouble

    async def look_at_features(self) -> None:
        """Read again which features are on, since anybody may switch them; an answer without them changes nothing."""
        if rows := await self.get("nsfeature"):
            self._pair.features = features_in(rows[0])

    async def need(self, *features: str) -> None:
        """See to it that ``features`` (LB, IPv6PT) are on: switch them on if the user lets us.

        Raises ``DeviceUnsupported`` that names what is off and the way out, if not. It writes; so it is for a driver's
        ``prepare``, and for what really needs the feature.
        """
        missing = missing_features(features, self.features)
        if not missing:
            return
        names = " ".join(missing)
        if not self._options.enable_features:
            raise DeviceUnsupported(
                f"{self._device}: {'feature' if len(missing) == 1 else 'features'} {names} switched off; "
                f"switch on there (enable ns feature {names}), or let us: enableFeatures: true"
            )
        [result] = await self.act("nsfeature", "enable", [{"feature": list(missing)}])
        if result.error is not None:
            raise result.error
        if result.unknown:
            raise DeviceUnreachable(result.why)
        self._pair.features |= frozenset(missing)
        self._log.info("features switched on", features=names)

    # --- reading ------------------------------------------------------------------------------------------------

    async def get(
        self,
        kind: str,
        name: str | None = None,
        *,
        args: Mapping[str, str] | None = None,
        filter: Mapping[str, str] | None = None,
        attrs: Sequence[str] = (),
        view: str | None = None,
    ) -> list[Row]:
        """Return the objects of ``kind``, or the one called ``name``; none where there is none.

        A binding without a name is that of all objects. Raises ``DeviceUnreachable`` and ``NitroError``.
        """
        everything = {"bulkbindings": "yes"} if kind.endswith("_binding") and name is None and not args else {}
        target = path(kind, name, args=args, filter=filter, attrs=attrs, view=view, options=everything)
        request = Request("GET", target, f"GET {kind}", self._options.timeout)
        answer, body, _ = await self._exchange.send(request, again=True)
        if body.error is not None:
            if body.error.meaning is Meaning.MISSING:
                return []
            raise body.error
        rows = rows_of(body, kind, answer.status, f"{self._device}: {request.what}")
        return [row for row in rows if fits(row, filter)] if filter else rows

    async def count(self, kind: str) -> int:
        """Return how many objects of ``kind`` there are, without reading them."""
        request = Request("GET", path(kind, options={"count": "yes"}), f"GET {kind}", self._options.timeout)
        answer, body, _ = await self._exchange.send(request, again=True)
        if body.error is not None:
            raise body.error
        rows = rows_of(body, kind, answer.status, f"{self._device}: {request.what}")
        return int(rows[0]["__count"]) if rows and str(rows[0].get("__count", "")).isdecimal() else 0

    # --- writing ------------------------------------------------------------------------------------------------

    async def add(self, kind: str, rows: Sequence[Row], *, idempotent: bool = False) -> list[Result]:
        """Make objects; with ``idempotent`` those that are there are changed, fields that are not given stay."""
        options = {"idempotent": "yes"} if idempotent else {}
        return await self._writes.write("POST", kind, rows, f"POST {kind}", options)

    async def update(self, kind: str, rows: Sequence[Row]) -> list[Result]:
        """Change objects; the rows bear their keys."""
        return await self._writes.write("PUT", kind, rows, f"PUT {kind}", {})

    async def bind(self, kind: str, rows: Sequence[Row]) -> list[Result]:
        """Make bindings."""
        return await self._writes.write("PUT", kind, rows, f"PUT {kind}", {})

    async def act(self, kind: str, action: str, rows: Sequence[Row]) -> list[Result]:
        """Do ``action`` (enable, apply, unset, kill ...) with each row; ``[{}]`` where there is nothing to say."""
        return await self._writes.write("POST", kind, rows, f"POST {kind}?{action}", {"action": action})

    async def remove(self, kind: str, rows: Sequence[Row]) -> list[Result]:
        """Remove objects or bindings by what identifies them in ``rows``; other fields do not matter.

        Several go in one request (``?action=remove``) where the device knows that form, else each in its own.
        """
        return await self._writes.remove(kind, rows)

    # --- saving -------------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Note that something changed, so that the configuration is saved once it is calm; writes through here do so."""
        self._saver.changed()

    async def save(self) -> None:
        """Save the configuration now; raise ``DeviceError`` if it cannot be."""
        await self._saver.now()

    async def _save(self) -> None:
        target = path("nsconfig", options={"action": "save"})
        limit = max(_SAVE, self._options.timeout)
        request = Request("POST", target, "POST nsconfig?save", limit, b'{"nsconfig":{}}')
        said = await self._exchange.send(request)
        if said.body.error is not None:
            raise said.body.error

    def _open_wire(self) -> Wire:
        if self._wire is None:
            raise NotSent(f"{self._device} is not open")
        return self._wire
