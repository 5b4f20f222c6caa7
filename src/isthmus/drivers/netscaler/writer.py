"""Changes carried out: what stands is made sure of where that is not known, intents are written, then the scripts go.

Nothing is made or removed on the strength of what somebody else said earlier: a change at a place that this process has not
seen to be ours is looked at first. What a device says exists already is looked at again, and judged by what it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from ipaddress import ip_address
from itertools import groupby

from isthmus.drivers.base import Outcome
from isthmus.drivers.netscaler.execute import Course, carry_out
from isthmus.drivers.netscaler.intents import line_of
from isthmus.drivers.netscaler.ledger import Ledger
from isthmus.drivers.netscaler.monitors import make_monitors
from isthmus.drivers.netscaler.names import Names
from isthmus.drivers.netscaler.nitro import Nitro
from isthmus.drivers.netscaler.objects import Obj, make
from isthmus.drivers.netscaler.observe import Known
from isthmus.drivers.netscaler.placing import Placing
from isthmus.drivers.netscaler.shapes import Impossible, objects_of, vip_object
from isthmus.drivers.netscaler.sight import Sight
from isthmus.drivers.netscaler.steps import Step, script
from isthmus.drivers.netscaler.store import Store
from isthmus.drivers.netscaler.sweep import sweep
from isthmus.model.plan import Change
from isthmus.model.resources import (
    FdbEntry,
    IPAddress,
    IpTunnel,
    Neighbor,
    Partial,
    PolicyRoute,
    Route,
    SourceAddress,
    SourceProfile,
    Tunnel,
    VirtualAddress,
    VirtualServer,
)

__all__ = ["Writer"]

_GROUPS: dict[type, str] = {
    Tunnel: "tunnels",
    IpTunnel: "tunnels",
    SourceAddress: "addresses",
    FdbEntry: "entries",
    Neighbor: "entries",
    Route: "routes",
    PolicyRoute: "routes",
    SourceProfile: "profiles",
    VirtualServer: "services",
    VirtualAddress: "services",
}


class Writer:
    """Carries changes out on one device."""

    def __init__(
        self,
        nitro: Nitro,
        names: Names,
        ledger: Ledger,
        known: Known,
        store: Store,
        look: Callable[[Collection[str]], Awaitable[Sight]],
        may_write: Callable[[], None],
        wrote: Callable[[str, int | None], None],
    ) -> None:
        self._nitro = nitro
        self._names = names
        self._ledger = ledger
        self._known = known
        self._store = store
        self._look = look
        self._may_write = may_write
        self._wrote = wrote

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Carry out ``changes`` in order and yield an outcome for each."""
        placing = Placing(self._ledger, self._store, self._look)
        judged = await placing.judge(changes)
        lines = placing.lines([change for change in changes if change.identity not in judged])
        failed = await self._write_lines(lines)
        for identity, line in lines.items():
            if line in failed:
                judged[identity] = ("refused", failed[line])
        ended: list[Outcome] = []
        for (_, _), run in groupby(changes, key=lambda change: (_group(change), change.after is None)):
            part = list(run)
            for outcome in await self._run(part, judged, changes):
                if outcome.result == "done":
                    self._store.done(outcome.change)
                ended.append(outcome)
                yield outcome
        await self._tidy(ended, lines)

    # --- before anything is written -----------------------------------------------------------------------------

    async def _write_lines(self, lines: dict[str, str]) -> dict[str, str]:
        there = self._ledger.lines
        missing = [line for line in lines.values() if line not in there]
        if not missing and not self._ledger.lost:
            return {}
        self._may_write()
        return await self._ledger.add(missing)

    # --- one run of like changes --------------------------------------------------------------------------------

    async def _run(
        self, run: Sequence[Change], judged: dict[str, tuple[str, str]], whole: Sequence[Change]
    ) -> list[Outcome]:
        courses: dict[str, Course] = {}
        disturbed: set[str] = set()
        for change in run:
            if change.identity in judged:
                result, reason = judged[change.identity]
                course = Course([])
                course.end("done" if result == "done" else "refused", reason)
            else:
                course = self._course(change, self._standing(change))
            courses[change.identity] = course
        live = [change for change in run if courses[change.identity].goes_on]
        await self._before(live, courses, disturbed)
        self._with_addresses(live, courses, disturbed, whole)
        await self._spare_theirs(live, courses, whole)
        vips = [change for change in live if isinstance(change.after, VirtualAddress) and change.before is None]
        last = {change.identity for change in vips}
        await self._carry(courses, [change for change in live if change.identity not in last])
        self._mark_vips(vips, run, courses)
        await self._carry(courses, [change for change in vips if courses[change.identity].goes_on])
        unclear = [change for change in live if courses[change.identity].look]
        if unclear:
            await self._again(unclear, courses)
        return [
            Outcome(
                change,
                courses[change.identity].ending,
                courses[change.identity].reason,
                change.identity in disturbed and courses[change.identity].ending == "done",
            )
            for change in run
        ]

    def _mark_vips(self, vips: Sequence[Change], run: Sequence[Change], courses: dict[str, Course]) -> None:
        """Make no VIP that nothing would mark as ours: neither a line, nor a virtual server that stands on it."""
        there = self._ledger.lines
        made: dict[IPAddress, list[Course]] = {}
        for one in run:
            if isinstance(one.after, VirtualServer):
                made.setdefault(one.after.address, []).append(courses[one.identity])
        for change in vips:
            vip = change.after
            assert isinstance(vip, VirtualAddress), "these are"
            if line_of(vip) in there or self._store.servers_on(vip.address):
                continue
            servers = made.get(vip.address, [])
            if not any(course.ending == "done" for course in servers):
                unknown = any(course.ending == "unknown" for course in servers)
                reason = "no virtual server of ours stands on it"
                courses[change.identity].end("unknown" if unknown else "refused", reason)

    async def _carry(self, courses: dict[str, Course], changes: Sequence[Change]) -> None:
        part = [courses[change.identity] for change in changes]
        await carry_out(self._nitro, part, self._may_write)
        for course in part:
            for kind, more in course.wrote:
                self._wrote(kind, more)

    def _standing(self, change: Change) -> tuple[Obj, ...]:
        identity = change.identity
        if identity in self._store.odd:
            return self._store.odd[identity]
        held = self._store.held.get(identity)
        before = held if held is not None else change.before
        if before is None or isinstance(before, Partial):
            return ()
        try:
            return objects_of(before, self._names, self._ledger.intents.vni)
        except Impossible:
            return ()

    def _course(self, change: Change, standing: Sequence[Obj]) -> Course:
        wanted: tuple[Obj, ...] = ()
        try:
            if change.after is not None:
                wanted = objects_of(change.after, self._names, self._ledger.intents.vni)
        except Impossible as error:
            course = Course([])
            course.end("refused", str(error))
            return course
        return Course(script(standing, wanted, self._known.servers))

    async def _before(self, changes: Sequence[Change], courses: dict[str, Course], disturbed: set[str]) -> None:
        """Do what must come before a run: clear a VXLAN that goes, make monitors that are shared."""
        for change in changes:
            old = next((obj for obj in self._standing(change) if obj.kind == "vxlan"), None)
            if isinstance(change.after, Tunnel) and old is not None and old.get("id") != str(change.after.vni):
                self._may_write()
                why = await sweep(self._nitro, int(old.get("id")))
                if why:
                    courses[change.identity].end("unknown", why)
                disturbed.add(change.identity)
            if isinstance(change.after, SourceAddress) and any(
                step.op == "remove" for step in courses[change.identity].steps
            ):
                courses[change.identity].steps += self._around_profile(change.after.address.ip)
        servers = [change.after for change in changes if isinstance(change.after, VirtualServer)]
        failed = await make_monitors(self._nitro, self._names, self._known, servers, self._may_write)
        for change in changes:
            if isinstance(change.after, VirtualServer) and (problem := failed.get(change.after.identity)):
                courses[change.identity].end("refused", problem)

    def _around_profile(self, address: IPAddress) -> list[Step]:
        """Return the steps that take ``address`` out of its net profile while it is made anew, for a profile keeps it."""
        if f"source-profile {address}" not in self._store.held:
            return []
        profile = make("netprofile", name=self._names.profile(address), srcip=address)
        return [
            Step(5, "unset", "netprofile", {**profile.named(), "srcip": True}),
            Step(170, "update", "netprofile", profile.row()),
        ]

    def _with_addresses(
        self, changes: Sequence[Change], courses: dict[str, Course], disturbed: set[str], whole: Sequence[Change]
    ) -> None:
        """See to VIPs that devices make and remove along with virtual servers: none answers that is not wished for."""
        wished = {one.after.address for one in whole if isinstance(one.after, VirtualAddress)}
        leaving = {one.identity for one in whole if one.after is None}
        prepared: set[IPAddress] = set()
        for change in changes:
            one = change.resource if not isinstance(change.before, VirtualServer) else change.before
            if not isinstance(one, VirtualServer):
                continue
            address, vip = one.address, f"vip {one.address}"
            if change.after is not None:
                silent = vip not in self._store.held and vip not in self._store.odd and address not in wished
                if silent and address not in prepared and not self._store.servers_on(address):
                    prepared.add(address)
                    obj = vip_object(address, answers=False)
                    courses[change.identity].steps.append(Step(105, "put", obj.kind, obj.row()))
            elif not self._store.servers_on(address) - leaving:
                if vip in self._store.held and vip not in leaving:
                    disturbed.add(change.identity)  # the device takes the VIP along, and it is still wished for
                elif vip not in leaving and address not in prepared:
                    prepared.add(address)
                    obj = vip_object(address)
                    courses[change.identity].steps.append(Step(220, "remove", obj.kind, obj.named(), spared=True))

    async def _spare_theirs(
        self, changes: Sequence[Change], courses: dict[str, Course], whole: Sequence[Change]
    ) -> None:
        """Let a VIP that cannot be removed fall silent only where it is servers of ours, and nobody else's, that keep it."""
        leaving = {one.identity for one in whole if one.after is None}
        vips = [one for one in changes if one.after is None and one.identity.startswith("vip ")]
        kept = {
            one.identity
            for one in vips
            if self._store.servers_on(ip_address(one.identity.removeprefix("vip "))) - leaving
        }
        foreign = (await self._look(kept)).told_foreign() if kept else {}
        for change in vips:
            course = courses[change.identity]
            if change.identity in foreign:
                course.steps = []  # theirs since we looked last: it is no more of ours to remove
            elif change.identity not in kept:
                course.steps = [replace(step, instead=None) for step in course.steps]

    async def _again(self, changes: Sequence[Change], courses: dict[str, Course]) -> None:
        """Look at what exists already, or no longer, and judge it by what it is; try once more where it is ours."""
        sight = await self._look({change.identity for change in changes})
        foreign = sight.told_foreign()
        retry: list[Change] = []
        for change in changes:
            identity, course = change.identity, courses[change.identity]
            course.look = False
            if change.after is None and identity not in sight.resources and identity not in sight.odd:
                course.reason = ""  # gone, or somebody else's since we looked last
            elif identity in foreign:
                course.end("refused", f"exists, not ours: {foreign[identity]}")
            elif sight.resources.get(identity) == change.after:
                course.reason = ""
            else:
                self._store.drop(identity)
                found = sight.resources.get(identity)
                standing = sight.odd.get(identity, ())
                if not standing and found is not None:
                    standing = objects_of(found, self._names, self._ledger.intents.vni)
                why, courses[identity] = course.reason, self._course(change, standing)
                courses[identity].reason = why
                retry.append(change)
        await self._carry(courses, retry)
        for change in retry:
            course = courses[change.identity]
            if course.look:
                course.look = False
                course.end("refused", course.reason)
            elif course.ending == "done":
                course.reason = ""

    # --- afterwards ---------------------------------------------------------------------------------------------

    async def _tidy(self, ended: Sequence[Outcome], lines: dict[str, str]) -> None:
        """Remove lines of what is gone, and monitors that nobody uses."""
        if not any(outcome.result == "done" for outcome in ended):
            return
        standing = {line for one in self._store.held.values() if (line := line_of(one)) is not None}
        pending = {lines[o.change.identity] for o in ended if o.result == "unknown" and o.change.identity in lines}
        pending |= {
            kept
            for o in ended
            if o.result != "done" and o.change.before is not None and (kept := line_of(o.change.before)) is not None
        }
        partial = {identity for identity, one in self._store.held.items() if isinstance(one, Partial)}
        stale = [line for line in self._ledger.stale(standing, pending) if not _is_about(line, partial)]
        if stale:
            self._may_write()
            await self._ledger.remove(stale)


def _is_about(line: str, identities: Collection[str]) -> bool:
    """Say whether a line marks one of these things, of which no more is known than that there is some of it."""
    kind, *words = line.split(" ")
    match kind, words:
        case "vxlan", [_, name]:
            return f"tunnel {name}" in identities
        case "snip", [address, _]:
            return f"source {address.partition('/')[0]}" in identities
        case "route", [prefix, _]:
            return f"route {prefix}" in identities
        case "vip", [address]:
            return f"vip {address}" in identities
    return False


def _group(change: Change) -> str:
    resource = change.resource if not isinstance(change.resource, Partial) else change.before
    found = _GROUPS.get(type(resource))
    return found if found is not None else _BY_RANK.get(change.resource.rank, "other")


_BY_RANK = {
    10: "tunnels",
    20: "addresses",
    30: "entries",
    40: "routes",
    50: "profiles",
    60: "services",
    70: "services",
}
