"""Why a node, a pod CIDR, a pod or a VIP is as it is: hop by hop, from the facts over the wish to the device.

An explanation is a list of hops, each with a verdict: it holds, it does not, or it is only told. What is wanted stands
beside what was observed, so that the first hop that does not hold is where to look.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network

import msgspec

from isthmus.core import attachment
from isthmus.core.allocate import Allocator
from isthmus.core.choose import changed
from isthmus.core.ground import DEVICE_LABEL
from isthmus.core.planner import DevicePlanner
from isthmus.core.reach import Answer, Question
from isthmus.core.services import not_ours
from isthmus.core.standing import standing
from isthmus.core.view import ClusterView
from isthmus.core.world import Holder, World, path_of
from isthmus.model.facts import NodeFacts
from isthmus.model.kinds import ClusterLink, vip_name
from isthmus.model.plan import Scope
from isthmus.model.resources import IPAddress

_NAMED = re.compile(r"\b(?:node|Service) (\S+)")


class Hop(msgspec.Struct, frozen=True):
    """One step: which stage it is, what is said, and whether it holds (none: it is only told)."""

    stage: str
    text: str
    ok: bool | None = None


class Explanation(msgspec.Struct, frozen=True):
    """Everything about one subject; ``nodes`` (cluster and name) are those on whose answers it depends."""

    subject: str
    hops: tuple[Hop, ...]
    nodes: tuple[tuple[str, str], ...] = ()

    @property
    def holds(self) -> bool:
        """Say whether nothing on the way is broken."""
        return bool(self.hops) and all(hop.ok is not False for hop in self.hops)


def explain(what: str, world: World, planners: Mapping[str, DevicePlanner]) -> Explanation | None:
    """Return the explanation of ``what`` (node name, pod CIDR, pod address, VIP, ``namespace/service``), or none."""
    hops = list(_node(what, world, planners)) or list(_service(what, world, planners))
    if not hops:
        hops = list(_address(what, world, planners))
    return Explanation(what, tuple(hops), _nodes(what, world)) if hops else None


def concerns(note: str, found: Explanation | None) -> bool:
    """Say whether a remark about everything is about what was asked, too: not if it names other nodes or Services only."""
    if found is None:
        return True
    names = {found.subject, *(name for _, name in found.nodes)}
    about = [match for match in _NAMED.findall(note) if match]
    return not about or any(one.rstrip(":,;") in names for one in about)


def answered(cluster: str, answers: Mapping[Question, Answer], device: str) -> Iterator[Hop]:
    """Return a hop for every question that ``device`` asked about nodes of ``cluster``: the proof, after all the wishes."""
    dead = {question.address for question, answer in answers.items() if not question.long and not answer.reached}
    for question, answer in sorted(
        answers.items(), key=lambda item: (item[0].node, item[0].role, str(item[0].address), item[0].size)
    ):
        what = f"node {question.node} of {cluster}" if question.role == "node" else f"a pod on {question.node}"
        if question.long:
            if question.address not in dead:
                yield _long(question, answer, f"{device} ({question.source})", what)
            continue
        if answer.reached:
            text = f"{device} ({question.source}) reaches {what}, {question.address}, in {answer.milliseconds:.1f} ms"
        else:
            why = f": {answer.why}" if answer.why else ""
            text = f"{device} ({question.source}) does not reach {what}, {question.address}{why}"
        yield Hop("probe", text, answer.reached)


def _long(question: Question, answer: Answer, device: str, what: str) -> Hop:
    if answer.whole:
        return Hop("probe", f"packets of {question.size} bytes pass both ways", True)
    if answer.fragment:
        text = (
            f"an answer of {question.size} bytes comes back in pieces of {answer.fragment}: the way back carries less"
        )
        return Hop("probe", f"{device}, {what}: {text}", False)
    text = f"short packets pass, packets of {question.size} bytes do not"
    return Hop("probe", f"{device}, {what}, {question.address}: {text}: {answer.why}", False)


def _nodes(what: str, world: World) -> tuple[tuple[str, str], ...]:
    """Return the nodes that ``what`` (already known to mean something) lives on."""
    found: set[tuple[str, str]] = set()
    holders: set[Holder] = set()
    try:
        network = ip_network(what, strict=False)
    except ValueError:
        network = None
    vip = world.vips.get(vip_name(ip_address(what))) if network is not None and "/" not in what else None
    if vip is not None and vip.holder is not None:
        holders.add(vip.holder)
    for cluster, view in world.clusters.items():
        namespace, _, name = what.partition("/")
        if (namespace, name) in view.services:
            holders.add((cluster, namespace, name))
        for node in view.nodes.values():
            inside = network is not None and any(
                prefix.version == network.version and prefix.overlaps(network) for prefix in node.pod_cidrs
            )
            if (node.name == what or inside) and DEVICE_LABEL not in node.labels:
                found.add((cluster, node.name))
    for cluster, namespace, name in holders:
        for facts in world.view(cluster).slices.get((namespace, name), {}).values():
            found |= {(cluster, endpoint.node) for endpoint in facts.endpoints if endpoint.node is not None}
    return tuple(sorted(found))


# --- nodes ------------------------------------------------------------------------------------------------------


def _node(name: str, world: World, planners: Mapping[str, DevicePlanner]) -> Iterator[Hop]:
    for cluster, view in sorted(world.clusters.items()):
        node = view.nodes.get(name)
        if node is not None:
            yield from _node_facts(view, node)
            for link in world.links_of_cluster(cluster):
                yield from _node_on_link(world, link, node, planners)


def _cni(view: ClusterView) -> Iterator[Hop]:
    found = view.cni
    if found is None:
        yield Hop("cluster", f"CNI of {view.name}: not looked at yet")
        return
    yield Hop("cluster", f"CNI of {view.name}: {found.why}")
    if (waits := view.homes.waits()) is not None:
        yield Hop("cluster", waits, False)


def _node_facts(view: ClusterView, node: NodeFacts) -> Iterator[Hop]:
    addresses = ", ".join(str(address) for address in node.addresses) or "none"
    yield Hop("cluster", f"node {node.name} of {view.name}: InternalIP {addresses}", bool(node.addresses))
    if DEVICE_LABEL not in node.labels:
        yield from _cni(view)
    if node.endpoints:
        yield Hop("cluster", f"its CNI reaches it at {', '.join(map(str, node.endpoints))}")
    cidrs = ", ".join(str(prefix) for prefix in node.pod_cidrs) or "none"
    whence = f" ({node.whence})" if node.whence else ""
    yield Hop("cluster", f"pod CIDR {cidrs}{whence}", bool(node.pod_cidrs))
    for oddity in view.homes.odd.get(node.name, ()):
        yield Hop("cluster", oddity)
    yield Hop("cluster", "Ready" if node.not_ready_since is None else "NotReady", node.not_ready_since is None)
    for problem in node.problems:
        yield Hop("cluster", problem, False)


def _node_on_link(
    world: World, link: ClusterLink, node: NodeFacts, planners: Mapping[str, DevicePlanner]
) -> Iterator[Hop]:
    if DEVICE_LABEL in node.labels:
        yield Hop("link", f"{link.name}: this Node stands for device {node.labels[DEVICE_LABEL]}")
        return
    if not link.spec.node_selector.matches(node.labels):
        yield Hop("link", f"{link.name}: its nodeSelector leaves this node out")
        return
    yield from _path(world, link)
    text = node.annotations.get(attachment.annotation(link.name))
    if path_of(world, link) == "overlay" and text is not None:
        try:
            attached = attachment.parse(text)
            places = ", ".join(str(address) for address in attached.addresses)
            yield Hop("link", f"attached to the overlay as {places}, MAC {attached.mac}", True)
        except ValueError as error:
            yield Hop("link", f"its overlay annotation does not parse: {error}", False)
    for device in link.spec.devices:
        if device in planners:
            yield from _on_device(planners[device], Scope("node", link.name, node.name))
        else:
            yield Hop("device", f"{device}: could not be read", False)


def _path(world: World, link: ClusterLink) -> Iterator[Hop]:
    name, choice = path_of(world, link), world.choices.get(link.name)
    if name is None:
        yield Hop("link", f"{link.name}: no path is chosen yet", False)
    elif link.spec.path != "auto" or choice is None:
        yield Hop("link", f"{link.name}: path {name}, as written", True)
    else:
        yield Hop("link", f"{link.name}: path {name}: {choice.why}", True)
        if (moved := changed(world, link.name, link.spec.cluster)) is not None:
            yield Hop("link", f"{link.name}: {moved}")
        for rejected, why in choice.rejected:
            yield Hop("link", f"{link.name}: not {rejected}: {why}")


def _on_device(planner: DevicePlanner, scope: Scope) -> Iterator[Hop]:
    device = planner.device
    for refusal in planner.refusals.get(scope, ()):
        yield Hop(
            "desire", f"{device}: {refusal.message}" + (f" ({refusal.remedy})" if refusal.remedy else ""), False
        )
    wanted = planner.wishes.of(scope)
    if not wanted and scope not in planner.refusals:
        yield Hop("desire", f"{device}: nothing is wanted for it", False)
    for identity, resource in sorted(wanted.items(), key=lambda item: (item[1].rank, item[0])):
        yield Hop("desire", f"{device} should have {resource.describe()}")
        for conflict in planner.conflicts.get(identity, ()):
            if scope in conflict.scopes:
                yield Hop("device", f"{device}: {identity} is taken by {conflict.holder}", False)
        yield _observed(planner, identity)
        for told in planner.device_refusals.get(identity, ()):
            yield Hop("device", f"{device}: {told.message}", False)


def _observed(planner: DevicePlanner, identity: str) -> Hop:
    wanted, standing = planner.spelled(identity), planner.observed.get(identity)
    if standing is None:
        foreign = planner.foreign.get(identity)
        text = f"somebody else's there: {foreign}" if foreign else f"no {identity}"
        return Hop("device", f"{planner.device} has {text}", False)
    if wanted is not None and standing != wanted:
        return Hop("device", f"{planner.device} has {standing.describe()}", False)
    return Hop("device", f"{planner.device} has it", True)


# --- addresses --------------------------------------------------------------------------------------------------


def _address(what: str, world: World, planners: Mapping[str, DevicePlanner]) -> Iterator[Hop]:
    try:
        network = ip_network(what, strict=False)
    except ValueError:
        return
    if "/" not in what:
        address = ip_address(what)
        vip = world.vips.get(vip_name(address))
        if vip is not None:
            yield from _vip(address, world, planners)
            return
        pools = sorted(pool.name for pool in world.pools.values() if pool.spec.contains(address))
        if pools:
            yield Hop("claim", f"{address} is in pool {', '.join(pools)}; nobody holds it")
            return
    for cluster, view in sorted(world.clusters.items()):
        for name, node in sorted(view.nodes.items()):
            if any(prefix.version == network.version and prefix.overlaps(network) for prefix in node.pod_cidrs):
                yield Hop("cluster", f"{what} belongs to node {name} of {cluster}")
                yield from _node(name, world, planners)


def _vip(address: IPAddress, world: World, planners: Mapping[str, DevicePlanner]) -> Iterator[Hop]:
    vip = world.vips[vip_name(address)]
    if vip.holder is None:
        yield Hop("claim", f"{address} is reserved" + (f": {vip.description}" if vip.description else ""))
        return
    yield Hop("claim", f"{address} from pool {vip.pool or '(none)'} is held by {vip.whose}", True)
    yield from _holder(vip.holder, world, planners)


def _service(what: str, world: World, planners: Mapping[str, DevicePlanner]) -> Iterator[Hop]:
    namespace, slash, name = what.partition("/")
    if not slash:
        return
    for cluster, view in sorted(world.clusters.items()):
        service, kind = view.services.get((namespace, name)), world.cluster_kinds.get(cluster)
        if service is None:
            continue
        holder = (cluster, namespace, name)
        held = world.addresses_of(holder)
        why = not_ours(service, kind) if kind is not None else None
        if why is not None and not held:
            yield Hop("cluster", f"Service {namespace}/{name} of {cluster} is not ours: {why}", False)
            continue
        yield Hop("claim", f"holds {', '.join(str(a) for a in held) or 'no address'}", bool(held))
        allocator = Allocator(world)
        doubt = allocator.doubt(cluster)
        if doubt is not None:
            yield Hop("claim", f"no address is given or taken away now: {doubt}")
        else:
            for refused in allocator.decide(holder).refused:
                yield Hop("claim", refused.message, False)
        yield from _holder(holder, world, planners)


def _holder(holder: Holder, world: World, planners: Mapping[str, DevicePlanner]) -> Iterator[Hop]:
    cluster, namespace, name = holder
    view = world.view(cluster)
    service = view.services.get((namespace, name))
    if service is None:
        yield Hop(
            "cluster", f"Service {namespace}/{name} is not in {cluster}" + _because(view.doubt("services")), False
        )
        return
    ports = ", ".join(f"{port.port}/{port.protocol}" for port in service.ports) or "no ports"
    yield Hop(
        "cluster", f"Service {namespace}/{name} of {cluster}: type {service.type}, {ports}", bool(service.ports)
    )
    endpoints = [e for s in view.slices.get(service.key, {}).values() for e in s.endpoints]
    ready = sum(1 for endpoint in endpoints if endpoint.ready and not endpoint.terminating)
    yield Hop("cluster", f"{ready} of {len(endpoints)} endpoints are ready", ready > 0)
    places = {
        (endpoint.node, facts.version)
        for facts in view.slices.get(service.key, {}).values()
        for endpoint in facts.endpoints
        if endpoint.node is not None
    }
    links = world.links_of_cluster(cluster)
    if not links:
        yield Hop("link", f"no ClusterLink joins {cluster}", False)
    for link in links:
        yield from _path(world, link)
        for device in link.spec.devices:
            if device in planners:
                yield from _on_device(planners[device], Scope("service", link.name, f"{namespace}/{name}"))
        for address in world.addresses_of(holder) if link is links[0] else ():
            yield from _standing(world, cluster, address)
        planned = [planners[device] for device in link.spec.devices if device in planners]
        for node, version in sorted(places):
            if not any(version in planner.joined.versions(link.name, node) for planner in planned):
                text = f"{link.name}: pods on node {node} are left out: no way to it over IPv{version} stands"
                yield Hop("link", f"{text} (see `isthmus explain {node}`)", False)


def _standing(world: World, cluster: str, address: IPAddress) -> Iterator[Hop]:
    """Say which of several devices answers for a VIP on their segment, and why that one."""
    found = standing(world, cluster, address, 0.0)
    if found is None:
        return
    to_answer = f"{address}: {found.holder} is to answer for it ({found.why})"
    if found.holder is None:
        yield Hop("link", f"{address}: no device is to answer for it now: {found.why}", False)
    elif found.waits:
        yield Hop("link", f"{to_answer}, and waits: {found.waits}", False)
    else:
        others = [name for name in found.sharing if name != found.holder]
        for name in others:
            sight = world.sights.get(name)
            if sight is not None and sight.silent_since is None:
                to_answer += f"; {name} stands by"
        yield Hop("link", to_answer, found.holder in found.has)


def _because(doubt: str | None) -> str:
    return f" ({doubt})" if doubt else ""
