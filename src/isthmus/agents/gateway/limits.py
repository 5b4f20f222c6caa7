"""How much one client, one address and all together may ask, so that the loop is always free for who keeps to it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address

__all__ = ["Concurrency", "Rate", "network_of"]

_MOST_KNOWN = 4096


class Rate:
    """A bucket of ``burst`` requests for each key, refilled by ``per_second``."""

    def __init__(self, per_second: float, burst: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Take one from the bucket of ``key``: return 0, or the seconds until there is one again."""
        now = self._clock()
        left, then = self._left.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._per_second)
        allowed = left >= 1
        self._left[key] = (left - 1 if allowed else left, now)
        if len(self._left) > _MOST_KNOWN:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._per_second


class Concurrency:
    """So many requests at a time, of one key and of all."""

    def __init__(self, each: int, together: int) -> None:
        self._each = each
        self._together = together
        self._now: dict[str, int] = {}

    @contextmanager
    def one(self, key: str) -> Iterator[bool]:
        """Count a request for as long as the ``with`` lasts; gives whether there is room for it."""
        mine = self._now.get(key, 0)
        if mine >= self._each or sum(self._now.values()) >= self._together:
            yield False
            return
        self._now[key] = mine + 1
        try:
            yield True
        finally:
            self._now[key] -= 1
            if not self._now[key]:
                del self._now[key]


def network_of(address: str) -> str:
    """Return whom an address stands for: an IPv6 host has a whole /64 to choose from."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else f"{int(parsed) >> 64:x}/64"
    return str(parsed)
