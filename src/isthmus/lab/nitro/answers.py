"""What the device answers: codes, their messages, and the HTTP status line that goes with each.

Codes, statuses and messages that a real device was seen to print are marked ``seen``. Of the others the code is the
vendor's, the wording is ours: match on codes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

# Clients compare the whole status line.
REASONS = {
    200: "OK",
    201: "Created",
    207: "Multi Status",
    209: "X-NITRO-WARNING",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    503: "Service Unavailable",
    599: "Netscaler specific error",
}

DONE: Json = {"errorcode": 0, "message": "Done", "severity": "NONE"}  # seen

_MESSAGES: dict[int, tuple[int, str]] = {
    257: (599, "Operation not permitted"),
    258: (404, "No such resource"),  # seen
    273: (409, "Resource already exists"),  # seen
    278: (599, "Invalid argument"),  # seen
    293: (599, "Operation in progress"),
    315: (599, "Resource in use"),
    354: (401, "Invalid username or password"),
    368: (599, "Operation is permitted only on the primary node"),
    431: (599, "Nothing to set"),
    444: (401, "Session expired or killed. Please login again"),
    446: (599, "Connection limit exceeded"),
    985: (599, "Network and netmask do not match"),
    986: (599, "Gateway is not directly reachable"),
    988: (599, "Route does not exist in the routing table"),
    1027: (401, "Not logged in or connection timed out"),
    1028: (599, "Operation not permitted on the secondary node"),
    1067: (200, "Feature(s) not enabled"),
    1092: (400, "Arguments cannot both be specified"),  # seen
    1093: (400, "Argument pre-requisite missing"),  # seen
    1095: (400, "Required argument missing"),
    1097: (400, "Invalid argument value"),
    1106: (400, "Argument value is too long"),
    1108: (400, "Argument value exceeds the maximum"),
    1109: (400, "Argument value is below the minimum"),
    1110: (400, "Invalid IP address"),
    1111: (400, "Invalid netmask"),
    1232: (400, "Invalid object name"),
    1233: (400, "Invalid JSON input"),
    1240: (400, "Invalid action"),
    1241: (599, "Rolled back"),
    1242: (599, "Rollback is possible for add and bind only"),
    1243: (207, "Bulk operation failed"),
    1335: (409, "Server already exists"),
    1461: (599, "Configuration could not be saved"),
    2407: (599, "IP address in use"),
    2510: (599, "The NetScaler IP cannot be deleted"),
    2612: (599, "IP address is not bound to the VXLAN"),
    2614: (599, "VXLAN is not configured"),
    2615: (599, "VLAN is already extended by a VXLAN"),
}


class Refusal(Exception):
    """The device says no."""

    def __init__(self, code: int, *about: object, status: int = 0, message: str = "", compact: bool = False) -> None:
        """Refuse with ``code``; ``about`` names what it is about, in brackets behind the message."""
        known, text = _MESSAGES.get(code, (599, "Error"))
        suffix = f" [{', '.join(str(word) for word in about)}]" if about else ""
        self.code = code
        self.status = status or known
        self.message = message or text + suffix
        self.compact = compact
        super().__init__(f"{code} {self.message}")

    def body(self) -> Json:
        """Return the body to answer with."""
        return {"errorcode": self.code, "message": self.message, "severity": "ERROR"}


def bad_query() -> Refusal:
    """Return what the PHP layer says to a query it cannot read, an argument without a value for one (seen)."""
    return Refusal(-1, status=599, message="Invalid args in query parameters", compact=True)


@dataclass(slots=True)
class Answer:
    """One answer, before it is written."""

    status: int = 200
    body: Json = field(default_factory=lambda: dict(DONE))
    warnings: list[str] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
