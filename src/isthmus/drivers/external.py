"""A device that somebody else configures: we say what it should hold, and never reach for it.

Everything that it needs is what a plan for it shows, and what is published for whoever builds it. So this driver keeps what
was applied in memory and says that it stands; a new process begins with nothing, and its first plan is the whole description.
The one confusing thing: "in sync" of such a device means that all is said, not that anybody has done it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from ipaddress import ip_interface

from isthmus.drivers.base import Adapted, Observation, Outcome, ProbeResult, ProbeTarget
from isthmus.errors import DeviceUnsupported
from isthmus.model.facts import DeviceFacts, DeviceTraits, Interface
from isthmus.model.plan import Change
from isthmus.model.resources import ZERO_MAC, AnyResource, IPAddress, VirtualAddress, VirtualServer

__all__ = ["ExternalDevice"]


class ExternalDevice:
    """The far end of an overlay that another program builds.

    ``ends`` are its tunnel addresses, ``mac`` the one it sends from there (none: nodes find it by flooding and learning),
    ``mtu`` that of the interface its tunnel ends on.
    """

    def __init__(self, ends: Sequence[IPAddress], mac: str | None, mtu: int) -> None:
        addresses = tuple(ip_interface(f"{end}/{end.max_prefixlen}") for end in ends)
        self._facts = DeviceFacts(
            (Interface("external", mtu=mtu, addresses=addresses),),
            DeviceTraits(clamps=False, policy_routes=True, tunnel_mac=mac or ZERO_MAC),
        )
        self._said: dict[str, AnyResource] = {}

    async def open(self) -> None:
        """Do nothing: there is nothing to reach."""

    async def prepare(self) -> None:
        """Do nothing: making it ready is somebody else's."""

    async def vacate(self) -> None:
        """Do nothing: there is no container of ours."""

    async def close(self) -> None:
        """Do nothing: no connection was ever made."""

    async def observe(self, identities: Collection[str] | None = None) -> Observation:
        """Return what was said so far: everything, or what was said at ``identities``."""
        if identities is None:
            return Observation(dict(self._said), {}, self._facts)
        wanted = frozenset(identities)
        found = {identity: self._said[identity] for identity in sorted(wanted) if identity in self._said}
        return Observation(found, {}, self._facts, wanted)

    def adapt(self, desired: Mapping[str, AnyResource]) -> Adapted:
        """Return ``desired`` without Services: how those are served is not described to others."""
        refused = {
            identity: "this device is configured by somebody else; write services: false in the ClusterLink"
            for identity, resource in desired.items()
            if isinstance(resource, VirtualServer | VirtualAddress)
        }
        return Adapted({key: value for key, value in desired.items() if key not in refused}, refused)

    def replaces(self, before: AnyResource, after: AnyResource) -> str:
        """Return nothing: what is said can be said anew at any time."""
        return ""

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Take ``changes`` down; nothing is sent to anybody."""
        for change in changes:
            if change.after is None:
                self._said.pop(change.identity, None)
            else:
                self._said[change.identity] = change.after
            yield Outcome(change, "done")

    async def drift(self) -> None:
        """Never return: what was said does not move by itself."""
        await asyncio.Event().wait()

    async def probe(self, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        """Raise ``DeviceUnsupported``: nobody can be asked to look, so no node is called silent."""
        raise DeviceUnsupported("a device that somebody else configures cannot be asked whether nodes answer it")
