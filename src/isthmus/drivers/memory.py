"""A device that lives in two dicts: what is ours, and what stands there that is not.

It ships with the product: for a dry start without any device, for the demo, and for every test that wants to ask
"what would the device hold now?". It behaves as a real one where that matters to its callers: a foreign thing is never
written over, a tunnel whose fixed fields change is made anew and takes along what stood on it, a reply can get lost.
The one confusing thing: :attr:`MemoryDriver.writes` counts changes that altered something, not calls; applying what
already stands is free, as it is on a gateway.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

import msgspec

from isthmus.drivers.base import Adapted, Observation, Outcome, ProbeResult, ProbeTarget, Result
from isthmus.errors import DeviceError, DeviceUnreachable
from isthmus.model.facts import DeviceFacts
from isthmus.model.plan import Change
from isthmus.model.resources import AnyResource, IPAddress, Tunnel, goes_with

__all__ = ["Fault", "MemoryDriver", "lose_reply", "raise_error", "refuse"]


class Fault(msgspec.Struct, frozen=True):
    """One planted failure: it strikes the next change (or the next one at ``identity``) and is then used up.

    ``carried_out`` says whether the change takes effect all the same: a lost reply does not mean a lost request.
    With ``error`` the whole ``apply`` ends there, as when the device dies half-way.
    """

    result: Result = "refused"
    reason: str = ""
    identity: str | None = None
    carried_out: bool = False
    error: DeviceError | None = None


def refuse(reason: str = "refused on demand", *, identity: str | None = None) -> Fault:
    """Return a fault that refuses one change for ``reason``."""
    return Fault("refused", reason, identity)


def lose_reply(*, carried_out: bool = True, identity: str | None = None) -> Fault:
    """Return a fault after which nobody knows whether the change was carried out; ``carried_out`` says how it was."""
    return Fault("unknown", "no reply", identity, carried_out)


def raise_error(error: DeviceError | None = None, *, identity: str | None = None, carried_out: bool = False) -> Fault:
    """Return a fault that ends the whole ``apply`` with ``error`` (by default ``DeviceUnreachable``)."""
    return Fault("unknown", "", identity, carried_out, error or DeviceUnreachable("the device went away on demand"))


class MemoryDriver:
    """Hold resources in memory, as a device would.

    ``foreign`` maps identities to sentences, ``refuses`` identities to the reasons for which :meth:`adapt` declines
    them, ``silent`` holds the addresses that do not answer probes.
    """

    def __init__(
        self,
        *,
        facts: DeviceFacts | None = None,
        resources: Mapping[str, AnyResource] | None = None,
        foreign: Mapping[str, str] | None = None,
    ) -> None:
        self.facts = facts if facts is not None else DeviceFacts()
        self.resources: dict[str, AnyResource] = dict(resources or {})
        self.foreign: dict[str, str] = dict(foreign or {})
        self.refuses: dict[str, str] = {}
        self.silent: set[IPAddress] = set()
        self.reachable = True
        self.is_open = False
        self.writes = 0
        self.observes = 0
        self.applies = 0
        self.log: list[Change] = []
        self._faults: deque[Fault] = deque()
        self._moved = asyncio.Event()

    def plant(self, identity: str, sentence: str) -> None:
        """Put a foreign thing at ``identity``, taking what of ours stood there."""
        self.resources.pop(identity, None)
        self.foreign[identity] = sentence
        self._moved.set()

    def unplant(self, identity: str) -> None:
        """Take the foreign thing at ``identity`` away again."""
        self.foreign.pop(identity, None)
        self._moved.set()

    def fail_next(self, *faults: Fault) -> None:
        """Queue ``faults``: each strikes the first change that it fits, in this order."""
        self._faults.extend(faults)

    def tamper(self, resource: AnyResource) -> None:
        """Change what is ours by somebody else's hand; :meth:`drift` notices."""
        self.resources[resource.identity] = resource
        self._moved.set()

    def lose(self, identity: str) -> None:
        """Remove what is ours by somebody else's hand; :meth:`drift` notices."""
        self.resources.pop(identity, None)
        self._moved.set()

    async def open(self) -> None:
        """Check that the device is reachable; raise ``DeviceUnreachable`` otherwise."""
        self._check()
        self.is_open = True

    async def prepare(self) -> None:
        """Do nothing: memory is always ready."""

    async def vacate(self) -> None:
        """Do nothing: there is no container to remove."""

    async def close(self) -> None:
        """Let go; what is held stays."""
        self.is_open = False

    async def observe(self, identities: Collection[str] | None = None) -> Observation:
        """Return everything, or what stands at ``identities`` alone; raise ``DeviceUnreachable`` when told so."""
        self._check()
        self.observes += 1
        await asyncio.sleep(0)
        if identities is None:
            return Observation(dict(self.resources), dict(self.foreign), self.facts)
        wanted = frozenset(identities)
        return Observation(
            {identity: self.resources[identity] for identity in sorted(wanted) if identity in self.resources},
            {identity: self.foreign[identity] for identity in sorted(wanted) if identity in self.foreign},
            self.facts,
            wanted,
        )

    def adapt(self, desired: Mapping[str, AnyResource]) -> Adapted:
        """Return ``desired`` as it is, less what :attr:`refuses` names."""
        if not self.refuses:
            return Adapted(dict(desired))
        return Adapted(
            {identity: resource for identity, resource in desired.items() if identity not in self.refuses},
            {identity: reason for identity, reason in self.refuses.items() if identity in desired},
        )

    def replaces(self, before: AnyResource, after: AnyResource) -> str:
        """Return what of a tunnel cannot change while it stands; everything else can."""
        return _fixed(before, after) if isinstance(before, Tunnel) and isinstance(after, Tunnel) else ""

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Carry out ``changes`` in order; planted faults strike here."""
        self._check()
        self.applies += 1
        for change in changes:
            await asyncio.sleep(0)
            self._check()
            fault = self._fault_for(change.identity)
            if fault is None:
                yield self._carry_out(change)
                continue
            outcome = self._carry_out(change) if fault.carried_out else None
            if fault.error is not None:
                raise fault.error
            disturbed = outcome is not None and outcome.disturbed
            yield Outcome(change, fault.result, fault.reason, disturbed)

    async def drift(self) -> None:
        """Return when :meth:`tamper`, :meth:`lose`, :meth:`plant` or :meth:`unplant` moved something."""
        await self._moved.wait()
        self._moved.clear()

    async def probe(self, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        """Answer at once: reached, unless the address is in :attr:`silent`."""
        self._check()
        await asyncio.sleep(0)
        return [
            ProbeResult(target, reached=False, why="no answer")
            if target.address in self.silent
            else ProbeResult(target, reached=True, milliseconds=0.1)
            for target in targets
        ]

    def _check(self) -> None:
        if not self.reachable:
            raise DeviceUnreachable("the device in memory is switched off")

    def _fault_for(self, identity: str) -> Fault | None:
        for fault in self._faults:
            if fault.identity is None or fault.identity == identity:
                self._faults.remove(fault)
                return fault
        return None

    def _carry_out(self, change: Change) -> Outcome:
        identity = change.identity
        standing = self.resources.get(identity)
        if change.after is None:
            if standing is not None:
                self._write(change)
                del self.resources[identity]
                lost = isinstance(standing, Tunnel) and self._drop_what_stands_on(standing.name)
                return Outcome(change, "done", disturbed=bool(lost))
            return Outcome(change, "done")
        if change.adopts and self.foreign.get(identity) == change.adopts:
            del self.foreign[identity]
        if identity in self.foreign:
            return Outcome(change, "refused", f"exists, not ours: {self.foreign[identity]}")
        if standing == change.after:
            return Outcome(change, "done")
        self._write(change)
        self.resources[identity] = change.after
        disturbed = False
        if isinstance(standing, Tunnel) and isinstance(change.after, Tunnel) and _fixed(standing, change.after):
            disturbed = True
            self._drop_what_stands_on(standing.name)
        return Outcome(change, "done", disturbed=disturbed)

    def _write(self, change: Change) -> None:
        self.writes += 1
        self.log.append(change)

    def _drop_what_stands_on(self, link: str) -> bool:
        """Forget all that goes with a link when it goes; say whether there was anything."""
        gone = [identity for identity, resource in self.resources.items() if goes_with(resource) == link]
        for identity in gone:
            del self.resources[identity]
        return bool(gone)


def _fixed(before: Tunnel, after: Tunnel) -> str:
    """Return which field differs that a standing VXLAN link cannot change, in words."""
    fields = (
        ("its VNI", before.vni != after.vni),
        ("its port", before.port != after.port),
        ("its local address", before.local != after.local),
        ("its underlay", before.underlay != after.underlay),
    )
    return " and ".join(words for words, differs in fields if differs)
