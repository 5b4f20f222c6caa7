"""The `ip` batch lines that turn a topology into links, addresses and routes. Pure: text out, nothing done.

Links are made first, by one batch in the root namespace that puts both ends where they belong; then each namespace gets
one batch of its own. IPv6 addresses are `nodad`: a lab has no duplicates, and a tentative address would be unusable for
a second. The confusing thing is the order that `build` keeps between these: namespaces, kernel settings, links (a link
takes its settings from the namespace's defaults when it is made), then everything else.
"""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.lab.net.topology import (
    FABRIC,
    GatewayPlan,
    Interface,
    Leg,
    NodePlan,
    PodPlan,
    Topology,
    first,
)

UNDER = "br-under"
FRONT = "br-front"
# Kernel neighbour tables are one for the whole host; above this many nodes a mesh has to bring its own (network facts).
PERMANENT_NEIGHBOURS_ABOVE = 30


def namespaces_of_node(node: NodePlan) -> list[str]:
    """Return the namespaces a node brings along: its own and those of its pods."""
    return [node.name, *(pod.name for pod in node.pods)]


def sysctls(topology: Topology, *, forward: bool) -> list[tuple[str, str]]:
    """Return the kernel settings of one namespace; they must be written before its links are made."""
    values = [("ipv4/icmp_ratelimit", "0"), ("ipv6/icmp/ratelimit", "0")]
    for scope in ("all", "default"):
        values += [
            (f"ipv4/conf/{scope}/rp_filter", "0"),
            (f"ipv6/conf/{scope}/accept_dad", "0"),
            (f"ipv6/conf/{scope}/accept_ra", "0"),
            (f"ipv6/conf/{scope}/router_solicitations", "0"),
            (f"ipv6/conf/{scope}/keep_addr_on_down", "1"),
        ]
        if "ipv6" not in topology.families:
            values.append((f"ipv6/conf/{scope}/disable_ipv6", "1"))
    if forward:
        values += [("ipv4/ip_forward", "1")]
        if "ipv6" in topology.families:
            values += [("ipv6/conf/all/forwarding", "1"), ("ipv6/conf/default/forwarding", "1")]
    return values


def cable(leg: Leg, mtu: int, *, other: Leg | None = None) -> str:
    """Return the line that makes ``leg`` and what it ends in: its port in the fabric, or ``other`` without a bridge."""
    where = f"netns {leg.namespace} " if leg.namespace else ""
    peer = f"{other.name} address {other.mac} netns {other.namespace}" if other else f"{leg.port} netns {FABRIC}"
    return f"link add {leg.name} {where}address {leg.mac} mtu {mtu} type veth peer name {peer} mtu {mtu}"


def pod_cable(pod: PodPlan, mtu: int) -> str:
    """Return the line that joins a pod to its node."""
    return (
        f"link add eth0 netns {pod.name} address {pod.mac} mtu {mtu} "
        f"type veth peer name {pod.host_link} mtu {mtu} netns {pod.node}"
    )


def port(leg: Leg, bridge: str) -> str:
    """Return the fabric's line that plugs ``leg`` into ``bridge``."""
    return f"link set {leg.port} master {bridge} up"


def bridges(topology: Topology) -> list[str]:
    """Return the fabric's lines that make both bridges; no spanning tree, no snooping, no querier."""
    lines = ["link set lo up"]
    for name in (UNDER, FRONT):
        lines += [f"link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"]
    return [*lines, f"link set {UNDER} mtu {topology.underlay_mtu} up", f"link set {FRONT} up"]


def leg_up(leg: Leg) -> list[str]:
    """Return the lines that give ``leg`` its addresses and bring it up."""
    return [*_addresses(leg.name, leg.addresses), f"link set {leg.name} up"]


def node(plan: NodePlan, topology: Topology) -> list[str]:
    """Return the lines of one node: underlay leg, cni0 with its pods' ports, and the default route if it has one."""
    lines = ["link set lo up", *leg_up(plan.leg)]
    lines += [f"link add cni0 address {plan.bridge_mac} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"]
    lines += [f"link set cni0 mtu {topology.pod_mtu}", *_addresses("cni0", plan.bridge_addresses), "link set cni0 up"]
    lines += [f"link set {pod.host_link} master cni0 up" for pod in plan.pods]
    if topology.node_gateway and topology.gateway_plans:
        lines += _default(topology.gateway_plans[0].under, topology)
    return lines


def neighbours(plan: NodePlan, others: Iterable[NodePlan]) -> list[str]:
    """Return the lines that spare ``plan`` from asking for its fellow nodes' MACs."""
    return [
        f"neigh replace {address.ip} lladdr {other.leg.mac} dev {plan.leg.name} nud permanent"
        for other in others
        if other.index != plan.index
        for address in other.leg.addresses
    ]


def pod(plan: PodPlan, owner: NodePlan, topology: Topology) -> list[str]:
    """Return the lines of one pod: its addresses, and its node as the way out."""
    lines = ["link set lo up", *_addresses("eth0", plan.addresses), "link set eth0 up"]
    ways = [first(owner.bridge_addresses, family).ip for family in topology.families]
    return lines + [f"route add default via {way} dev eth0" for way in ways]


def gateway(plan: GatewayPlan, topology: Topology) -> list[str]:
    """Return the lines of one gateway: both legs, and the router as the way out. Ways to the pods are not our business.

    An appliance gets its cables and configures the rest itself.
    """
    if topology.device == "netscaler":
        return ["link set lo up", f"link set {plan.front.name} up", f"link set {plan.under.name} up"]
    return ["link set lo up", *leg_up(plan.front), *leg_up(plan.under), *_default(topology.router_front, topology)]


def router(topology: Topology) -> list[str]:
    """Return the router's lines; it sends the routed VIPs to gw1."""
    lines = ["link set lo up", *leg_up(topology.router_front), *leg_up(topology.router_far)]
    if topology.gateway_plans:
        target = topology.gateway_plans[0].front
        for family, network in zip(topology.families, topology.routed_vips, strict=True):
            lines.append(f"route add {network} via {target.address(family)} dev {topology.router_front.name}")
    return lines


def client(leg: Leg, way_out: Leg, topology: Topology) -> list[str]:
    """Return the lines of a client behind ``way_out``."""
    return ["link set lo up", *leg_up(leg), *_default(way_out, topology)]


def _default(via: Leg, topology: Topology) -> list[str]:
    return [f"route add default via {via.address(family)}" for family in topology.families]


def _addresses(link: str, addresses: Iterable[Interface]) -> list[str]:
    return [f"addr add {address} dev {link}{' nodad' if address.version == 6 else ''}" for address in addresses]
