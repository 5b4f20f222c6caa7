"""What things of ours stand on while one pass looks at them: can the tunnel under them stand, is the address ours to serve.

A thing must not be made before what it stands on: the device would refuse it, or it would carry packets to somebody else. The
one confusing thing: what stands already is not asked about. That it stands is proof enough, whoever wants its place now.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from isthmus.core.adapted import Adapt
from isthmus.core.diff import holder_of, stands_on
from isthmus.core.wishes import Wishes
from isthmus.model.resources import AnyResource, VirtualAddress, served_address

__all__ = ["Footing"]


class Footing:
    """The answers of one pass; ``others`` is what is not ours on the device, and is not being taken over."""

    def __init__(
        self, wishes: Wishes, observed: Mapping[str, AnyResource], others: Mapping[str, str], adapt: Adapt
    ) -> None:
        self._wishes = wishes
        self._observed = observed
        self._others = others
        self._adapt = adapt
        self._missing: dict[str, str | None] = {}

    def missing(self, link: str) -> str | None:
        """Return why our tunnel ``link`` cannot stand, or none: it stands, will stand, or is no tunnel of ours."""
        if link not in self._missing:
            self._missing[link] = self._why_missing(link)
        return self._missing[link]

    def _why_missing(self, link: str) -> str | None:
        identity = f"tunnel {link}"
        verdict = self._wishes.verdict(identity)
        if verdict is None or identity in self._observed:
            return None
        holder = holder_of(identity, verdict.resource, self._others)
        return self._adapt({identity: verdict.resource}).refused.get(identity) if holder is None else holder

    def barred(self, wanted: Mapping[str, AnyResource]) -> Collection[str]:
        """Return which of ``wanted`` cannot stand: the device has no such thing, or it or its tunnel is somebody else's."""
        out = set(self._adapt(wanted).refused)
        for identity, resource in wanted.items():
            if identity in self._observed:
                continue
            link = stands_on(resource)
            lost = link is not None and self.missing(link) is not None
            if lost or holder_of(identity, resource, self._others) is not None:
                out.add(identity)
        return out

    def premature(self, resource: AnyResource) -> str | None:
        """Return why ``resource`` must not be made yet although nothing stands in its own place, or none."""
        link = stands_on(resource)
        if link is not None and (holder := self.missing(link)) is not None:
            return f"there is no {link} to put it on: {holder}"
        if (holder := self.taken(resource)) is not None:
            return f"its address is not ours to serve: {holder}"
        return None

    def taken(self, resource: AnyResource) -> str | None:
        """Return whose the address of a virtual server is if it is not ours, or none.

        Else a pool that holds the device's own address would take the packets that are meant for the device. One that
        stands goes, too: whether the address or the server came first must not matter.
        """
        address = served_address(resource) if not isinstance(resource, VirtualAddress) else None
        if address is None:
            return None
        vip = f"vip {address}"
        return self._others.get(vip) if vip not in self._observed else None
