"""Taking over what is somebody else's, by explicit order: which orders stand, and what they make of a conflict.

An order names a device and the identities to take over. It turns the conflict at that identity into a change that replaces
the foreign thing, and it is spent once that is done: should somebody put a foreign thing there again, that is a conflict
again. A tunnel is never taken over: what stands on a link goes with it, and nobody knows whose that is.

The one confusing thing: an annotation is the user's text. In a home cluster what was done is taken out of it; in a file it
cannot be. So what was done is remembered beside the annotation, until that no longer names it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from isthmus.model.kinds import ADOPT, EdgeDevice
from isthmus.model.plan import Change, Conflict

__all__ = ["Adoptions", "named", "why_never"]


def named(text: str) -> tuple[str, ...]:
    """Return the identities in an annotation: ``route 10.244.1.0/24, vip 203.0.113.10``, by comma or line."""
    parts = (" ".join(part.split()) for part in text.replace("\n", ",").split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def why_never(identity: str) -> str | None:
    """Return why a thing with this identity is never taken over, or none."""
    if identity.startswith("tunnel "):
        return "a tunnel is not taken over, since all that stands on it would go along; remove it, or give ours another VNI"
    return None


class Adoptions:
    """The orders of one device. ``placed`` were ordered by command, ``done`` were carried out, ``refused`` were declined."""

    def __init__(self) -> None:
        self.placed: set[str] = set()
        self.done: set[str] = set()
        self.refused: dict[str, str] = {}

    def standing(self, device: EdgeDevice | None) -> frozenset[str]:
        """Return the identities that are to be taken over now."""
        written = named(device.metadata.annotations.get(ADOPT, "")) if device is not None else ()
        return frozenset(
            identity
            for identity in {*written, *self.placed} - self.done - self.refused.keys()
            if why_never(identity) is None
        )

    def carried_out(self, identity: str) -> None:
        """Take the news that the order is done."""
        self.done.add(identity)

    def place(self, identities: Iterable[str]) -> bool:
        """Take all orders by command as they stand now; say whether that is news. One that is new counts again."""
        now = set(identities)
        new = now - self.placed
        self.done -= new
        for identity in new:
            self.refused.pop(identity, None)
        moved, self.placed = now != self.placed, now
        return moved


def left(foreign: Mapping[str, str], orders: Collection[str]) -> Mapping[str, str]:
    """Return the foreign things that nobody ordered to be taken over."""
    if orders and not foreign.keys().isdisjoint(orders):
        return {identity: text for identity, text in foreign.items() if identity not in orders}
    return foreign


def step(
    found: Change | Conflict | None, foreign: Mapping[str, str], adoptions: Adoptions
) -> Change | Conflict | None:
    """Return ``found`` as what it is under the orders: a create in a foreign place is an adoption."""
    if isinstance(found, Change) and found.action == "create" and found.identity in foreign:
        return msgspec.structs.replace(found, adopts=foreign[found.identity])
    if isinstance(found, Conflict) and (why := adoptions.refused.get(found.identity)) is not None:
        return msgspec.structs.replace(found, holder=f"{found.holder}, which could not be taken over: {why}")
    return found
