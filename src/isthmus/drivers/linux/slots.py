"""Which member stands in which slot of a virtual server.

nftables picks a slot (``numgen inc mod N`` or ``jhash ip saddr mod N``) and finds the pod in a map; N is one of four
classes, 12, 60, 120 and 420, because their many divisors give equal shares to most member counts. The filling is a pure
function of the members: a gateway that was restarted, or repaired, has the slots that it had. The one confusing thing:
round robin wants neighbouring slots to differ (any window of three over three members holds each once), source hash
wants slots to stay where they are when members change; so the two are filled differently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from math import gcd

from isthmus.model.resources import Algorithm, Member

__all__ = ["CLASSES", "HASH_CLASSES", "MOST_MEMBERS", "fill", "quotas", "slot_class"]

CLASSES = (12, 60, 120, 420)
HASH_CLASSES = (60, 420)
MOST_MEMBERS = CLASSES[-1]
_COPRIME = {
    size: tuple(step for step in range(1, size) if gcd(step, size) == 1 and (step > 1 or size == 1))
    for size in CLASSES
}


def slot_class(weights: Sequence[int], algorithm: Algorithm) -> int:
    """Return how many slots the members with these (positive) weights get.

    The smaller classes if they divide evenly: an uneven share in 60 slots is at most one slot off,
    and twice or seven times as many elements is a high price for that. It has two slots at least for each member: with
    fewer, one slot off would be too much.
    """
    divisor = gcd(*weights)
    total = sum(weight // divisor for weight in weights)
    if algorithm == "source-hash":
        return 60 if len(weights) <= 30 and total <= 60 else 420
    for size in (12, 60):
        if size % total == 0:
            return size
    return next((size for size in (60, 120) if 2 * len(weights) <= size and total <= size), 420)


def quotas(weights: Sequence[int], size: int) -> tuple[int, ...]:
    """Return how many of ``size`` slots each weight gets: its share, rounded by largest remainder, at least one."""
    total = sum(weights)
    shares = [max(1, size * weight // total) for weight in weights]
    rest = size - sum(shares)
    if rest > 0:
        earned = [n for n, weight in enumerate(weights) if size * weight >= total]
        order = sorted(earned, key=lambda n: (-(size * weights[n] % total), n))
        for number in order[:rest]:
            shares[number] += 1
    while rest < 0:
        # Weights so unequal that the least of them got a slot they have no share in: the greatest gives it.
        greatest = max(range(len(shares)), key=lambda n: shares[n])
        shares[greatest] -= 1
        rest += 1
    return tuple(shares)


def fill(members: Sequence[Member], algorithm: Algorithm) -> tuple[list[Member], Sequence[int]]:
    """Return the members that take new connections, and for each slot which of them; no slots where none does."""
    active = [member for member in members if member.weight > 0]
    if not active:
        return [], ()
    weights = [member.weight for member in active]
    size = slot_class(weights, algorithm)
    shares = quotas(weights, size)
    return active, _evenly(shares) if algorithm == "round-robin" else _steadily(active, shares, size)


@lru_cache(maxsize=1024)
def _evenly(shares: tuple[int, ...]) -> tuple[int, ...]:
    """Return the members' numbers, each as evenly spaced over the slots as its share allows."""
    turns = [((2 * turn + 1) / share, number) for number, share in enumerate(shares) for turn in range(share)]
    return tuple(number for _, number in sorted(turns))


def _steadily(members: Sequence[Member], shares: Sequence[int], size: int) -> list[int]:
    """Return the members' numbers by Maglev's filling (Eisenbud et al. 2016, 3.4), with shares instead of endless turns.

    Each member walks the slots in an order of its own and takes the next free one when it is its turn, so that one
    member more or less moves little beyond what it takes or leaves.
    """
    walks = [_walk(member, size) for member in members]
    left = list(shares)
    taken = [-1] * size
    free = size
    while free:
        for number, (position, step) in enumerate(walks):
            if not left[number]:
                continue
            while taken[position] >= 0:
                position = (position + step) % size
            taken[position] = number
            walks[number] = ((position + step) % size, step)
            left[number] -= 1
            free -= 1
    return taken


@lru_cache(maxsize=65536)
def _walk_of(packed: bytes, size: int) -> tuple[int, int]:
    digest = int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "big")
    steps = _COPRIME[size]
    return digest % size, steps[digest // size % len(steps)]


def _walk(member: Member, size: int) -> tuple[int, int]:
    return _walk_of(member.address.packed + member.port.to_bytes(2, "big"), size)
