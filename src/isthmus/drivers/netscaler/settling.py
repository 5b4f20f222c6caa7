"""Say of the objects that stand for one resource whether they are it: exactly, or not whole."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.drivers.netscaler.intents import Intents
from isthmus.drivers.netscaler.names import Names
from isthmus.drivers.netscaler.objects import KINDS, Obj, by_key
from isthmus.drivers.netscaler.shapes import Impossible, objects_of
from isthmus.drivers.netscaler.sight import Sight
from isthmus.model.resources import AnyResource

__all__ = ["settle"]


def settle(
    sight: Sight,
    names: Names,
    intents: Intents,
    identity: str,
    rank: int,
    candidate: AnyResource | None,
    standing: Sequence[Obj],
    otherwise: str,
) -> None:
    """Note ``candidate`` if it is made of exactly ``standing``, else that ``identity`` is not whole.

    ``otherwise`` is what lacks where there is not even a candidate.
    """
    if candidate is None:
        sight.add_partial(identity, rank, otherwise, tuple(standing))
        return
    try:
        wanted = objects_of(candidate, names, intents.vni)
    except Impossible:
        sight.add_partial(identity, rank, otherwise, tuple(standing))
        return
    if set(wanted) == set(standing):
        sight.add(candidate)
        return
    sight.add_partial(identity, rank, _lacking(wanted, standing), tuple(standing))


def _lacking(wanted: Sequence[Obj], standing: Sequence[Obj]) -> str:
    """Return in words what differs, in NITRO's own where it has them."""
    there = by_key(standing)
    words: list[str] = []
    for obj in wanted:
        found = there.pop((obj.kind, obj.key), None)
        if found is None:
            words.append(f"its {obj.kind}")
        elif found != obj:
            of = KINDS[obj.kind]
            words += [
                f"{obj.kind} {name} {own or 'unset'}"
                for name, own, other in zip(of.values, obj.values, found.values, strict=True)
                if own != other
            ]
    words += [f"room for {' '.join(obj.key)}" for obj in there.values()]
    return ", ".join(dict.fromkeys(words))
