"""Contradictions between what a cluster says and what a device already is, found before they cost a packet.

A pod CIDR that holds the device's own subnet would cut the device off from its neighbors, so that node is refused and
named; the rest of the cluster goes on.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from isthmus.core.ground import Desired, Ground
from isthmus.model.facts import Interface, NodeFacts, ServiceFacts
from isthmus.model.resources import IPInterface, IPNetwork, overlap


def without_own_subnets(ground: Ground, node: NodeFacts, desired: Desired) -> NodeFacts:
    """Return ``node`` without the pod CIDRs that overlap a subnet of the device itself; each is refused by name."""
    good = []
    for prefix in node.pod_cidrs:
        clash = _clash(ground, prefix)
        if clash is None:
            good.append(prefix)
            continue
        own, interface = clash
        desired.refuse(
            "OverlapsDeviceSubnet",
            f"node {node.name}: pod CIDR {prefix} overlaps {own.network}, {ground.device_name}'s own subnet on "
            f"{interface.name}",
            "give the device or the pods another range; a route would cut the device off from its neighbors",
        )
    if len(good) == len(node.pod_cidrs):
        return node
    return msgspec.structs.replace(node, pod_cidrs=tuple(good))


def within_pod_networks(ground: Ground, node: NodeFacts, desired: Desired) -> NodeFacts:
    """Return ``node`` without the pod CIDRs that lie outside the link's ``podNetworks``; each is refused by name.

    A node can write annotations on itself, so without such a list it may claim any network as its own.
    """
    allowed = ground.link.spec.pod_networks
    if not allowed:
        return node
    good = []
    for prefix in node.pod_cidrs:
        if any(overlap(prefix, a) and prefix.prefixlen >= a.prefixlen for a in allowed):
            good.append(prefix)
            continue
        desired.refuse(
            "OutsidePodNetworks",
            f"node {node.name}: pod CIDR {prefix} is outside spec.podNetworks of ClusterLink {ground.link_name}",
            "see who wrote it on the Node; if it is right, add its network to spec.podNetworks",
        )
    return msgspec.structs.replace(node, pod_cidrs=tuple(good))


def contradictions(ground: Ground, desired: Desired) -> None:
    """Say what of the link contradicts the device's own subnets.

    It is told and no more: a link that stands is not torn down because a subnet appeared beside it.
    """
    if ground.link.spec.overlay is not None:
        for network in ground.link.spec.overlay.networks:
            clash = _clash(ground, network)
            if clash is not None:
                desired.refuse(
                    "OverlapsDeviceSubnet",
                    f"overlay network {network} overlaps {clash[0].network}, {ground.device_name}'s own subnet on "
                    f"{clash[1].name}",
                    "choose a network in spec.overlay.networks that nobody else uses",
                )
    cluster = ground.world.cluster_kinds.get(ground.cluster.name)
    for network in cluster.spec.service_cidrs if cluster is not None else ():
        clash = _clash(ground, network)
        if clash is not None:
            desired.refuse(
                "OverlapsServiceCIDR",
                f"Service CIDR {network} of cluster {ground.cluster.name} overlaps {clash[0].network}, "
                f"{ground.device_name}'s own subnet on {clash[1].name}",
                "nodes take packets to such addresses for Services; renumber one of the two",
            )


def policy_routes(ground: Ground, desired: Desired) -> None:
    """Refuse policy routes on a device that has none: without them the link's pods would be taken for another's."""
    if ground.by_source and not ground.traits.policy_routes:
        desired.refuse(
            "NoPolicyRoutes",
            f"ClusterLink {ground.link_name} asks for policy routes, and {ground.device_name} has none"
            if not ground.ipip
            else f"IP-in-IP tunnels are routed into by policy routes, and {ground.device_name} has none",
            "take spec.policyRoutes out if no two clusters there have the same pod CIDRs; else use a device that has "
            "policy routes (a NetScaler)"
            if not ground.ipip
            else "use encapsulation vxlan, or a device that has policy routes (a NetScaler)",
        )


def overlay_holds_pods(ground: Ground, networks: Iterable[IPNetwork], node: NodeFacts, desired: Desired) -> None:
    """Say, by name, which pod CIDR of ``node`` overlaps an overlay network; told and no more, as above."""
    for prefix in node.pod_cidrs:
        for network in networks:
            if overlap(prefix, network):
                desired.refuse(
                    "OverlapsOverlay",
                    f"node {node.name}: pod CIDR {prefix} overlaps overlay network {network} of ClusterLink "
                    f"{ground.link_name}",
                    "choose a network in spec.overlay.networks that nobody else uses",
                )


def overlay_holds_cluster_ip(
    ground: Ground, networks: Iterable[IPNetwork], service: ServiceFacts, desired: Desired
) -> None:
    """Say, by name, which cluster IP of ``service`` lies in an overlay network: that is the Services' range."""
    for address in service.cluster_ips:
        for network in networks:
            if address in network:
                desired.refuse(
                    "OverlapsOverlay",
                    f"Service {service.namespace}/{service.name}: cluster IP {address} lies in overlay network "
                    f"{network} of ClusterLink {ground.link_name}",
                    "choose a network in spec.overlay.networks outside the Service CIDR",
                )


def cluster_ip_clashes(ground: Ground, service: ServiceFacts, desired: Desired) -> None:
    """Refuse, by name, a cluster IP that lies in the device's own subnet: nodes would not answer the device there."""
    for address in service.cluster_ips:
        interface = ground.facts.on_segment(address)
        if interface is not None:
            desired.refuse(
                "OverlapsServiceCIDR",
                f"Service {service.namespace}/{service.name}: cluster IP {address} lies in {ground.device_name}'s own "
                f"subnet on {interface.name}",
                "nodes take packets to such addresses for Services; renumber the device or the Service CIDR",
            )


def _clash(ground: Ground, network: IPNetwork) -> tuple[IPInterface, Interface] | None:
    return next(
        ((own, interface) for own, interface in ground.subnets if overlap(own.network, network)),
        None,
    )
