"""The Linux gateway as a device: reads and writes the host it runs on, in its own network namespace.

It orders and batches; how each kind of thing is written is told in a module of its own. The one confusing thing: a run
of like changes goes to the kernel as one batch, so outcomes come a batch at a time, but always in the order of the
changes and one for each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import msgspec

from isthmus.drivers.base import Adapted, Observation, Outcome, ProbeResult, ProbeTarget
from isthmus.drivers.linux import host, spelling
from isthmus.drivers.linux.addresses import apply_addresses, keeps_marks
from isthmus.drivers.linux.announce import Announcer
from isthmus.drivers.linux.answers import outcome, unknown
from isthmus.drivers.linux.conntrack import Conntrack
from isthmus.drivers.linux.entries import apply_entries
from isthmus.drivers.linux.expected import Expected
from isthmus.drivers.linux.greeting import greet, greetable
from isthmus.drivers.linux.hops import ProbeTiming
from isthmus.drivers.linux.kernel import Kernel
from isthmus.drivers.linux.members import MemberWatch
from isthmus.drivers.linux.monitor import Monitor
from isthmus.drivers.linux.netlink import SILENCE
from isthmus.drivers.linux.nft import Table
from isthmus.drivers.linux.observe import observe
from isthmus.drivers.linux.owner import Owner
from isthmus.drivers.linux.probe import probe
from isthmus.drivers.linux.routes import apply_routes
from isthmus.drivers.linux.rules import apply_rules
from isthmus.drivers.linux.services import NftResource
from isthmus.drivers.linux.tunnels import apply_tunnel
from isthmus.drivers.linux.vips import Vips
from isthmus.errors import DeviceUnreachable, DeviceUnsupported
from isthmus.model.facts import DeviceFacts, Interface
from isthmus.model.plan import Change
from isthmus.model.resources import (
    AnyResource,
    DirectReturn,
    FdbEntry,
    IpTunnel,
    MssClamp,
    Neighbor,
    PortFilter,
    Route,
    SourceAddress,
    Tunnel,
    VirtualAddress,
    VirtualServer,
)

__all__ = ["LinuxDriver"]

_NET_ADMIN = 12
_DEBOUNCE = 0.1
_LEAST_INTERVAL = 1.0
_GROUPS: dict[type, str] = {
    Tunnel: "tunnels",
    IpTunnel: "tunnels",
    SourceAddress: "addresses",
    VirtualAddress: "vips",
    Neighbor: "entries",
    FdbEntry: "entries",
    Route: "routes",
    VirtualServer: "table",
    MssClamp: "table",
    PortFilter: "table",
    DirectReturn: "rules",
}


class _Open:
    """What an open driver holds: sockets and the tasks behind them."""

    def __init__(
        self,
        owner: Owner,
        found: host.Host,
        nft: str,
        expected: Expected,
        busy: asyncio.Lock,
        timing: ProbeTiming | None,
    ) -> None:
        self.kernel = Kernel(owner, ipv6=found.ipv6)
        self.conntrack = Conntrack()
        self.vips = Vips(self.kernel, busy)
        self.table = Table(owner, nft, lambda: self.monitor.table_untouched())
        self.monitor = Monitor(owner, expected, route_port=self.kernel.portid, table_port=self.table.portid)
        self.members = MemberWatch(timing, self.table, self.conntrack, expected)
        self.greeter = Announcer()

    async def close(self) -> None:
        await self.members.close()
        await self.vips.close()
        await self.greeter.close()
        self.monitor.close()
        self.table.close()
        self.conntrack.close()
        self.kernel.close()


class LinuxDriver:
    """Drive the host's own network.

    ``installation`` and ``protocol`` are the owner marks: two installations on one host differ in both. ``announce``
    restricts the links on which VIPs may be answered for; empty means any. ``member_probe`` has nodes asked if they answer.
    """

    def __init__(
        self,
        installation: str = "main",
        protocol: int = 200,
        announce: Sequence[str] = (),
        member_probe: ProbeTiming | None = None,
    ) -> None:
        self._timing = member_probe
        self.owner = Owner(installation, protocol)
        self.announce = tuple(announce)
        self._expected = Expected()
        self._open: _Open | None = None
        self._host = host.Host(ipv6=True, forwards4=True, forwards6=True)
        self._busy = asyncio.Lock()
        self._last_drift = 0.0

    async def open(self) -> None:
        """Check that this host can be a gateway; write nothing.

        Raises ``DeviceUnsupported`` with what is missing and ``DeviceRefused`` when another installation has our marks.
        """
        if self._open is not None:
            return
        self.owner.check()
        await asyncio.to_thread(_check_privilege)
        nft = host.find_nft()
        self._host = await asyncio.to_thread(host.look)
        try:
            opened = _Open(self.owner, self._host, nft, self._expected, self._busy, self._timing)
        except OSError as error:
            raise DeviceUnreachable(f"netlink cannot be used now: {error.strerror or error}") from error
        try:
            await _check_tables(opened.table)
            opened.monitor.know(await opened.kernel.links())
        except BaseException:
            await opened.close()
            raise
        self._open = opened

    async def prepare(self) -> None:
        """Switch forwarding on and make sure that addresses keep our mark; raises ``DeviceUnsupported`` if not."""
        opened = self._opened()
        if not await keeps_marks(opened.kernel):
            raise DeviceUnsupported(
                "this kernel does not keep the protocol number of an address (IFA_PROTO); Linux 5.18 or newer does"
            )
        await asyncio.to_thread(host.start_forwarding, await asyncio.to_thread(host.look))
        async with self._busy:
            await opened.vips.adopt()
        await opened.members.begin()

    async def vacate(self) -> None:
        """Remove our nft table if it holds nothing any more."""
        opened = self._opened()
        async with self._busy:
            await opened.table.remove_empty()

    async def close(self) -> None:
        """Let go of sockets and tasks; the host keeps what it holds."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened.close()

    async def observe(self, identities: Collection[str] | None = None) -> Observation:
        """Return what the host holds: everything, or what stands at ``identities`` alone."""
        opened = self._opened()
        if identities is None:
            opened.monitor.take()
        observation = await self._look(opened, identities)
        self._expected.observed(observation)
        return observation

    async def _look(self, opened: _Open, identities: Collection[str] | None) -> Observation:
        observation = await observe(opened.kernel, opened.table, identities)
        opened.monitor.know(await opened.kernel.links())
        return observation

    def adapt(self, desired: Mapping[str, AnyResource]) -> Adapted:
        """Return ``desired`` as this host would read it back, and what it refuses by value."""
        adapted = spelling.adapt(desired, ipv6=self._host.ipv6, announce=self.announce)
        self._expected.wanted(adapted.resources)
        return adapted

    def replaces(self, before: AnyResource, after: AnyResource) -> str:
        """Return what of ``before`` the kernel cannot change into ``after`` while it stands."""
        return spelling.replaces(before, after)

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Carry out ``changes`` in order; a failure of the socket leaves the rest unknown."""
        opened = self._opened()
        if not changes:
            return
        async with self._busy:
            await opened.table.ensure()
            lost = ""
            done: list[Outcome] = []
            for (group, _), run in groupby(changes, key=lambda c: (_GROUPS[type(c.resource)], c.after is None)):
                part = list(run)
                if lost:
                    outcomes = [unknown(change, f"not tried: {lost}") for change in part]
                else:
                    try:
                        outcomes = await getattr(self, f"_apply_{group}")(opened, part)
                    except DeviceUnreachable as error:
                        lost = str(error)
                        outcomes = [unknown(change, lost) for change in part]
                    else:
                        lost = SILENCE if any(one.reason == SILENCE for one in outcomes) else ""
                for one in outcomes:
                    self._expected.done(one)
                    yield one
                done += outcomes
            if names := greetable(done):
                greet(opened.greeter, names, await opened.kernel.links(), self._expected)

    async def drift(self) -> None:
        """Return when something of ours, at a place we want, or of the interfaces moved by somebody else's hand."""
        opened = self._opened()
        while True:
            await opened.monitor.moved.wait()
            pause = max(_DEBOUNCE, self._last_drift + _LEAST_INTERVAL - time.monotonic())
            await asyncio.sleep(pause)
            async with self._busy:
                moved = await self._has_moved(opened)
            if moved:
                self._last_drift = time.monotonic()
                return

    async def _has_moved(self, opened: _Open) -> bool:
        suspects, facts_moved, table_written, overrun = opened.monitor.take()
        if overrun or table_written:
            return True
        if not suspects and not facts_moved:
            return False
        observation = await self._look(opened, suspects)
        before, now = _decisive(self._expected.facts), _decisive(observation.facts)
        return before != now or self._expected.differs(observation)

    async def probe(self, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        """Send echo requests from this host and return an answer for each target, in order, within two seconds."""
        return await probe(targets)

    def _opened(self) -> _Open:
        if self._open is None:
            raise DeviceUnreachable("the Linux gateway is not open")
        return self._open

    async def _apply_routes(self, opened: _Open, changes: Sequence[Change]) -> list[Outcome]:
        return await apply_routes(opened.kernel, await opened.kernel.links(), changes)

    async def _apply_rules(self, opened: _Open, changes: Sequence[Change]) -> list[Outcome]:
        return await apply_rules(opened.kernel, changes)

    async def _apply_entries(self, opened: _Open, changes: Sequence[Change]) -> list[Outcome]:
        return await apply_entries(opened.kernel, await opened.kernel.links(), changes)

    async def _apply_tunnels(self, opened: _Open, changes: Sequence[Change]) -> list[Outcome]:
        outcomes = []
        for change in changes:
            disturbs = change.after is None and self._expected.stands_on(change.identity.removeprefix("tunnel "))
            one = await apply_tunnel(opened.kernel, change)
            outcomes.append(Outcome(one.change, one.result, one.reason, one.disturbed or disturbs))
        opened.monitor.know(await opened.kernel.links())
        return outcomes

    async def _apply_addresses(self, opened: _Open, changes: Sequence[Change]) -> list[Outcome]:
        outcomes, _ = await apply_addresses(opened.kernel, await opened.kernel.links(), changes)
        return [
            msgspec.structs.replace(one, disturbed=one.disturbed or self._takes_along(one.change)) for one in outcomes
        ]

    def _takes_along(self, change: Change) -> bool:
        """Say whether an address that goes takes neighbors and routes of its link along, as the last one does."""
        gone = change.before if change.after is None else None
        return isinstance(gone, SourceAddress) and self._expected.needs_address(gone.link)

    async def _apply_vips(self, opened: _Open, changes: Sequence[Change]) -> list[Outcome]:
        """Put a VIP into the table before it answers, and take it out after: it never answers on every port."""
        links = await opened.kernel.links()
        refused: dict[str, Outcome] = {}
        if changes[0].after is not None:
            refused = await opened.vips.contested(links, changes)
            free = [change for change in changes if change.identity not in refused]
            refused |= {o.change.identity: o for o in await self._apply_table(opened, free) if o.result != "done"}
        outcomes = await opened.vips.apply(links, [change for change in changes if change.identity not in refused])
        down = [one.change for one in outcomes if one.result == "done" and one.change.after is None]
        failed = {o.change.identity: o for o in await self._apply_table(opened, down) if o.result != "done"}
        # A VIP whose address was refused must not stay in the table: it is somebody else's to answer for.
        undo = [
            Change("delete", o.change.identity, o.change.resource, None) for o in outcomes if o.result == "refused"
        ]
        await self._apply_table(opened, [change for change in undo if changes[0].after is not None])
        told = {one.change.identity: one for one in outcomes} | refused | failed
        return [told[change.identity] for change in changes]

    async def _apply_table(self, opened: _Open, changes: Sequence[Change]) -> list[Outcome]:
        if not changes:
            return []
        replies = await opened.table.write([(change.identity, _nft(change.after)) for change in changes])
        outcomes = [outcome(change, reply) for change, reply in zip(changes, replies, strict=True)]
        await opened.conntrack.forget(
            _as_it_serves(one.change) for one in outcomes if one.result == "done" and _moves_flows(one.change)
        )
        return outcomes


def _nft(resource: AnyResource | None) -> NftResource | None:
    return resource if isinstance(resource, NftResource) else None


def _decisive(facts: DeviceFacts) -> list[Interface]:
    """Return the interfaces that a decision can rest on: a host's containers make and drop others all the time."""
    return [
        interface
        for interface in facts.interfaces
        if not interface.ours and any(not address.is_link_local for address in interface.addresses)
    ]


def _moves_flows(change: Change) -> bool:
    """Say whether flows may be left on a pod that serves no longer, or from before there was any."""
    if not isinstance(change.resource, VirtualServer):
        return False
    before = change.before.members if isinstance(change.before, VirtualServer) else ()
    after = change.after.members if isinstance(change.after, VirtualServer) else ()
    if not before or not after:
        return True
    kept = {(member.address, member.port) for member in after}
    return any((member.address, member.port) not in kept for member in before)


def _as_it_serves(change: Change) -> VirtualServer:
    """Return the server as it stands after the change; a deleted one has no members."""
    server = change.resource
    assert isinstance(server, VirtualServer), "only servers move flows"
    if change.after is not None:
        return server
    return VirtualServer(server.address, server.protocol, server.port)


async def _check_tables(table: Table) -> None:
    """Raise ``DeviceUnsupported`` without nf_tables, ``DeviceRefused`` where another installation has our number."""
    try:
        await table.check()
    except DeviceUnreachable as error:
        raise DeviceUnsupported(f"this kernel does not show its nf_tables (is the module there?): {error}") from error


def _check_privilege() -> None:
    """Raise ``DeviceUnsupported`` where this process may not change the network."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError as error:
        raise DeviceUnsupported(f"cannot read /proc/self/status: {error.strerror}") from error
    effective = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    if not effective >> _NET_ADMIN & 1:
        raise DeviceUnsupported("a Linux gateway needs the capability NET_ADMIN; run as root or grant it")
