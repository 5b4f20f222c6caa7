"""What is said when something is not done: problem details (RFC 9457) with a place, a reason and the way out.

The one confusing thing: what a caller sent is never repeated at length, and what it must not know (a path, a stack) is not
said; an unexpected error of ours is told to the log alone.
"""

from __future__ import annotations

import math

from aiohttp import web

from isthmus.agents.gateway.fence import StaleEpoch
from isthmus.drivers.linux.remote.messages import PROBLEM_TYPE, Problem, ProblemKind, encode, shortened
from isthmus.drivers.linux.remote.typed import BadMessage
from isthmus.errors import DeviceError, DeviceRefused, DeviceUnsupported, StateError

__all__ = ["Denied", "denial", "response"]


class Denied(Exception):
    """This request is not carried out."""

    def __init__(
        self,
        kind: ProblemKind,
        status: int,
        detail: str,
        *,
        place: str = "",
        remedy: str = "",
        epoch: int = 0,
        retry_after: float = 0.0,
    ) -> None:
        self.kind = kind
        self.status = status
        self.detail = detail
        self.place = place
        self.remedy = remedy
        self.epoch = epoch
        self.retry_after = retry_after
        super().__init__(detail)


_KINDS: tuple[tuple[type[DeviceError], ProblemKind, int], ...] = (
    (DeviceUnsupported, "device-unsupported", 501),
    (DeviceRefused, "device-refused", 422),
    (DeviceError, "device-unreachable", 503),
)


def denial(error: Exception) -> Denied | None:
    """Return what an error of a known kind means for who asked; none for an unexpected one."""
    match error:
        case Denied():
            return error
        case StaleEpoch():
            remedy = (
                "only the newest controller writes; if none runs and this epoch came from a wrong clock: "
                "`isthmus agent gateway reset-epoch` on the gateway"
            )
            return Denied("stale-epoch", 409, str(error), remedy=remedy, epoch=error.highest)
        case BadMessage():
            return Denied(
                "bad-request", 400, error.reason, place=error.place, remedy="see the gateway API's messages"
            )
        case StateError():
            return Denied("failed", 503, "the agent cannot keep its state now; its log says why")
        case DeviceError():
            kind, status = next((kind, status) for family, kind, status in _KINDS if isinstance(error, family))
            return Denied(kind, status, str(error))
    return None


def response(denied: Denied) -> web.Response:
    """Return the answer that says so."""
    problem = Problem(
        PROBLEM_TYPE + denied.kind,
        denied.kind.replace("-", " "),
        denied.status,
        shortened(denied.detail),
        denied.place,
        denied.remedy,
        denied.epoch,
    )
    headers = {"Retry-After": str(math.ceil(denied.retry_after))} if denied.retry_after else None
    return web.Response(
        status=denied.status, body=encode(problem), content_type="application/problem+json", headers=headers
    )
