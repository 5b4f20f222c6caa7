"""How we know our own things again on a Linux host, and how two installations keep apart.

An installation has a name and a protocol number. The name is on links (alias) and on the nft table, the number on
routes, neighbors and addresses. The one confusing thing: the number alone does not tell two installations apart, so the
table records it, and a second installation with the same number is refused before it writes anything.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from isthmus.errors import DeviceRefused

__all__ = ["Owner", "protocol_name"]

_NAME = re.compile(r"[a-z0-9_]{1,24}")
_TABLE = "isthmus_"
_PROTOCOLS = {
    0: "unspec",
    1: "redirect",
    2: "kernel",
    3: "boot",
    4: "static",
    9: "ra",
    11: "zebra",
    12: "bird",
    16: "dhcp",
    42: "babel",
    186: "bgp",
    187: "isis",
    188: "ospf",
    189: "rip",
    192: "eigrp",
}


class Owner(NamedTuple):
    """The marks of one installation."""

    installation: str
    protocol: int

    @property
    def alias(self) -> str:
        """Return what our links carry as their alias."""
        return f"isthmus:{self.installation}"

    @property
    def table(self) -> str:
        """Return the name of our nft table (family inet)."""
        return f"{_TABLE}{self.installation}"

    def check(self) -> None:
        """Raise ``DeviceRefused`` for a name or number that cannot be a mark."""
        if not _NAME.fullmatch(self.installation):
            raise DeviceRefused(f"installation {self.installation!r}: 1 to 24 of a-z, 0-9 and _ make a table name")
        if not 5 <= self.protocol <= 255:
            raise DeviceRefused(f"protocol {self.protocol}: 0 to 4 belong to the kernel and to `ip`, use 5 to 255")
        if self.protocol in _PROTOCOLS:
            raise DeviceRefused(f"protocol {self.protocol} is {_PROTOCOLS[self.protocol]}'s; choose one nobody uses")

    def table_comment(self) -> str:
        """Return what our table says of itself: the number that goes with its name."""
        return f"isthmus protocol={self.protocol}"

    def check_other_table(self, table: str, comment: str) -> None:
        """Raise ``DeviceRefused`` when ``table`` is another installation's with our protocol number."""
        if not table.startswith(_TABLE) or table == self.table:
            return
        if f"protocol={self.protocol} " in f"{comment} ":
            other = table.removeprefix(_TABLE)
            raise DeviceRefused(
                f"installation {other!r} on this host uses protocol {self.protocol} too, and the two would delete each "
                f"other's routes; give {self.installation!r} another protocol number"
            )


def protocol_name(number: int) -> str:
    """Return the name ``ip`` prints for a route protocol, or the number."""
    return _PROTOCOLS.get(number, str(number))
