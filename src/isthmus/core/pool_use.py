"""How many addresses of each pool are used, kept as claims come and go: ten thousand claims are not counted every second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from isthmus.model.claims import VipFacts
from isthmus.model.kinds import AddressPool

__all__ = ["PoolUse"]


class PoolUse:
    """Counts per pool; counted anew when the pools are not those that were counted for."""

    def __init__(self) -> None:
        self._pools: dict[str, AddressPool] | None = None
        self._used: Counter[str] = Counter()

    def moved(self, before: VipFacts | None, after: VipFacts | None) -> None:
        """Take that a claim stands instead of another, or that one came or went."""
        if self._pools is None:
            return
        if before is not None:
            self._used.subtract(_pools_of(before, self._pools))
        if after is not None:
            self._used.update(_pools_of(after, self._pools))

    def used(self, pools: Mapping[str, AddressPool], claims: Iterable[VipFacts]) -> Mapping[str, int]:
        """Return how many addresses of each of ``pools`` are claimed or reserved; ``claims`` are all there are."""
        if self._pools != pools:
            self._pools = dict(pools)
            self._used = Counter(name for claim in claims for name in _pools_of(claim, pools))
        return self._used


def _pools_of(claim: VipFacts, pools: Mapping[str, AddressPool]) -> list[str]:
    """Return the pool that ``claim`` says it is from, as far as it is in it, else every pool that has the address."""
    stated = pools.get(claim.pool or "")
    if stated is not None and stated.spec.contains(claim.address):
        return [stated.name]
    return [name for name, pool in pools.items() if pool.spec.contains(claim.address)]
