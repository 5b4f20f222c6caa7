"""The exception family, as one tree.

A class exists when somebody acts differently on it. Foreign exceptions (aiohttp, OSError, sqlite3 ...) are mapped to
one of these once, at the edge where they appear, with ``raise ... from error``. No message ever holds a secret.

::

    IsthmusError
    ├── InputError            what a user wrote is wrong; names the place, the reason and the way out
    │   └── DuplicateOrigin   the same object comes from two places
    ├── StateError            our own state directory cannot be used
    │   └── StateLocked       another process uses it
    ├── KubeError             a Kubernetes API said no, or nothing
    │   ├── KubeUnreachable   no answer (connection, TLS, time-out)
    │   ├── KubeUnauthorized  401: who are you
    │   ├── KubeForbidden     403: you may not
    │   ├── KubeNotFound      404
    │   ├── KubeConflict      409: already exists, or changed in between
    │   ├── KubeExpired       410: that resourceVersion is gone
    │   ├── KubeThrottled     429 or 503 with Retry-After
    │   ├── KubeInvalid       400, 422: the object is refused
    │   └── KubeWithheld      not sent: another controller may write now
    ├── DeviceError           a device cannot be used as a whole
    │   ├── DeviceUnreachable no answer; tried again later
    │   ├── DeviceRefused     an answer that retrying does not change
    │   ├── DeviceFenced      a newer controller writes to this device
    │   ├── NitroError        a NetScaler's own no, with its code (drivers/netscaler/nitro/errors.py)
    │   └── DeviceUnsupported this host or version lacks something; says what
    ├── GuardTripped          a plan would delete too much without consent
    └── LabError              the lab could not be built on this host
"""

from __future__ import annotations

__all__ = [
    "DeviceError",
    "DeviceFenced",
    "DeviceRefused",
    "DeviceUnreachable",
    "DeviceUnsupported",
    "DuplicateOrigin",
    "GuardTripped",
    "InputError",
    "IsthmusError",
    "KubeConflict",
    "KubeError",
    "KubeExpired",
    "KubeForbidden",
    "KubeInvalid",
    "KubeNotFound",
    "KubeThrottled",
    "KubeUnauthorized",
    "KubeUnreachable",
    "KubeWithheld",
    "LabError",
    "StateError",
    "StateLocked",
]


class IsthmusError(Exception):
    """The root of the family; catch it where "anything of ours went wrong" is meant."""


class InputError(IsthmusError):
    """Something a user wrote is wrong.

    ``place`` says where (file, line, field), ``reason`` what is wrong, ``remedy`` what to do about it.
    """

    def __init__(self, place: str, reason: str, remedy: str = "") -> None:
        self.place = place
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{place}: {reason}" + (f" ({remedy})" if remedy else ""))


class DuplicateOrigin(InputError):
    """The same object comes from two places; neither is preferred in silence."""


class StateError(IsthmusError):
    """The state directory cannot be read or written."""


class StateLocked(StateError):
    """Another process holds the state directory."""


class KubeError(IsthmusError):
    """A Kubernetes API said no, or nothing at all.

    ``status`` is the HTTP status (0 when there was no answer), ``reason`` the API's machine-readable reason.
    """

    status = 0

    def __init__(self, message: str, *, status: int | None = None, reason: str = "") -> None:
        super().__init__(message)
        if status is not None:
            self.status = status
        self.reason = reason


class KubeUnreachable(KubeError):
    """No answer: connection refused or lost, TLS failure, time-out."""


class KubeUnauthorized(KubeError):
    """401: the credential is missing, wrong or expired."""

    status = 401


class KubeForbidden(KubeError):
    """403: the credential is known and may not do this."""

    status = 403


class KubeNotFound(KubeError):
    """404: no such object, or no such kind of object."""

    status = 404


class KubeConflict(KubeError):
    """409: the object exists already, or changed since it was read."""

    status = 409


class KubeExpired(KubeError):
    """410: the resourceVersion or continue token is too old; list again."""

    status = 410


class KubeThrottled(KubeError):
    """429, or 503 with Retry-After: come back after ``retry_after`` seconds."""

    status = 429

    def __init__(self, message: str, *, status: int | None = None, reason: str = "", retry_after: float) -> None:
        super().__init__(message, status=status, reason=reason)
        self.retry_after = retry_after


class KubeInvalid(KubeError):
    """400 or 422: the object is refused as it stands; retrying the same does not help."""

    status = 422


class KubeWithheld(KubeError):
    """A write that was not sent, because another controller may write by now."""


class DeviceError(IsthmusError):
    """A device cannot be used as a whole; single refused changes are outcomes, not exceptions.

    ``retry_after`` is the seconds after which asking again makes sense, where that is known better than by the usual pace.
    """

    retry_after: float | None = None


class DeviceUnreachable(DeviceError):
    """The device gave no answer; what it holds stays, we try again."""


class DeviceRefused(DeviceError):
    """The device answered no, and asking again gives the same answer."""


class DeviceFenced(DeviceError):
    """A controller with a newer epoch writes to this device; asking again with the same epoch never helps.

    ``epoch`` is the one the device knows, 0 where it did not say.
    """

    def __init__(self, message: str, *, epoch: int = 0) -> None:
        super().__init__(message)
        self.epoch = epoch


class DeviceUnsupported(DeviceError):
    """This host or software version lacks something we need; the message says what and what would do."""


class GuardTripped(IsthmusError):
    """A plan would delete more than may go without consent."""


class LabError(IsthmusError):
    """The lab cannot be built on this host; the message says what is missing."""
