"""What outlives a process, behind the small doors that the loop knows: claims, choices, assignments, applied state.

Two kinds of memory are not to be confused. :class:`SmallMemory` (paths, overlay addresses of devices, identities of clusters)
is what decisions rest on and must never be lost; it lives in the state directory or in a home cluster. What was *applied* to
a device only helps it after a reboot, and is kept on the machine that has the device or nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import ip_interface
from typing import Protocol

from isthmus.core.world import Choice
from isthmus.errors import StateError
from isthmus.loop.duties.service import Taken
from isthmus.loop.recorded import Record, Recorded
from isthmus.model.kinds import VirtualIP
from isthmus.model.kinds.kind import Metadata
from isthmus.model.plain import from_builtins, to_json
from isthmus.model.plan import Scope
from isthmus.model.resources import IPInterface
from isthmus.registry.state import Claim, ClaimTaken, StateDirectory, StateReader
from isthmus.telemetry import get_logger

_SLICE, _A_BREATH = 1000, 50
"""So many records are written in one transaction, and so many spelled before others get their turn."""

Addresses = Mapping[str, tuple[IPInterface, ...]]
"""The overlay addresses of a link's devices, by device."""


class SmallMemory(Protocol):
    """What was chosen and assigned once and must not be chosen or assigned anew. Its size is that of the configuration."""

    async def choices(self) -> dict[str, Choice]:
        """Return the paths chosen, by link."""

    async def keep_choice(self, link: str, choice: Choice) -> None:
        """Keep the path chosen for ``link``."""

    async def addresses(self, link: str) -> dict[str, tuple[IPInterface, ...]]:
        """Return what the devices of ``link`` were given on its overlay."""

    async def keep_addresses(self, link: str, given: Addresses) -> None:
        """Keep what some devices of ``link`` were given, beside what is kept of others."""

    async def uids(self) -> dict[str, str]:
        """Return who each cluster was when it was first met, by name."""

    async def keep_uid(self, cluster: str, uid: str) -> None:
        """Keep who a cluster is."""


def claimed(claim: Claim) -> VirtualIP:
    """Return a stored claim as the object a user knows."""
    return VirtualIP(metadata=Metadata(name=claim.name), spec=claim.spec)


def choice_of(value: Mapping[str, object]) -> Choice:
    """Return a stored choice."""
    rejected = value.get("rejected") or ()
    assert isinstance(rejected, list | tuple), "we wrote it"
    path = value["path"]
    if path not in ("direct", "flannel", "overlay"):
        raise StateError(f"what is remembered holds a choice of an unknown path: {path!r}")
    return Choice(path, str(value["why"]), tuple((str(p), str(w)) for p, w in rejected), str(value.get("cni") or ""))


def addresses_of(values: Mapping[str, object]) -> dict[str, tuple[IPInterface, ...]]:
    """Return stored overlay addresses by device."""
    return {
        device: tuple(ip_interface(str(text)) for text in texts)
        for device, texts in values.items()
        if isinstance(texts, list)
    }


def spell_choice(choice: Choice) -> dict[str, object]:
    """Return a choice as it is stored."""
    rejected = [list(pair) for pair in choice.rejected]
    return {"path": choice.path, "why": choice.why, "rejected": rejected, "cni": choice.cni}


class StateMemory:
    """The state directory, as claims, as the small memory and as the memory of what was applied."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._log = get_logger("app")

    async def create(self, vip: VirtualIP) -> None:
        """Store the claim; raise ``Taken`` if its name exists."""
        try:
            await self._state.create_claim(vip)
        except ClaimTaken as error:
            raise Taken(claimed(error.claim)) from error

    async def delete(self, vip: VirtualIP) -> None:
        """Remove the claim if it is still this holder's."""
        try:
            await self._state.delete_claim(vip.name, vip.spec.holder)
        except ClaimTaken as error:
            raise Taken(claimed(error.claim)) from error

    async def choices(self) -> dict[str, Choice]:
        """Return the paths chosen, by link."""
        return {link: choice_of(value) for link, value in (await self._state.choices()).items()}

    async def keep_choice(self, link: str, choice: Choice) -> None:
        """Keep the path chosen for ``link``."""
        await self._state.choose(link, spell_choice(choice))

    async def addresses(self, link: str) -> dict[str, tuple[IPInterface, ...]]:
        """Return what the devices of ``link`` were given on its overlay."""
        return addresses_of(await self._state.assignments(f"overlay/{link}"))

    async def keep_addresses(self, link: str, given: Addresses) -> None:
        """Keep what some devices of ``link`` were given."""
        await self._state.assign(f"overlay/{link}", {device: [str(a) for a in own] for device, own in given.items()})

    async def uids(self) -> dict[str, str]:
        """Return who each cluster was when it was first met, by name."""
        return {name: str(uid) for name, uid in (await self._state.assignments("cluster")).items()}

    async def keep_uid(self, cluster: str, uid: str) -> None:
        """Keep who a cluster is."""
        await self._state.assign("cluster", {cluster: uid})

    async def load(self, device: str) -> Recorded:
        """Return what was last applied to ``device``; nothing, with a warning, if the record is damaged."""
        try:
            return recorded(await self._state.read_applied(device))
        except StateError as error:
            self._log.warning("the last applied state cannot be read", device=device, error=str(error))
            return []

    async def save(self, device: str, records: Mapping[str, Record | None], *, whole: bool = False) -> None:
        """Keep what ``records`` say of ``device``, a slice at a time: spelling ten thousand Services takes a moment."""
        names = list(records)
        for start in range(0, len(names), _SLICE):
            spelled: dict[str, bytes | None] = {}
            for name in names[start : start + _SLICE]:
                if len(spelled) % _A_BREATH == _A_BREATH - 1:
                    await asyncio.sleep(0)
                found = records[name]
                spelled[name] = None if found is None else to_json(found)
            await self._state.keep_applied(device, spelled)
        if whole:
            await self._state.keep_applied(device, {}, among=records.keys())


class NoMemory:
    """For a run that must leave no trace: remembers nothing."""

    async def load(self, device: str) -> Recorded:
        return []

    async def save(self, device: str, records: Mapping[str, Record | None], *, whole: bool = False) -> None:
        return None


def recorded(value: object) -> Recorded:
    """Return a stored applied state; raise ``StateError`` if it does not parse."""
    if value is None:
        return []
    try:
        assert isinstance(value, list), "we wrote a list"
        return [(from_builtins(resource), tuple(Scope(**scope) for scope in scopes)) for resource, scopes in value]
    except (ValueError, TypeError, AssertionError) as error:
        raise StateError(f"the last applied state does not parse: {error}") from error


def read_only(state: StateReader) -> tuple[list[VirtualIP], dict[str, Choice]]:
    """Return claims and choices of a state directory that another process may be using."""
    return [claimed(claim) for claim in state.claims()], {n: choice_of(v) for n, v in state.choices().items()}
