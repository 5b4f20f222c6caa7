"""Which member a new connection goes to.

Round robin with weights is the smooth one: members of weights 2 and 1 are taken a, b, a. By the client's address it is the
member with the highest hash (rendezvous), so that a change of members moves the clients of the changed ones only.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from isthmus.lab.adc.plans import Member, Name
from isthmus.lab.adc.wiring import Address


class Chooser:
    """The memory of one virtual server: whose turn it is, who has how many connections, which client is whose."""

    def __init__(self) -> None:
        """Start with nobody's turn."""
        self.active: Counter[Name] = Counter()
        self._credit: dict[Name, int] = {}
        self._kept: dict[Address, tuple[Name, float]] = {}

    def choose(
        self, method: str, members: Sequence[Member], client: Address, *, persistence: float = 0, now: float = 0
    ) -> Member | None:
        """Return the member for a client, none if there are none; ``persistence`` seconds it stays the client's."""
        if not members:
            return None
        if persistence:
            name, until = self._kept.get(client, (None, 0.0))
            kept = next((member for member in members if member.name == name and now < until), None)
            if kept is not None:
                self._kept[client] = (kept.name, now + persistence)
                return kept
        chosen = self._pick(method, members, client)
        if persistence:
            self._kept[client] = (chosen.name, now + persistence)
        return chosen

    def _pick(self, method: str, members: Sequence[Member], client: Address) -> Member:
        if method == "SOURCEIPHASH":
            return max(members, key=lambda member: self._score(member, client))
        if method in ("LEASTCONNECTION", "LEASTRESPONSETIME", "LEASTBANDWIDTH", "LEASTPACKETS"):
            least = min(self.active[member.name] / member.weight for member in members)
            members = [member for member in members if self.active[member.name] / member.weight == least]
        return self._turn(members)

    def _turn(self, members: Sequence[Member]) -> Member:
        for member in members:
            self._credit[member.name] = self._credit.get(member.name, 0) + member.weight
        chosen = max(members, key=lambda member: self._credit[member.name])
        self._credit[chosen.name] -= sum(member.weight for member in members)
        return chosen

    @staticmethod
    def _score(member: Member, client: Address) -> float:
        digest = hashlib.blake2b(f"{client} {member.name}".encode(), digest_size=8).digest()
        # Weighted rendezvous: the n-th root of a number between 0 and 1 is the highest of n such numbers.
        share: float = ((int.from_bytes(digest) + 1) / 2**64) ** (1 / member.weight)
        return share

    def forget(self, members: Sequence[Member]) -> None:
        """Forget whoever is no member any more."""
        names = {member.name for member in members}
        self._credit = {name: credit for name, credit in self._credit.items() if name in names}
