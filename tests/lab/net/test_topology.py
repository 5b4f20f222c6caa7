"""The description of a lab: addresses are computed, unique, and inside the ranges they belong to."""

from __future__ import annotations

import pytest

from isthmus.errors import InputError
from isthmus.lab.net import batches
from isthmus.lab.net.topology import MAX_NODES, Topology, family_of


@pytest.mark.parametrize(("nodes", "blocks"), [(3, 1), (200, 2), (201, 1), (MAX_NODES, 2)])
def test_every_address_and_mac_is_unique_and_in_its_range(nodes: int, blocks: int) -> None:
    """No two interfaces share an address or a MAC, and each lies in the network of its segment."""
    topology = Topology(nodes=nodes, pods_per_node=2, gateways=2, pod_cidrs_per_node=blocks)
    legs = [
        *((plan.leg, topology.underlay) for plan in topology.node_plans),
        *((gateway.under, topology.underlay) for gateway in topology.gateway_plans),
        *((gateway.front, topology.front) for gateway in topology.gateway_plans),
        (topology.control, topology.underlay),
        (topology.router_front, topology.front),
        (topology.client_near, topology.front),
        (topology.router_far, topology.far),
        (topology.client_far, topology.far),
    ]
    for leg, networks in legs:
        assert [address.network for address in leg.addresses] == list(networks)
        assert len(leg.name) <= 15
        assert len(leg.port) <= 15
    pods = [pod for plan in topology.node_plans for pod in plan.pods]
    addresses = [one.ip for leg, _ in legs for one in leg.addresses] + [
        one.ip for pod in pods for one in pod.addresses
    ]
    addresses += [one.ip for plan in topology.node_plans for one in plan.bridge_addresses]
    assert len(addresses) == len(set(addresses))
    macs = (
        [leg.mac for leg, _ in legs] + [pod.mac for pod in pods] + [plan.bridge_mac for plan in topology.node_plans]
    )
    assert len(macs) == len(set(macs))


def test_pod_cidrs_lie_in_the_ranges_and_do_not_overlap() -> None:
    """Each node has as many CIDRs per family as asked for, all different, inside the cluster's ranges."""
    topology = Topology(nodes=MAX_NODES, pod_cidrs_per_node=2)
    cidrs = [cidr for plan in topology.node_plans for cidr in plan.pod_cidrs]
    assert len(set(cidrs)) == len(cidrs) == MAX_NODES * 4
    for cidr in cidrs:
        assert any(family_of(cidr) == family_of(one) and cidr.subnet_of(one) for one in topology.pod_ranges)  # type: ignore[arg-type]
    assert str(Topology().node(7).pod_cidr("ipv4")) == "10.244.7.0/24"
    assert str(Topology().node(26).pod_cidr("ipv6")) == "fd00:10:244:1a::/64"


def test_vips_come_from_two_ranges_that_hold_nobody() -> None:
    """On-segment VIPs lie on the front segment, routed ones elsewhere, and no host has either."""
    topology = Topology(gateways=8)
    assert str(topology.vip(1)) == "203.0.113.129"
    assert str(topology.vip(1, "ipv6", routed=True)) == "2001:db8:beef::1"
    hosts = [address.ip for gateway in topology.gateway_plans for address in gateway.front.addresses]
    hosts += [address.ip for address in topology.client_near.addresses + topology.router_front.addresses]
    for network, front in zip(topology.segment_vips, topology.front, strict=True):
        assert network.subnet_of(front)  # type: ignore[arg-type]
        assert not any(host in network for host in hosts)


def test_one_family_is_one_family() -> None:
    """Nothing of an IPv6-only lab has an IPv4 address."""
    topology = Topology(families=("ipv6",))
    node = topology.node(1)
    found = [*node.leg.addresses, *node.pods[0].addresses, *topology.control.addresses]
    assert {address.version for address in found} == {6}
    with pytest.raises(KeyError):
        topology.vip(1)


def test_flannel_leaves_fifty_bytes_to_the_tunnel() -> None:
    """The pods' MTU is flannel's own figure, the underlay's without a CNI."""
    assert Topology(underlay_mtu=9000).pod_mtu == 8950
    assert Topology(cni="none").pod_mtu == 1500


@pytest.mark.parametrize(
    ("numbers", "place"),
    [({"nodes": 401}, "nodes"), ({"families": ()}, "families"), ({"pod_cidrs_per_node": 3}, "pod_cidrs_per_node")],
)
def test_impossible_numbers_are_refused_by_name(numbers: dict[str, object], place: str) -> None:
    """A number the lab has no room for is an InputError that names it."""
    with pytest.raises(InputError) as refused:
        Topology(**numbers)  # type: ignore[arg-type]
    assert refused.value.place == place


def test_a_small_lab_has_no_room_for_node_201() -> None:
    """The /24 underlay ends at node 200; a lab planned larger starts with a /16."""
    with pytest.raises(InputError):
        Topology().node(201)
    assert str(Topology(nodes=201).node(201).leg.address("ipv4")) == "100.64.0.201"


def test_neighbours_leave_out_oneself() -> None:
    """A node's permanent neighbours are all the others, in every family."""
    topology = Topology(nodes=3)
    lines = batches.neighbours(topology.node_plans[0], topology.node_plans)
    assert lines[0] == "neigh replace 192.0.2.2 lladdr 02:00:00:10:00:02 dev eth0 nud permanent"
    assert len(lines) == 4
