"""What a driver may ask of a NetScaler over NITRO: rows read, rows written, and the configuration saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from isthmus.drivers.netscaler.nitro.results import Result, Row

__all__ = ["Nitro"]


class Nitro(Protocol):
    """One device's API. It outlives ``close``: what it learned of the device's pace and of the pair is kept.

    Reading raises ``DeviceUnreachable`` and ``NitroError``. Writing raises them only where nothing at all was sent; else each
    row has its result, in the order of the rows.
    """

    requests: Counter[str]
    """Requests by method and kind (``"POST nsip"``), the count that the economy of requests is measured by."""

    @property
    def release(self) -> tuple[int, int, int]:
        """Return the release, as in 13.1 build 53: (13, 1, 53); known once open."""

    @property
    def features(self) -> frozenset[str]:
        """Return the features that are switched on, as the device spells them (``LB``); known once open."""

    async def open(self) -> None:
        """Log in, find the primary, read release and features, switch on what is needed if that is allowed."""

    async def close(self) -> None:
        """Save what is not saved, log out, let go of connections."""

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
        """Return the objects of ``kind``, or the one called ``name``; none where there is none."""

    async def add(self, kind: str, rows: Sequence[Row], *, idempotent: bool = False) -> list[Result]:
        """Make objects."""

    async def update(self, kind: str, rows: Sequence[Row]) -> list[Result]:
        """Change objects."""

    async def bind(self, kind: str, rows: Sequence[Row]) -> list[Result]:
        """Make bindings."""

    async def remove(self, kind: str, rows: Sequence[Row]) -> list[Result]:
        """Remove objects or bindings; the rows bear what identifies them."""

    async def act(self, kind: str, action: str, rows: Sequence[Row]) -> list[Result]:
        """Do ``action`` (enable, apply, unset, ...)."""

    async def save(self) -> None:
        """Save the configuration now."""

    def changed(self) -> None:
        """Note that something changed, so that the configuration is saved once it is calm."""
