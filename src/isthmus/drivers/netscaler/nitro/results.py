"""How each row of a write ended: done, refused with the device's words, or not known because no answer came."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from isthmus.drivers.netscaler.nitro.errors import NitroError

__all__ = ["Result", "Row"]

Row: TypeAlias = dict[str, Any]
"""One object as NITRO spells it: ``{"ipaddress": "192.0.2.1", "netmask": "255.255.255.0"}``."""


class Result(NamedTuple):
    """How the write of ``row`` ended; done unless ``error`` or ``unknown`` say otherwise.

    ``unknown``: no answer came, or none for this row; it may or may not be carried out, so look. ``why`` says what was lost.
    ``warning`` is what the device remarked on a row that it took.
    """

    row: Row
    error: NitroError | None = None
    unknown: bool = False
    why: str = ""
    warning: str = ""

    @property
    def done(self) -> bool:
        """Return whether the row is known to be carried out."""
        return self.error is None and not self.unknown
