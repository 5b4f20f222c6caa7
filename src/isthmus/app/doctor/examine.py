"""Runs all checks side by side, each with a time limit; what hangs or fails costs its own answer and no other."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

from cryptography import x509

from isthmus import __version__
from isthmus.app.doctor.answers import Answer, fail, ok, warn
from isthmus.app.doctor.clusters import ask_cluster, judge_cluster
from isthmus.app.doctor.host import HostFacts, Wanted, judge_filters, judge_host, judge_tunnels
from isthmus.app.doctor.host_facts import host_facts, ruleset
from isthmus.app.doctor.objects import (
    StateFacts,
    judge_agent,
    judge_certificates,
    judge_configuration,
    judge_device,
    judge_link,
    judge_pools,
    judge_state,
)
from isthmus.app.doctor.segment import ask_segments, judge_vips, vips_by_link
from isthmus.app.oneshot import Oneshot
from isthmus.app.sources import Sources
from isthmus.core.explain import Explanation, explain
from isthmus.core.world import path_of
from isthmus.drivers.linux.owner import Owner
from isthmus.drivers.linux.remote import RemoteGateway
from isthmus.errors import IsthmusError
from isthmus.model.kinds import EdgeDevice, Kind, KubeCluster
from isthmus.model.plan import Plan
from isthmus.model.resources import Tunnel, VirtualAddress
from isthmus.registry.lock import LOCK
from isthmus.registry.state import StateDirectory

__all__ = ["PATIENCE", "Examination", "examine"]

Check: TypeAlias = Callable[[], Awaitable[Iterable[Answer]]]

PATIENCE = 15.0
"""Seconds that one check may take."""
_EXPLAINED = 10
_ASKED = 50
"""So many nodes of each link are asked whether they answer."""


@dataclass(slots=True)
class Examination:
    """All answers, and what was found on the way (for the bundle)."""

    answers: list[Answer] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)
    objects: list[Kind] = field(default_factory=list)
    explained: dict[str, Explanation] = field(default_factory=dict)

    @property
    def well(self) -> bool:
        """Say whether nothing failed."""
        return all(answer.level != "fail" for answer in self.answers)


async def examine(where: Sources, *, patience: float = PATIENCE) -> Examination:
    """Look at everything and return the answers, in a fixed order."""
    found = Examination([ok("isthmus", f"version {__version__}")])
    checks: list[tuple[str, Check]] = []
    if where.state is not None:
        checks.append((f"state {where.state}", lambda: _state(where)))
    async with AsyncExitStack() as stack:
        try:
            # Clusters and devices are asked at once, each within its own limit; this one is for what has none.
            async with asyncio.timeout(4 * patience):
                look = await stack.enter_async_context(Oneshot(where, patience=patience))
        except TimeoutError:
            found.answers.append(fail("objects", f"could not be read within {4 * patience:.0f} s"))
            checks.append(("this host", _bare_host))
        except IsthmusError as error:
            found.answers.append(
                fail("objects", str(error), "without them nothing can be said of devices and clusters")
            )
            checks.append(("this host", _bare_host))
        except Exception as error:  # a bug of ours in reading must not cost what can be said without it
            found.answers.append(fail("objects", f"could not be read: internal error: {error!r}", "report this"))
            checks.append(("this host", _bare_host))
        else:
            checks += _checks(look, found)
            _explain_troubles(look, found)
        results = await asyncio.gather(*(_within(subject, check, patience) for subject, check in checks))
        found.answers += [answer for result in results for answer in result]
    return found


def _explain_troubles(look: Oneshot, found: Examination) -> None:
    """Explain the first objects that cannot be served, or not as they should."""
    found.objects = list(look.objects)
    scopes = {
        scope
        for plan in found.plans.values()
        for scope in (
            *(refusal.scope for refusal in plan.refusals),
            *(scope for conflict in plan.conflicts for scope in conflict.scopes),
        )
        if scope.name
    }
    for subject in sorted({scope.name for scope in scopes})[:_EXPLAINED]:
        explained = explain(subject, look.world, look.planners)
        if explained is not None:
            found.explained[subject] = explained


async def _bare_host() -> Iterable[Answer]:
    return judge_host(await host_facts([]), Wanted())


async def _within(subject: str, check: Check, patience: float) -> list[Answer]:
    try:
        async with asyncio.timeout(patience):
            return list(await check())
    except TimeoutError:
        return [warn(subject, f"could not be looked at within {patience:.0f} s", "see whether it hangs")]
    except (IsthmusError, OSError) as error:
        return [warn(subject, f"could not be looked at: {getattr(error, 'strerror', None) or error}")]
    except Exception as error:  # a bug in one check must not cost the others
        return [warn(subject, f"could not be looked at: internal error: {error!r}", "report this")]


def _checks(look: Oneshot, found: Examination) -> list[tuple[str, Check]]:
    for device in sorted(look.planners):
        found.plans[device] = look.plan(device)
    local = {
        name: kind
        for name, kind in look.world.devices.items()
        if kind.spec.driver == "linux" and kind.spec.linux.agent is None
    }
    checks: list[tuple[str, Check]] = [
        ("configuration", lambda: _now(judge_configuration(look.problems, look.notes))),
        ("certificates", lambda: _certificates(look.where)),
        ("pools", lambda: _now(judge_pools(look.world, look.notes))),
    ]
    if local:
        checks.append(("this host", lambda: _host(look, local)))
        checks.append(("packet filters", lambda: _filters(local)))
    for name, cluster in sorted(look.world.cluster_kinds.items()):
        checks.append((f"cluster {name}", partial(_cluster, look, name, cluster)))
    for name, edge in sorted(look.world.devices.items()):
        checks.append((f"device {name}", partial(_device, look, name, edge, found)))
        if name in local and name in look.planners:
            checks.append((f"device {name}", partial(_vips, look, name, edge)))
    return [*checks, *((f"link {name}", partial(_link, look, name)) for name in sorted(look.world.links))]


async def _now(answers: Iterable[Answer]) -> Iterable[Answer]:
    return answers


# --- one subject each -------------------------------------------------------------------------------------------


def _tunnels(look: Oneshot, device: str) -> tuple[Tunnel, ...]:
    planner = look.planners.get(device)
    wanted = planner.wishes.identities() if planner is not None else ()
    found = (planner.spelled(identity) for identity in sorted(wanted) if planner is not None)
    return tuple(one for one in found if isinstance(one, Tunnel))


async def _host(look: Oneshot, local: dict[str, EdgeDevice]) -> Iterable[Answer]:
    planners = [look.planners[name] for name in local if name in look.planners]
    facts = await host_facts(one for planner in planners for one in planner.facts.interfaces)
    tunnels = {name: _tunnels(look, name) for name in local}
    links = {one.link for planner in planners for one in planner.observed.values() if isinstance(one, VirtualAddress)}
    served = {link.spec.cluster for name in local for link in look.world.links_of_device(name)}
    views = [look.world.view(cluster) for cluster in served]
    wanted = Wanted(
        neighbors=sum(len(view.nodes) for view in views),
        vip_links=frozenset(links),
        tunnels=tuple(one for found in tunnels.values() for one in found),
        versions=frozenset(
            {4, *(cidr.version for view in views for node in view.nodes.values() for cidr in node.pod_cidrs)}
        ),
    )
    return [*judge_host(facts, wanted), *_judged_tunnels(tunnels, facts)]


def _judged_tunnels(tunnels: dict[str, tuple[Tunnel, ...]], facts: HostFacts) -> Iterable[Answer]:
    for name, found in tunnels.items():
        yield from judge_tunnels(name, facts, found)


async def _filters(local: dict[str, EdgeDevice]) -> Iterable[Answer]:
    ours = {Owner(kind.spec.linux.installation, kind.spec.linux.protocol).table for kind in local.values()}
    return judge_filters(await ruleset(), next(iter(sorted(ours))))


async def _cluster(look: Oneshot, name: str, kind: KubeCluster) -> Iterable[Answer]:
    subject = f"cluster {name}"
    missed = look.unread.get(("KubeCluster", name))
    if missed is not None:
        return [fail(subject, missed, "devices keep what they have meanwhile; see its address, credential and CA")]
    paths = [path for link in look.world.links_of_cluster(name) if (path := path_of(look.world, link)) is not None]
    facts = await ask_cluster(kind, paths)
    ends = {f"{subject}, {what}": end for what, end in facts.ends.items()}
    return [*judge_cluster(name, facts), *judge_certificates(ends, time.time())]


async def _device(look: Oneshot, name: str, kind: EdgeDevice, found: Examination) -> Iterable[Answer]:
    if name not in look.planners:
        why = look.unread.get(("EdgeDevice", name), "was not looked at")
        return [fail(f"device {name}", why, "it keeps what it has; see that it can be reached, and by whom")]
    driver = look.drivers[name]
    agent = driver.agent_version if isinstance(driver, RemoteGateway) else ""
    return [
        *judge_device(name, found.plans[name], look.planners[name], kind.spec.policy),
        *judge_agent(name, agent, __version__),
    ]


async def _vips(look: Oneshot, name: str, kind: EdgeDevice) -> Iterable[Answer]:
    vips = vips_by_link(look.planners[name].observed)
    owner = Owner(kind.spec.linux.installation, kind.spec.linux.protocol)
    others = await ask_segments(owner, vips) if vips else {}
    return judge_vips(name, sum(map(len, vips.values())), others)


async def _link(look: Oneshot, name: str) -> Iterable[Answer]:
    link = look.world.links[name]
    joined = {
        node
        for device in link.spec.devices
        if device in look.planners
        for node in look.planners[device].joined_nodes(name)
    }
    proof = await look.probe([(link.spec.cluster, node) for node in sorted(joined)[:_ASKED]])
    return judge_link(look.world, link, look.planners, proof)


async def _state(where: Sources) -> Iterable[Answer]:
    return judge_state(await asyncio.to_thread(_state_facts, where))


def _state_facts(where: Sources) -> StateFacts:
    path = where.state
    assert path is not None, "asked only where there is one"
    if not StateDirectory.has_begun(path):
        return StateFacts(str(path), begun=False)
    damage, running = "", False
    try:
        with StateDirectory.read(path) as reader:
            damage = reader.damage()
            said = reader.read_status().get(("Controller", "controller"))
            running = bool(said and said.value.get("running"))
    except IsthmusError as error:
        damage = str(error)
    return StateFacts(
        str(path), True, path.stat().st_mode & 0o777, shutil.disk_usage(path).free, damage, _holder(path), running
    )


def _holder(path: Path) -> int | None:
    """Return the process that has the lock, by what the file says; taking the lock to see would keep others out."""
    try:
        text = (path / LOCK).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() and _lives(int(text)) else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


async def _certificates(where: Sources) -> Iterable[Answer]:
    if where.state is None:
        return ()
    ends = await asyncio.to_thread(_ends, where.state / "gateways")
    return judge_certificates(ends, time.time())


def _ends(folder: Path) -> dict[str, float]:
    """Return when the certificates of remote gateways end; keys lie beside them and are not opened."""
    found: dict[str, float] = {}
    for path in sorted(folder.glob("*/*")):
        if path.suffix not in (".crt", ".pem", ".cert"):
            continue
        try:
            for certificate in x509.load_pem_x509_certificates(path.read_bytes()):
                what = f"device {path.parent.name}, {path.name}"
                found[what] = min(found.get(what, 1e12), certificate.not_valid_after_utc.timestamp())
        except (OSError, ValueError):
            continue
    return found
