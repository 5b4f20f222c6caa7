"""Drift: ours, and not as we left it, though nobody who may wish so wished it; and what the device's policy makes of that.

Three values decide, per identity: what was *last* known to stand as it should, what is *wanted* now, what is *observed*::

    wanted = last, observed = last        in order
    wanted = last, observed differs       drift: somebody else's hand
    wanted differs from last              the wish moved: an ordinary change, whatever stands there
    last is not known                     nobody can tell: an ordinary change

Drift is ``repair``-ed as any other difference, or left alone: reported (``alert``) or only counted (``ignore``), until the
wish itself moves or a person orders the repair. The one confusing thing: a device on which nothing of ours is left at all has
booted or was wiped, and gets everything back under every policy; a gateway must come up again by itself. Nor is a VIP drift
that lapsed because nobody refreshed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from isthmus.model.kinds import EdgeDevice
from isthmus.model.plan import Answer, Drift
from isthmus.model.resources import AnyResource, VirtualAddress

__all__ = ["Left", "answer"]


def answer(device: EdgeDevice | None, *, repair: bool) -> Answer:
    """Return what is done about drift on ``device``; ``repair`` is a person's order."""
    return "repair" if repair or device is None else device.spec.drift


class Left:
    """What one device had when it was last as it should be, identity by identity."""

    def __init__(self) -> None:
        self._last: dict[str, AnyResource] = {}
        self._expecting = False

    def remember(self, resources: Iterable[AnyResource]) -> None:
        """Take what was written down before a restart; what is known already counts more."""
        for resource in resources:
            self._last.setdefault(resource.identity, resource)

    def put(self, identity: str, resource: AnyResource | None) -> None:
        """Take that we have left ``resource`` there, or nothing."""
        if resource is None:
            self._last.pop(identity, None)
        else:
            self._last[identity] = resource

    def forget(self, identity: str) -> None:
        """Take that nobody knows how we left it: a change whose outcome is unknown."""
        self._last.pop(identity, None)

    def expect_anything(self) -> None:
        """Take that a change of ours took other things along: what is missing at the next look is our own doing."""
        self._expecting = True

    def looked(self, observed: Mapping[str, AnyResource]) -> None:
        """Take a look at everything."""
        if not observed:
            self._last.clear()
        elif self._expecting:
            self._last = {identity: one for identity, one in self._last.items() if observed.get(identity) == one}
        self._expecting = False

    def judge(
        self, identity: str, wanted: AnyResource | None, observed: AnyResource | None, policy: Answer
    ) -> Drift | None:
        """Return the drift at ``identity``, or none; keeps what is found to be in order."""
        last = self._last.get(identity)
        if isinstance(last, VirtualAddress) and last.lapses and observed is None:
            self._last.pop(identity)  # it goes by itself, by nobody's hand
            return None
        if wanted is not None and observed == wanted:
            self._last[identity] = wanted
            return None
        if last is None or wanted != last:
            self._last.pop(identity, None)
            return None
        return Drift(identity, last.describe(), observed.describe() if observed is not None else "", policy)

    def of(self, identity: str) -> AnyResource | None:
        """Return how it was left, or none."""
        return self._last.get(identity)
