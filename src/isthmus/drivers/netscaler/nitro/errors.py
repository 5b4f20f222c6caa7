"""What a NetScaler says no with, and what that means to us.

The device's codes are many; what we do about them is little. ``MEANINGS`` gives each code that some caller acts on one
word; every other code is ``refused``: asking again gives the same answer. Sources: the vendor's NITRO error listing, and
bodies that devices printed. The one confusing thing: 344 looks like a session's end as 352 and 444 are, and is "No Service".
"""

from __future__ import annotations

from enum import StrEnum

from isthmus.errors import DeviceError

__all__ = ["AWAY", "MEANINGS", "Meaning", "NitroError", "meaning_of"]


AWAY = frozenset({429, 502, 503, 504})
"""HTTP statuses by which a web server says that nobody behind it serves now."""


class Meaning(StrEnum):
    """What an answer means to whoever asked."""

    REFUSED = "refused"  # no, and the same question has the same answer
    MISSING = "missing"  # there is no such object
    EXISTS = "exists"  # there is one already; whether it is equal is to be looked at
    IN_USE = "in-use"  # something still refers to it
    NOT_PERMITTED = "not-permitted"  # this user may not, or this object allows it never
    BUSY = "busy"  # another operation is in progress; later
    FULL = "full"  # no room, on its disk or among its connections
    FEATURE = "feature"  # a feature that we need is switched off, or not licensed
    SECONDARY = "secondary"  # not here: the other node of the pair is the primary
    SESSION = "session"  # the session has ended; the request was not carried out
    CREDENTIALS = "credentials"  # name or password are wrong
    UNAVAILABLE = "unavailable"  # it answers, but does not serve now
    UNREADABLE = "unreadable"  # an answer that is none


MEANINGS: dict[int, Meaning] = {
    257: Meaning.NOT_PERMITTED,
    258: Meaning.MISSING,
    269: Meaning.NOT_PERMITTED,
    273: Meaning.EXISTS,
    293: Meaning.BUSY,
    315: Meaning.IN_USE,
    344: Meaning.MISSING,
    351: Meaning.MISSING,
    352: Meaning.SESSION,
    354: Meaning.CREDENTIALS,
    368: Meaning.SECONDARY,
    444: Meaning.SESSION,
    445: Meaning.FULL,
    446: Meaning.FULL,
    461: Meaning.MISSING,
    463: Meaning.MISSING,
    988: Meaning.MISSING,
    1026: Meaning.SESSION,
    1027: Meaning.SESSION,
    1028: Meaning.SECONDARY,
    1067: Meaning.FEATURE,
    1335: Meaning.EXISTS,
    1461: Meaning.FULL,
    2407: Meaning.IN_USE,
    2614: Meaning.MISSING,
    2823: Meaning.MISSING,
    3087: Meaning.MISSING,
    3248: Meaning.MISSING,
}


def meaning_of(code: int, http: int) -> Meaning:
    """Return what ``code`` means, or, where it is none that we know, what the HTTP status does."""
    if code in MEANINGS:
        return MEANINGS[code]
    if http in (401, 444):
        return Meaning.SESSION
    return Meaning.UNAVAILABLE if http in AWAY else Meaning.REFUSED


class NitroError(DeviceError):
    """The device's own no: ``code`` and ``message`` as it printed them, ``severity``, and the HTTP status.

    ``code`` is 0 where the answer had none (a 503 of its web server), ``meaning`` is what to act on. ``retry_after`` is the
    seconds after which asking again makes sense, None where nobody said.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        severity: str = "ERROR",
        http: int = 0,
        meaning: Meaning | None = None,
        retry_after: float | None = None,
        place: str = "",
    ) -> None:
        self.code = code
        self.message = message
        self.severity = severity
        self.http = http
        self.meaning = meaning_of(code, http) if meaning is None else meaning
        self.retry_after = retry_after
        number = f"{code} " if code else ""
        super().__init__(f"{place}: {number}{message}" if place else f"{number}{message}")
