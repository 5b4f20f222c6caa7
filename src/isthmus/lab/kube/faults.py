"""What a test can make go wrong, and what it can count.

Faults act on requests as clients see them, after authentication: a verb and a resource choose them, ``*`` stands for any.
Faults of watches that are under way are methods of the server, which knows them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from isthmus.lab.kube.status import ApiError

MUTATING = ("create", "update", "patch", "delete", "deletecollection")

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def _fits(pattern: str, word: str) -> bool:
    return pattern in ("*", word)


@dataclass(slots=True)
class Failure:
    """Answer the next ``left`` matching requests with ``status``."""

    left: int
    verb: str
    resource: str
    status: int
    retry_after: int | None
    message: str


@dataclass(slots=True)
class Faults:
    """All faults of one server, and its counters."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)  # (verb, resource)
    by_agent: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (user agent, verb, resource)
    expired_as_http: bool = False  # 410 at the start of a watch: as the HTTP status, or as an ERROR event (as today)
    freeze_new: bool = False
    _failures: list[Failure] = field(default_factory=list)
    _delays: dict[tuple[str, str], float] = field(default_factory=dict)
    _denied: set[tuple[str, str, str]] = field(default_factory=set)
    _emptied: dict[str, int] = field(default_factory=dict)

    @property
    def writes(self) -> int:
        """Return how many requests there were that ask for a change, whether or not it was made."""
        return sum(count for (verb, _resource), count in self.requests.items() if verb in MUTATING)

    def fail_next(
        self,
        count: int = 1,
        *,
        status: int = 500,
        verb: str = "*",
        resource: str = "*",
        retry_after: int | None = None,
        message: str = "",
    ) -> None:
        """Answer the next ``count`` requests for ``verb`` on ``resource`` (a plural) with ``status``."""
        self._failures.append(Failure(count, verb, resource, status, retry_after, message))

    def delay(self, seconds: float, *, verb: str = "*", resource: str = "*") -> None:
        """Answer matching requests ``seconds`` late; 0 ends that."""
        self._delays[(verb, resource)] = seconds

    def deny(self, user: str, *, verb: str = "*", resource: str = "*") -> None:
        """Answer matching requests of ``user`` with 403."""
        self._denied.add((user, verb, resource))

    def allow(self, user: str, *, verb: str = "*", resource: str = "*") -> None:
        """Take a ``deny`` of the same words back."""
        self._denied.discard((user, verb, resource))

    def empty_lists(self, resource: str, count: int = 1) -> None:
        """Answer the next ``count`` lists of ``resource``, streamed ones too, with no items, and success."""
        self._emptied[resource] = count

    def clear(self) -> None:
        """End all faults; the counters stay."""
        self._failures.clear()
        self._delays.clear()
        self._denied.clear()
        self._emptied.clear()
        self.expired_as_http = False
        self.freeze_new = False

    def count(self, agent: str, verb: str, resource: str) -> None:
        """Count one request."""
        self.requests[(verb, resource)] += 1
        if len(self.by_agent) < 10_000:  # a client that invents user agents must not fill the memory
            self.by_agent[(agent, verb, resource)] += 1

    def latency(self, verb: str, resource: str) -> float:
        """Return how late to answer."""
        return max(
            (late for (v, r), late in self._delays.items() if _fits(v, verb) and _fits(r, resource)),
            default=0.0,
        )

    def failure(self, verb: str, resource: str) -> ApiError | None:
        """Return the error to answer with, and count it as used."""
        for failure in self._failures:
            if failure.left > 0 and _fits(failure.verb, verb) and _fits(failure.resource, resource):
                failure.left -= 1
                if failure.left == 0:
                    self._failures.remove(failure)
                reason = _REASONS.get(failure.status, "InternalError")
                message = failure.message or f"injected failure of {verb} {resource}"
                return ApiError(failure.status, reason, message, retry_after=failure.retry_after)
        return None

    def is_denied(self, user: str, verb: str, resource: str) -> bool:
        """Return whether ``user`` may not do this."""
        return any(who == user and _fits(v, verb) and _fits(r, resource) for who, v, r in self._denied)

    def is_emptied(self, resource: str) -> bool:
        """Return whether this list is to be empty, and count it as used."""
        left = self._emptied.get(resource, 0)
        if left > 0:
            self._emptied[resource] = left - 1
        return left > 0
