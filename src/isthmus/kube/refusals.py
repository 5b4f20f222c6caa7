"""What an API's no means: Status bodies and HTTP codes, mapped once to our exception family.

Knows Status (meta/v1), Retry-After, and which code belongs to which class. Text that a server sends is shortened and the
credential is struck out of it, because a proxy in between may echo what it was sent.
"""

from __future__ import annotations

import email.utils
import time

import msgspec

from isthmus.errors import (
    KubeConflict,
    KubeError,
    KubeExpired,
    KubeForbidden,
    KubeInvalid,
    KubeNotFound,
    KubeThrottled,
    KubeUnauthorized,
)
from isthmus.kube.decoding import UNDECODABLE

LONGEST_WAIT = 300.0
"""Seconds; a Retry-After beyond it is not honoured, since it would blind us for longer than it protects a server."""

_BY_STATUS: dict[int, type[KubeError]] = {
    400: KubeInvalid,
    401: KubeUnauthorized,
    403: KubeForbidden,
    404: KubeNotFound,
    409: KubeConflict,
    410: KubeExpired,
    422: KubeInvalid,
}


class _Details(msgspec.Struct, rename="camel"):
    retry_after_seconds: float | None = None


class Status(msgspec.Struct, rename="camel"):
    """The API's own account of a failure."""

    kind: str = ""
    message: str | None = None
    reason: str | None = None
    code: int | None = None
    details: _Details | None = None


def read_status(body: bytes | msgspec.Raw) -> Status:
    """Return the Status in ``body``; an empty one if it is something else (a proxy's error page)."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except UNDECODABLE:
        return Status()
    return status if status.kind == "Status" else Status()


def refusal(
    what: str, code: int, body: bytes | msgspec.Raw, *, retry_after: str | None, secret: str | None
) -> KubeError:
    """Return the exception for an answer of ``code`` to ``what``. ``secret`` never appears in it."""
    status = read_status(body)
    reason = status.reason or ""
    text = status.message or ""
    if secret:
        text = text.replace(secret, "[redacted]")
    text = text[:500]
    message = f"{what}: {code}" + (f" {reason}" if reason else "") + (f": {text}" if text else "")
    seconds = _seconds(retry_after)
    if seconds is None and status.details is not None and code in (429, 503):
        seconds = status.details.retry_after_seconds
    if code == 429 or (code == 503 and seconds is not None):
        wait = min(max(1.0 if seconds is None else seconds, 0.0), LONGEST_WAIT)
        return KubeThrottled(message, status=code, reason=reason, retry_after=wait)
    return _BY_STATUS.get(code, KubeError)(message, status=code, reason=reason)


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3): a number or a date."""
    if not retry_after:
        return None
    try:
        return float(int(retry_after))
    except ValueError:
        try:
            return email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    except OverflowError:
        return LONGEST_WAIT
