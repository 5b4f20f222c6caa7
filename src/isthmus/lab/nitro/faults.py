"""What a test can make go wrong, and what it can count.

A verb and a resource choose the requests, ``*`` stands for any. Verbs are login, logout, get, add, update, unset, delete
and the names of actions (save, apply, enable ...). A bulk request is one request and several items; both are counted.
A request that cannot be read counts as ``unread``, with its method for a resource.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from isthmus.lab.nitro.answers import Refusal

READING = ("get", "login", "logout", "unread")
_PLAIN = ("disk_full", "save_takes", "boot_takes", "per_item", "fail_every", "drop_every", "secondary_code")


@dataclass(slots=True)
class _Failure:
    left: int
    verb: str
    resource: str
    status: int
    retry_after: int | None


@dataclass(slots=True)
class _Drop:
    left: int
    verb: str
    resource: str


def _fits(pattern: str, word: str) -> bool:
    return pattern in ("*", word)


@dataclass(slots=True)
class Faults:
    """All faults of one device, and its counters."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)  # (verb, resource)
    items: Counter[tuple[str, str]] = field(default_factory=Counter)
    disk_full: bool = False
    save_takes: float = 0.0  # seconds
    boot_takes: float = 0.0  # seconds without an answer after a reboot that was asked for
    per_item: float = 0.0  # seconds, on top of the delay of the request
    fail_every: int = 0  # every n-th request is answered 503
    drop_every: int = 0  # every n-th request is done and not answered
    secondary_code: int = 368  # what a secondary says to a change: 368 or 1028
    _failures: list[_Failure] = field(default_factory=list)
    _drops: list[_Drop] = field(default_factory=list)
    _delays: dict[tuple[str, str], float] = field(default_factory=dict)
    _refused: dict[int, int] = field(default_factory=dict)  # item of the next bulk request -> code

    @property
    def writes(self) -> int:
        """Return how many requests there were that ask for a change, whether or not it was made."""
        return sum(count for (verb, _resource), count in self.requests.items() if verb not in READING)

    def fail_next(
        self,
        count: int = 1,
        *,
        status: int = 503,
        verb: str = "*",
        resource: str = "*",
        retry_after: int | None = None,
    ) -> None:
        """Answer the next ``count`` matching requests with ``status`` and do nothing."""
        self._failures.append(_Failure(count, verb, resource, status, retry_after))

    def drop_replies(self, count: int = 1, *, verb: str = "*", resource: str = "*") -> None:
        """Do what the next ``count`` matching requests ask, then close the connection without an answer."""
        self._drops.append(_Drop(count, verb, resource))

    def delay(self, seconds: float, *, verb: str = "*", resource: str = "*") -> None:
        """Answer matching requests ``seconds`` late; 0 ends that."""
        self._delays[(verb, resource)] = seconds

    def refuse_item(self, index: int, *, code: int = 257) -> None:
        """Refuse one item (from 0) of the next bulk request that has so many."""
        self._refused[index] = code

    def set(self, **values: float) -> None:
        """Set the plain faults, those that are one number or yes or no."""
        for name, value in values.items():
            if name not in _PLAIN:
                raise ValueError(f"no such fault: {name}")
            kind = type(getattr(self, name))
            setattr(self, name, kind(value))

    def clear(self) -> None:
        """End all faults; the counters stay."""
        fresh = Faults(self.requests, self.items)
        for name in self.__slots__:
            setattr(self, name, getattr(fresh, name))

    def reset_counters(self) -> None:
        """Count from zero."""
        self.requests.clear()
        self.items.clear()

    def count(self, verb: str, resource: str, items: int = 1) -> None:
        """Count one request."""
        self.requests[(verb, resource)] += 1
        self.items[(verb, resource)] += items

    def latency(self, verb: str, resource: str, items: int = 1) -> float:
        """Return how late to answer."""
        late = max((s for (v, r), s in self._delays.items() if _fits(v, verb) and _fits(r, resource)), default=0.0)
        return late + self.per_item * items

    def failure(self, verb: str, resource: str) -> tuple[int, int | None] | None:
        """Return the status to fail with, and its Retry-After, and count it as used."""
        for failure in self._failures:
            if _fits(failure.verb, verb) and _fits(failure.resource, resource):
                failure.left -= 1
                if failure.left <= 0:
                    self._failures.remove(failure)
                return failure.status, failure.retry_after
        if self.fail_every and self.requests.total() % self.fail_every == 0:
            return 503, None
        return None

    def dropped(self, verb: str, resource: str) -> bool:
        """Return whether the answer is to be lost, and count it as used."""
        for drop in self._drops:
            if _fits(drop.verb, verb) and _fits(drop.resource, resource):
                drop.left -= 1
                if drop.left <= 0:
                    self._drops.remove(drop)
                return True
        return bool(self.drop_every) and self.requests.total() % self.drop_every == 0

    def item_refusal(self, index: int) -> Refusal | None:
        """Return why this item of a bulk request is refused, and count it as used."""
        code = self._refused.pop(index, None)
        return None if code is None else Refusal(code)
