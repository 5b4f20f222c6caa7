"""Before anything is written: whose each place is, and which intents must be written down first.

What this process has not seen to be ours is looked at; what stands there and is somebody else's is left alone, unless an
order names it. The one confusing thing: a VIP needs no line while a virtual server of ours bears its address, and needs one
before the last of them goes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

from isthmus.drivers.netscaler.intents import line_of
from isthmus.drivers.netscaler.ledger import Ledger
from isthmus.drivers.netscaler.sight import Sight
from isthmus.drivers.netscaler.store import Store
from isthmus.model.plan import Change
from isthmus.model.resources import (
    IpTunnel,
    Partial,
    Route,
    SourceAddress,
    Tunnel,
    VirtualAddress,
    VirtualServer,
)

__all__ = ["Placing"]

_MARKED_BY_LINE = (Tunnel, SourceAddress, Route, VirtualAddress)


class Placing:
    """Judges places on one device."""

    def __init__(self, ledger: Ledger, store: Store, look: Callable[[Collection[str]], Awaitable[Sight]]) -> None:
        self._ledger = ledger
        self._store = store
        self._look = look

    async def judge(self, changes: Sequence[Change]) -> dict[str, tuple[str, str]]:
        """Look at the places that are not known to be ours; return what is judged without writing: result and reason."""
        judged = self._second_of_a_vni(changes)
        unsure = {change.identity for change in changes if change.identity not in judged and self._unsure(change)}
        for change in changes:
            if isinstance(change.after, VirtualServer) and not self._store.servers_on(change.after.address):
                unsure.add(f"vip {change.after.address}")
        if not unsure:
            return judged
        sight = await self._look(unsure)
        foreign = sight.told_foreign()
        taken = {
            change.identity for change in changes if change.adopts and foreign.get(change.identity) == change.adopts
        }
        for change in changes:
            identity = change.identity
            sentence = foreign.get(identity, "")
            if identity in unsure:
                if change.after is None and identity not in sight.resources and identity not in sight.odd:
                    judged[identity] = ("done", "")
                elif sentence and identity in taken:
                    if not sight.theirs.get(identity):
                        judged[identity] = (
                            "refused",
                            f"{sentence} cannot be taken over; remove it on the device first",
                        )
                    else:
                        self._store.odd[identity] = sight.theirs[identity]
                elif sentence:
                    judged[identity] = ("refused", f"exists, not ours: {sentence}")
            if isinstance(change.after, VirtualServer) and identity not in judged:
                vip = f"vip {change.after.address}"
                if vip in foreign and vip not in taken and vip not in self._store.held:
                    judged[identity] = ("refused", f"its address exists, not ours: {foreign[vip]}")
        return judged

    def _second_of_a_vni(self, changes: Sequence[Change]) -> dict[str, tuple[str, str]]:
        """Refuse tunnels that would share their VNI with another of ours: here a VXLAN is known by its VNI alone.

        Before the ledger names them, too: two names for one VXLAN could not be told apart after a restart.
        """
        taken = {held.vni: held.name for held in self._store.held.values() if isinstance(held, Tunnel)}
        judged: dict[str, tuple[str, str]] = {}
        for change in changes:
            if isinstance(change.after, Tunnel):
                holder = taken.setdefault(change.after.vni, change.after.name)
                if holder != change.after.name:
                    reason = f"a NetScaler has one tunnel per VNI, and {change.after.vni} is that of {holder}"
                    judged[change.identity] = ("refused", reason)
        return judged

    def _unsure(self, change: Change) -> bool:
        held = self._store.held.get(change.identity)
        if change.adopts:
            return True
        if change.after is None or change.before is not None:
            return held is None or (isinstance(held, Partial) and change.identity not in self._store.odd)
        # What lies in something of ours, or bears our name, can be nobody else's.
        return held is None and isinstance(change.after, (*_MARKED_BY_LINE, VirtualServer, IpTunnel))

    def lines(self, changes: Sequence[Change]) -> dict[str, str]:
        """Return the lines of the ledger that ``changes`` need, by identity."""
        new = {change.after.address.network for change in changes if isinstance(change.after, SourceAddress)}
        served = {change.after.address for change in changes if isinstance(change.after, VirtualServer)}
        lines: dict[str, str] = {}
        leaving = {change.identity for change in changes if change.after is None}
        for change in changes:
            after = change.after
            if after is None:
                gone = self._store.held.get(change.identity)
                if isinstance(gone, VirtualServer):
                    vip = self._store.held.get(f"vip {gone.address}")
                    alone = not self._store.servers_on(gone.address) - leaving
                    if vip is not None and vip.identity not in leaving and alone:
                        lines[vip.identity] = f"vip {gone.address}"  # what marked it goes, and it stays
                continue
            if isinstance(after, Route):
                contained = self._ledger.intents.link_of(after.via) is not None
                if contained or any(after.via in network for network in new if network.version == after.via.version):
                    continue
            if isinstance(after, VirtualAddress) and (
                after.address in served or self._store.servers_on(after.address)
            ):
                continue
            if (needed := line_of(after)) is not None:
                lines[change.identity] = needed
        return lines
