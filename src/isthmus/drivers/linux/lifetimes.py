"""Keeping lapsing addresses alive: each is given three more seconds every second, for as long as this process is well.

The kernel takes an address down by itself when its lifetime ends (IFA_CACHEINFO), so a gateway whose agent died or hangs
stops answering without anybody's doing. The thread that refreshes is its own, because a busy event loop is no dead one;
but one that has not turned for ten seconds is.

The one confusing thing: the kernel knows no "refresh if it still stands"; the same message would put an address up again
that has lapsed, perhaps while another gateway took it. So the time since the last refresh is looked at before and after,
and an address that may have lapsed is taken down for good and told as lapsed; whoever wants it back asks the segment first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from time import CLOCK_BOOTTIME, clock_gettime

from isthmus.drivers.linux import links as linkmessages
from isthmus.drivers.linux.netlink import Netlink
from isthmus.model.resources import IPInterface

__all__ = ["LIFETIME", "Place", "Refresher", "seconds"]

Place = tuple[IPInterface, int]
"""An address with its length, and the index of its link."""

LIFETIME = 3
"""Seconds that the kernel keeps an address that is not refreshed; it takes up to one more to notice."""
_PACE, _BREATH = 1.0, 0.1
_SURE = 2.2
"""Seconds after a refresh within which the address certainly stands."""
_HUNG = 10.0
"""Seconds without a turn of the event loop after which this process is taken for hung."""
_PART = 256
_ROUTE = 0


def seconds() -> float:
    """Return seconds of a clock that goes on while the machine is suspended: lifetimes stand still then, others do not."""
    return clock_gettime(CLOCK_BOOTTIME)


class Refresher:
    """Refresh what it is told to hold, in a thread; ``lapsed`` is called there with the places that could not be kept."""

    def __init__(self, protocol: int, lapsed: Callable[[list[Place]], None]) -> None:
        self._protocol = protocol
        self._lapsed = lapsed
        self._held: dict[Place, float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._netlink: Netlink | None = None
        self._beat = seconds()

    def beat(self) -> None:
        """Take the news that the event loop turns."""
        self._beat = seconds()

    def hold(self, places: Collection[Place], since: float) -> None:
        """Keep ``places`` alive from now on; ``since`` (by :func:`seconds`) they had a whole lifetime before them."""
        with self._lock:
            self._held.update(dict.fromkeys(places, since))
        if places and self._thread is None:
            self._netlink = Netlink(_ROUTE, strict=True)
            self._thread = threading.Thread(target=self._run, name="address lifetimes", daemon=True)
            self._thread.start()

    def drop(self, places: Collection[Place]) -> None:
        """Let go of ``places``; once this returns, nothing here writes to them any more."""
        with self._lock:
            for place in places:
                self._held.pop(place, None)

    @property
    def held(self) -> frozenset[Place]:
        """Return what is kept alive; whoever asks never waits for the thread (a dict's copy is one step)."""
        return frozenset(self._held.copy())

    def close(self) -> None:
        """Stop refreshing; what is held lapses."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._netlink is not None:
            self._netlink.close()

    def _run(self) -> None:
        took = 0.0
        while not self._ended.wait(max(_PACE - took, _BREATH)):
            began = seconds()
            if began - self._beat < _HUNG:
                self.refresh()
            took = seconds() - began

    def refresh(self) -> None:
        """Give everything held a whole lifetime, and tell what may have lapsed."""
        places, lost = list(self.held), []
        for start in range(0, len(places), _PART):
            with self._lock:
                lost += self._refresh([place for place in places[start : start + _PART] if place in self._held])
        if lost:
            self._lapsed(lost)

    def _refresh(self, places: list[Place]) -> list[Place]:
        netlink = self._netlink
        assert netlink is not None, "something is held, so the socket is open"
        began = seconds()
        sure = [place for place in places if began - self._held[place] < _SURE]
        replies = netlink.exchange(
            [linkmessages.set_lifetime(*place, protocol=self._protocol, lifetime=LIFETIME) for place in sure]
        )
        # Stopped between the look and the write (SIGSTOP, a paused machine): then the look was worth nothing.
        late = seconds() - began > LIFETIME - _SURE
        kept = {place for place, reply in zip(sure, replies, strict=True) if reply.errno == 0 and not late}
        self._held.update(dict.fromkeys(kept, began))
        lost = [place for place in places if place not in kept and (late or seconds() - self._held[place] >= _SURE)]
        if lost:
            netlink.exchange([linkmessages.delete_address(*place) for place in lost])
            for place in lost:
                del self._held[place]
        return lost
