"""What a Service of type LoadBalancer needs on a device: its VIP answered for, a virtual server per port, its members.

Who is a member is decided here and nowhere else:

=================================  ==============================================================
endpoint                           weight
=================================  ==============================================================
ready                              1
terminating, still serving         0: it drains (1 if nobody at all is ready: better than nothing)
not ready, not serving             none
on a node that is NotReady         as above during the link's grace period, then none
on a node that we cannot reach     none: a member that loses packets is worse than none
=================================  ==============================================================

Sources: discovery/v1 EndpointConditions; KEP-1669 for terminating endpoints as the last resort.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from isthmus.core.ground import Desired, Ground
from isthmus.core.standing import standing
from isthmus.model.facts import Endpoint, ServiceFacts, ServicePort, SliceFacts
from isthmus.model.kinds import KubeCluster
from isthmus.model.resources import (
    AnyResource,
    IPAddress,
    Member,
    Partial,
    SourceProfile,
    VirtualAddress,
    VirtualServer,
)

Joined = Callable[[str, int], bool]
"""Whether the pods of a node (by name) are reachable in an IP version."""


def is_ours(service: ServiceFacts, cluster: KubeCluster) -> bool:
    """Say whether the Service asks for us: type LoadBalancer, our class or none where we are the default."""
    return not_ours(service, cluster) is None


def not_ours(service: ServiceFacts, cluster: KubeCluster) -> str | None:
    """Return why the Service does not ask for us, or none if it does."""
    if service.type != "LoadBalancer":
        return "its type is not LoadBalancer"
    if service.namespace in cluster.spec.exclude_namespaces:
        return "the KubeCluster's excludeNamespaces has its namespace"
    found, ours = service.load_balancer_class, cluster.spec.load_balancer.class_
    if found is None:
        return None if cluster.spec.load_balancer.default else f"it has no loadBalancerClass, and ours is {ours}"
    return None if found == ours else f"its loadBalancerClass is {found}, and ours is {ours}"


def answered(wanted: Mapping[str, AnyResource], observed: Mapping[str, AnyResource]) -> dict[IPAddress, bool]:
    """Return for each address in a Service's wishes on one device whether it answers there, with all that is wanted of it.

    What is there in part answers nobody.
    """
    found: dict[IPAddress, bool] = {}
    here = {one.address for one in wanted.values() if isinstance(one, VirtualAddress)}
    for identity, one in wanted.items():
        if isinstance(one, VirtualAddress | VirtualServer):
            whole = not isinstance(observed.get(identity), Partial | None)
            found[one.address] = found.get(one.address, one.address in here) and whole
    return found


def for_service(
    ground: Ground,
    service: ServiceFacts,
    source: Callable[[int], IPAddress | None],
    joined: Joined,
    now: float,
    desired: Desired,
) -> None:
    """Add what ``service`` needs: per address it holds a VIP, per port a virtual server with its members.

    Where virtual servers name their sender by a profile, that profile, too: Services share it.
    """
    for problem in service.problems:
        desired.refuse("BadService", f"Service {service.namespace}/{service.name}: {problem}")
    holder = (ground.cluster.name, service.namespace, service.name)
    slices = ground.cluster.slices.get(service.key, {})
    for address in ground.world.addresses_of(holder):
        version = address.version
        if service.ports:
            _answer(ground, address, now, desired)
        sender = source(version)
        if sender is not None and service.ports and ground.traits.profiles:
            desired.want(SourceProfile(sender))
        for port in service.ports:
            members = _members(ground, service, port, version, slices, joined, now, desired)
            desired.want(
                VirtualServer(
                    address=address,
                    protocol=port.protocol,
                    port=port.port,
                    members=members,
                    source=sender,
                    algorithm="source-hash" if service.session_affinity else "round-robin",
                )
            )


def _answer(ground: Ground, address: IPAddress, now: float, desired: Desired) -> None:
    """Add the VIP itself, where this device is the one to answer for it."""
    link = _segment(ground, address)
    found = standing(ground.world, ground.cluster.name, address, now) if link != "lo" else None
    if found is None:
        desired.want(VirtualAddress(address, link))
        return
    if found.recheck is not None:
        desired.look_again(found.recheck)
    if found.wants(ground.device_name):
        desired.want(VirtualAddress(address, link, found.lapses))


def _segment(ground: Ground, address: IPAddress) -> str:
    """Return the interface to answer on for ``address``: the one whose subnet holds it, else ``lo`` (it is routed to us)."""
    found = ground.segment_address(address)
    allowed = ground.device.spec.linux.announce
    if found is None or (allowed and found[1].name not in allowed):
        return "lo"
    return found[1].name


def _members(
    ground: Ground,
    service: ServiceFacts,
    port: ServicePort,
    version: int,
    slices: dict[str, SliceFacts],
    joined: Joined,
    now: float,
    desired: Desired,
) -> tuple[Member, ...]:
    ready: dict[tuple[IPAddress, int], None] = {}
    draining: dict[tuple[IPAddress, int], None] = {}
    usable: dict[str, bool] = {}
    for _, facts in sorted(slices.items()):
        if facts.version != version:
            continue
        numbers = [number for name, protocol, number in facts.ports if (name, protocol) == (port.name, port.protocol)]
        for endpoint in facts.endpoints:
            node = endpoint.node
            if node is not None:
                if node not in usable:
                    usable[node] = _usable(ground, node, version, joined, now, desired)
                if not usable[node]:
                    continue
            into = _group(endpoint, service.publish_not_ready, ready, draining)
            if into is not None:
                into.update(((endpoint.address, number), None) for number in numbers)
    if not ready:
        ready, draining = draining, {}
    found = [Member(address, number) for address, number in ready]
    found += [Member(address, number, weight=0) for address, number in draining if (address, number) not in ready]
    # All of one IP version, so this is the members' own order, without comparing address objects.
    found.sort(key=lambda member: (int(member.address), member.port, member.weight))
    return tuple(found)


def _group(
    endpoint: Endpoint,
    publish_not_ready: bool,
    ready: dict[tuple[IPAddress, int], None],
    draining: dict[tuple[IPAddress, int], None],
) -> dict[tuple[IPAddress, int], None] | None:
    if endpoint.terminating:
        return draining if endpoint.serving else None
    return ready if endpoint.ready or publish_not_ready else None


def _usable(ground: Ground, name: str, version: int, joined: Joined, now: float, desired: Desired) -> bool:
    node = ground.cluster.nodes.get(name)
    if node is None or not joined(name, version):
        return False
    if node.not_ready_since is None:
        return True
    end = node.not_ready_since + ground.link.spec.node_grace_period
    if now < end:
        desired.look_again(end)
        return True
    return False
