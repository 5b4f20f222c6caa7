"""Whether a NetScaler can say that nodes answer it: it cannot, in a way that proves a path.

NITRO's ``ping`` is not among the kinds that the vendor's schema gives a shape for, and what devices print for it was found in
no public report; nothing is claimed on such ground. What a NetScaler does know is whether members of its virtual servers
answer its monitors, which go the same way as a client's requests: that is shown by ``svrstate`` on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from isthmus.drivers.base import ProbeTarget
from isthmus.errors import DeviceUnsupported

__all__ = ["refuse"]


def refuse(device: str, targets: Sequence[ProbeTarget]) -> NoReturn:
    """Raise ``DeviceUnsupported``: no node may be called reached, or silent, on the word of nobody."""
    raise DeviceUnsupported(
        f"{device}: a NetScaler cannot be asked whether {len(targets)} addresses answer it; "
        "its monitors ask the members of virtual servers, see svrstate of their service groups"
    )
