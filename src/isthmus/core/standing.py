"""Who answers for a VIP on a segment that several devices share: one of them, the others stand by with all but the address.

==============================  =============================================================================
one that ...                    does
==============================  =============================================================================
has it and answers us           keeps it, whoever comes back
is asked for (standby.active)   gets it as soon as the one that has it has let go
has it and went silent          is waited for during the grace period; then the next one may take it
went silent and is gone         has no say; but its VIP is only taken where nobody on the segment answers for it
==============================  =============================================================================

Without anybody who has it, it is the first that answers us, in the order in which the links name them. Nothing here is
remembered but what was seen: the same sights give the same answer in any order of events.

The one confusing thing: this decides who *may*; that two never do is the driver's part (a lifetime that ends, and a question
to the segment first), because a device that we cannot reach may serve on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from isthmus.core.sights import Sight
from isthmus.core.world import World
from isthmus.model.kinds import ClusterLink, EdgeDevice, vip_name
from isthmus.model.plan import Change, Scope
from isthmus.model.resources import IPAddress, VirtualAddress

__all__ = ["Standing", "moves", "roles", "standing", "stirred"]

State: TypeAlias = Literal["answers", "silent", "gone", "unseen"]


class Standing(msgspec.Struct, frozen=True):
    """Who should answer for one VIP, and why.

    ``holder`` is none while that cannot be said. ``waits`` says why the holder must not take it yet. ``lapses`` is false
    where only devices that were never seen could share it, and who has it has it for good. ``recheck`` is when time
    alone changes the answer.
    """

    sharing: tuple[str, ...]
    holder: str | None
    why: str
    waits: str = ""
    has: frozenset[str] = frozenset()
    lapses: bool = True
    recheck: float | None = None

    def wants(self, device: str) -> bool:
        """Say whether ``device`` should answer for the VIP now."""
        return self.holder == device and (device in self.has or not self.waits)


class _One(msgspec.Struct, frozen=True):
    name: str
    state: State
    until: float
    has: bool
    fit: bool
    known: bool = True
    running: bool = True


def standing(world: World, cluster: str, address: IPAddress, now: float) -> Standing | None:
    """Return who answers for ``address``, a VIP of ``cluster``, or none: no two devices share a segment that has it."""
    found = _sharing(world, cluster, address, now)
    if len(found) < 2:
        return None
    names = tuple(one.name for one in found)
    has = frozenset(one.name for one in found if one.has)
    known = [one for one in found if one.known]
    lapses = len(known) > 1 or not any(one.has and not _lapses(world, one.name, address) for one in known)
    chosen, why = _chosen(found, _asked_for(world, cluster), world.sights.holder(address))
    if chosen is None:
        return Standing(names, None, why, has=has, lapses=lapses, recheck=_soonest(found))
    waits, recheck = "", None
    if chosen.state == "silent":
        waits, recheck = f"{chosen.name} does not answer us, and has its time to come back", chosen.until
    elif not chosen.has:
        waits = _waits(found, chosen)
        recheck = _soonest(found) if waits else None
    return Standing(names, chosen.name, why, waits, has, lapses, recheck)


def moves(world: World, device: str, change: Change, now: float) -> bool:
    """Say whether ``change``, a delete on ``device``, is half of a move: another device is to answer for that VIP."""
    vip = change.before
    claim = world.vips.get(vip_name(vip.address)) if isinstance(vip, VirtualAddress) else None
    if change.after is not None or claim is None or claim.holder is None:
        return False
    found = standing(world, claim.holder[0], claim.address, now)
    return found is not None and found.holder not in (None, device)


def stirred(world: World) -> dict[str, set[Scope]]:
    """Return, by device, the scopes that must be looked at again for what devices have shown since this was last asked."""
    addresses, devices = world.sights.take_stirred()
    found: dict[str, set[Scope]] = {}
    if len(world.devices) < 2:
        return found
    for address in addresses:
        vip = world.vips.get(vip_name(address))
        holder = vip.holder if vip is not None else None
        for link in world.links_of_cluster(holder[0]) if holder is not None else ():
            assert holder is not None, "it has links"
            scope = Scope("service", link.name, f"{holder[1]}/{holder[2]}")
            for device in link.spec.devices:
                found.setdefault(device, set()).add(scope)
    clusters = {link.spec.cluster for device in devices for link in world.links_of_device(device)}
    for link in (link for cluster in clusters for link in world.links_of_cluster(cluster)):
        for device in link.spec.devices:
            if {device} != devices:
                scopes = (scope for scope in world.scopes_of_link(link) if scope.kind == "service")
                found.setdefault(device, set()).update(scopes)
    return found


def roles(world: World, link: ClusterLink) -> list[str]:
    """Return what each device of a link with several does about VIPs on segments, in the link's order."""
    if len(link.spec.devices) < 2:
        return []
    found = []
    for name in link.spec.devices:
        sight = world.sights.get(name)
        count = len(sight.holds) if sight is not None else 0
        vips = "1 VIP" if count == 1 else f"{count} VIPs"
        if sight is None or sight.interfaces is None:
            found.append(f"{name} has not been seen")
        elif sight.silent_since is not None:
            found.append(f"{name} does not answer us" + (f"; it answered for {vips} when last seen" if count else ""))
        else:
            found.append(f"{name} answers for {vips}" if count else f"{name} stands by")
    return found


# --- the decision -----------------------------------------------------------------------------------------------


def _chosen(found: list[_One], asked: str | None, last: str | None) -> tuple[_One | None, str]:
    """Return who should have it, and why; see the table at the top."""
    there = [one for one in found if one.fit and one.state == "answers"]
    able = [one for one in there if one.running] or there
    for one in able:
        if one.name == asked:
            return one, "spec.standby.active asks for it"
    having = [one for one in able if one.has]
    for one in able:
        if one.name == last and (one.has or not having):
            return one, "it has it, and keeps it" if one.has else "it had it last"
    if having:
        return having[0], "it has it, and keeps it"
    silent = [one for one in found if one.fit and one.state == "silent" and (one.has or one.name == last)]
    if silent:
        return silent[0], "it had it when it was last seen"
    if any(one.state == "unseen" for one in found):
        unseen = ", ".join(one.name for one in found if one.state == "unseen")
        return None, f"{unseen} has not been looked at yet, and may have it"
    if not able:
        return None, f"none of {', '.join(one.name for one in found)} answers us"
    gone = [one.name for one in found if one.state == "gone"]
    return able[0], f"{', '.join(gone)} does not answer us" if gone else "it is the first of them"


def _waits(found: list[_One], chosen: _One) -> str:
    """Return why ``chosen`` must not take the VIP yet, or an empty text."""
    for one in found:
        if one.name == chosen.name:
            continue
        if one.state == "unseen":
            return f"{one.name} has not been looked at yet, and may have it"
        if one.has and one.state == "answers":
            return f"{one.name} still has it"
        if one.state == "silent" and (one.has or not one.known):
            return f"{one.name} does not answer us, and has its time to come back"
    return ""


def _soonest(found: list[_One]) -> float | None:
    return min((one.until for one in found if one.state == "silent"), default=None)


# --- who takes part ---------------------------------------------------------------------------------------------


def _sharing(world: World, cluster: str, address: IPAddress, now: float) -> list[_One]:
    """Return the devices that can answer for ``address`` on a segment, or that were seen to, in the links' order."""
    devices = _devices(world, cluster)
    if len(devices) < 2:
        return []
    found = []
    for name, (link, kind) in devices.items():
        sight = world.sights.get(name)
        if sight is None:
            found.append(_One(name, "unseen", 0.0, has=False, fit=True, known=False))
            continue
        has, known = address in sight.holds, sight.interfaces is not None
        running = _interface(sight, kind, address)
        if known and running is None and not has:
            continue
        able = kind.spec.policy != "observe" and kind.metadata.deletion_timestamp is None
        state, until = _state(sight, link.spec.standby.grace, now)
        fit = able and not (known and running is None)
        found.append(_One(name, state, until, has, fit, known, bool(running)))
    return found


def _state(sight: Sight, grace: float, now: float) -> tuple[State, float]:
    if sight.silent_since is None:
        return "answers", 0.0
    until = sight.silent_since + grace
    return "silent" if now < until else "gone", until


def _devices(world: World, cluster: str) -> dict[str, tuple[ClusterLink, EdgeDevice]]:
    """Return the devices that serve Services of ``cluster``, in the order in which its links name them."""
    found: dict[str, tuple[ClusterLink, EdgeDevice]] = {}
    for link in _links(world, cluster):
        for name in link.spec.devices:
            kind = world.devices.get(name)
            if kind is not None:
                found.setdefault(name, (link, kind))
    return found


def _links(world: World, cluster: str) -> Iterator[ClusterLink]:
    for link in world.links_of_cluster(cluster):
        if link.spec.services and link.metadata.deletion_timestamp is None:
            yield link


def _asked_for(world: World, cluster: str) -> str | None:
    return next((link.spec.standby.active for link in _links(world, cluster) if link.spec.standby.active), None)


def _interface(sight: Sight, kind: EdgeDevice, address: IPAddress) -> bool | None:
    """Return whether the interface that could answer for ``address`` runs, none if there is no such interface."""
    allowed = kind.spec.linux.announce
    for interface in sight.interfaces or ():
        if any(address in own.network for own in interface.addresses):
            return interface.up if not allowed or interface.name in allowed else None
    return None


def _lapses(world: World, device: str, address: IPAddress) -> bool:
    sight = world.sights.get(device)
    return sight is not None and sight.holds.get(address, False)
