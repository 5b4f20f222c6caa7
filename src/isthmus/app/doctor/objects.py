"""Judges the configuration, devices, links, pools and the state directory by what one look has found. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from isthmus.app.doctor.answers import Answer, fail, few, ok, warn
from isthmus.core.explain import Hop
from isthmus.core.ground import DEVICE_LABEL
from isthmus.core.planner import DevicePlanner
from isthmus.core.world import World, path_of
from isthmus.errors import InputError
from isthmus.model.kinds import ClusterLink
from isthmus.model.plan import Plan

__all__ = [
    "StateFacts",
    "judge_agent",
    "judge_certificates",
    "judge_configuration",
    "judge_device",
    "judge_link",
    "judge_pools",
    "judge_state",
]

_DAY = 86400.0
_SOON = 14 * _DAY
_LITTLE = 256 * 1024 * 1024


def judge_configuration(problems: Sequence[InputError], notes: Sequence[str]) -> Iterator[Answer]:
    """Yield what is wrong in what the user wrote."""
    subject = "configuration"
    yield from few(
        problems,
        lambda one: fail(subject, f"{one.place}: {one.reason}", one.remedy),
        lambda rest: fail(subject, f"and {rest} more problems", "`isthmus validate` names them all"),
    )
    told = [note.removeprefix("configuration: ") for note in notes if note.startswith("configuration: ")]
    yield from few(told, lambda text: warn(subject, text), lambda rest: warn(subject, f"and {rest} more remarks"))
    if not problems:
        yield ok(subject, "nothing is wrong in it")


def judge_device(device: str, plan: Plan, planner: DevicePlanner, policy: str) -> Iterator[Answer]:
    """Yield how one device that could be read stands."""
    subject = f"device {device}"
    yield ok(subject, f"answers, and holds {len(planner.observed)} things of ours")
    if policy == "observe":
        yield warn(
            subject, "its policy is observe: nothing is written to it", "set spec.policy to sync when you mean it"
        )
    if plan.empty:
        yield ok(subject, "nothing is to be changed")
    else:
        yield warn(
            subject,
            f"not in sync: {plan.summary().partition(': ')[2]}",
            "a running controller changes this at once; `isthmus plan` shows it",
        )
    yield from few(
        plan.conflicts,
        lambda one: fail(subject, one.describe()[2:], "remove the other, change what you wrote, or `isthmus adopt`"),
        lambda rest: fail(subject, f"and {rest} more conflicts", "`isthmus plan` names them all"),
    )
    yield from few(
        plan.refusals,
        lambda one: fail(subject, f"{one.scope}: {one.message}", one.remedy),
        lambda rest: fail(subject, f"and {rest} more wishes that cannot be served", "`isthmus plan` names them all"),
    )
    drifted = {one.identity for one in plan.drifts}
    yield from few(
        [one for one in plan.held if one.change.identity not in drifted],
        lambda one: warn(subject, f"held: {one.change.describe()}: {one.reason}"),
        lambda rest: warn(subject, f"and {rest} more held changes", "`isthmus plan` names them all"),
    )
    yield from few(
        plan.drifts,
        lambda one: warn(subject, one.describe()[2:], "`isthmus apply` puts it right; so does spec.drift: repair"),
        lambda rest: warn(subject, f"and {rest} more things that somebody else changed"),
    )


def judge_agent(device: str, agent: str, ours: str) -> Iterator[Answer]:
    """Yield whether a remote gateway's agent is of the release that the controller is of; nothing where there is none."""
    if not agent:
        return
    if agent != ours:
        yield warn(
            f"device {device}", f"its agent is isthmus {agent}, this is {ours}", "install the same release on both"
        )
    else:
        yield ok(f"device {device}", f"its agent is isthmus {agent}, as this is")


def judge_link(
    world: World, link: ClusterLink, planners: Mapping[str, DevicePlanner], proof: Sequence[Hop]
) -> Iterator[Answer]:
    """Yield whether a link has a path, joins its nodes, and carries packets."""
    subject = f"link {link.name}"
    path = path_of(world, link)
    if path is None:
        yield fail(subject, "has no path yet", "`isthmus plan` says why each does not work")
        return
    yield ok(subject, f"goes by path {path}")
    nodes = [
        node.name
        for node in world.view(link.spec.cluster).nodes.values()
        if DEVICE_LABEL not in node.labels and link.spec.node_selector.matches(node.labels)
    ]
    for device in link.spec.devices:
        if device not in planners:
            continue
        missing = sorted(set(nodes) - set(planners[device].joined_nodes(link.name)))
        if missing:
            shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            yield fail(
                subject,
                f"{device} does not reach {len(missing)} of {len(nodes)} nodes: {shown}",
                f"`isthmus explain {missing[0]}` says why",
            )
        else:
            yield ok(subject, f"{device} is set to reach all {len(nodes)} nodes")
    silent = [hop for hop in proof if hop.ok is False]
    yield from few(
        silent,
        lambda hop: fail(subject, hop.text, "look at that node's firewall, return route and agent"),
        lambda rest: fail(subject, f"and {rest} more that do not answer"),
    )
    yield from (ok(subject, hop.text) for hop in proof if hop.ok is None)
    asked = sum(1 for hop in proof if hop.ok)
    if asked and not silent:
        yield ok(subject, f"packets go both ways ({asked} asked)")


def judge_pools(world: World, notes: Sequence[str]) -> Iterator[Answer]:
    """Yield which pools are used up, or nearly, and which Services wait."""
    for name, pool in sorted(world.pools.items()):
        subject = f"pool {name}"
        used = sum(1 for vip in world.vips.values() if pool.spec.contains(vip.address))
        total = pool.spec.size(4) + pool.spec.size(6)
        text = f"{used} of {total} addresses are used" if total < 10**9 else f"{used} addresses are used"
        remedy = "widen spec.ranges, or free addresses"
        if used >= total:
            yield fail(subject, text, remedy)
        elif used >= 0.9 * total:
            yield warn(subject, text, remedy)
        else:
            yield ok(subject, text)
    waiting = [note for note in notes if note.startswith("Service ")]
    yield from few(
        waiting,
        lambda text: warn("Services", text, "see the reason in docs/reference/reasons.md"),
        lambda rest: warn("Services", f"and {rest} more wait for an address"),
    )


@dataclass(frozen=True, slots=True)
class StateFacts:
    """What the state directory is like. ``damage`` says what an integrity check found; ``holder`` whose lock is on it."""

    path: str
    begun: bool = True
    mode: int = 0o700
    free: int = 2**40
    damage: str = ""
    holder: int | None = None
    running: bool = False


def judge_state(facts: StateFacts) -> Iterator[Answer]:
    """Yield how the state directory stands."""
    subject = f"state {facts.path}"
    if not facts.begun:
        yield warn(subject, "no state is kept yet", "it begins when the controller first starts")
        return
    if facts.damage:
        yield fail(subject, f"is damaged: {facts.damage}", "restore it from a backup; it says who has which address")
    else:
        yield ok(subject, "is whole")
    if facts.mode & 0o077:
        yield fail(subject, f"is open to other users (mode {facts.mode:o})", f"chmod 700 {facts.path}")
    if facts.free < _LITTLE:
        yield fail(
            subject, f"has {facts.free // 2**20} MiB left on its disk", "free some: claims must be written down"
        )
    if facts.holder is not None:
        yield ok(subject, f"is in use by process {facts.holder}")
    elif facts.running:
        yield fail(
            subject,
            "the controller was running, and has ended without a word",
            "see its log: journalctl -u isthmus-controller",
        )
    else:
        yield warn(subject, "no controller is running", "systemctl start isthmus-controller")


def judge_certificates(ends: Mapping[str, float], now: float) -> Iterator[Answer]:
    """Yield which certificates and tokens end soon, or have; ``ends`` are times by what they are, as a person calls it."""
    for what, end in sorted(ends.items()):
        days = (end - now) / _DAY
        if end <= now:
            yield fail(what, f"has expired {-days:.0f} days ago", "renew it")
        elif end - now < _SOON:
            yield warn(what, f"ends in {days:.1f} days", "renew it, or see why nothing renews it")
        else:
            yield ok(what, f"ends in {days:.0f} days")
