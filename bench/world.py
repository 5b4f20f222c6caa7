"""A cluster of any size as facts, as a controller that has read it would hold them.

Nodes are numbered from 0; each is at 172.16.x.y, has the pod CIDR 10.x.y.0/24 and a place on the overlay 10.200.0.0/16.
The one confusing thing: the pods of Service ``n`` are spread over the nodes by its number, so that no two Services have
the same members and no two nodes the same load.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, ip_interface, ip_network
from typing import Any

from isthmus.core.world import World
from isthmus.model.facts import Endpoint, NodeFacts, ServiceFacts, ServicePort, SliceFacts
from isthmus.model.kinds import ClusterLink, EdgeDevice, KubeCluster, VirtualIP, parse, vip_name

CLUSTER, LINK, DEVICE = "east", "lab", "gw1"
UNDERLAY = "up0"
GATEWAY = ip_interface("172.31.255.1/12")
OVERLAY = ip_interface("10.200.255.254/16")
NOW = 1_700_000_000.0
_VIPS = int(IPv4Address("198.18.0.0"))


def document(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object as a user writes it."""
    return {"apiVersion": "isthmus.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}


def empty_world(driver: str = "linux", **options: Any) -> World:
    """Return a world with one cluster that has been read and is empty, one device, and an overlay between them.

    ``options`` are of the device's spec.
    """
    world = World()
    world.config_doubt = None
    device = {"driver": driver, "tunnelAddresses": [str(GATEWAY.ip)], "deletes": {"share": 1}, **options}
    link = {"cluster": CLUSTER, "devices": [DEVICE], "path": "overlay", "overlay": {"networks": ["10.200.0.0/16"]}}
    for kind, name, spec in (
        ("KubeCluster", CLUSTER, {"inCluster": True}),
        ("EdgeDevice", DEVICE, device),
        ("ClusterLink", LINK, link),
    ):
        match parse(document(kind, name, spec)).object:
            case KubeCluster() as found:
                world.cluster_kinds[name] = found
            case EdgeDevice() as found:
                world.devices[name] = found
            case ClusterLink() as found:
                world.links[name] = found
    world.device_addresses[LINK, DEVICE] = (OVERLAY,)
    world.view(CLUSTER).pending.clear()
    return world


def put_nodes(world: World, count: int) -> None:
    """Add ``count`` nodes that have their place on the overlay."""
    for number in range(count):
        world.put_node(CLUSTER, f"node{number}", node(number))


def node(number: int) -> NodeFacts:
    """Return one node."""
    return NodeFacts(
        name=f"node{number}",
        uid=f"uid-{number}",
        addresses=(vtep(number),),
        pod_cidrs=(ip_network(pod_cidr(number)),),
        annotations={f"isthmus.dev/overlay.{LINK}": attachment(number)},
    )


def vtep(number: int) -> IPv4Address:
    """Return a node's own address."""
    return IPv4Address(int(IPv4Address("172.16.1.0")) + number)


def hop(number: int) -> IPv4Address:
    """Return a node's address on the overlay."""
    return IPv4Address(int(IPv4Address("10.200.1.0")) + number)


def mac(number: int) -> str:
    """Return the MAC of a node's tunnel."""
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def pod_cidr(number: int) -> str:
    """Return a node's pod CIDR."""
    return f"10.{number >> 8}.{number & 255}.0/24"


def attachment(number: int) -> str:
    """Return the annotation that says where on the overlay a node is."""
    return f'{{"addresses":["{hop(number)}/16"],"mac":"{mac(number)}","vni":7700,"port":7700,"mtu":1450}}'


def put_services(world: World, count: int, members: int, nodes: int) -> None:
    """Add ``count`` Services with an address and ``members`` pods each on the first ``nodes`` nodes."""
    for number in range(count):
        put_service(world, number, members, nodes)


def put_service(world: World, number: int, members: int, nodes: int) -> None:
    """Add one Service; the order in which its parts come does not matter."""
    name = f"s{number}"
    facts = ServiceFacts(
        namespace="shop",
        name=name,
        uid=f"uid-s{number}",
        type="LoadBalancer",
        load_balancer_class="isthmus.dev/load-balancer",
        ports=(ServicePort("http", "tcp", 80),),
    )
    found = [(number * 7 + step) % nodes for step in range(members)]
    pods = tuple(
        Endpoint(IPv4Address(int(IPv4Address("10.0.0.0")) + on * 256 + 10 + (number + step) % 240), f"node{on}")
        for step, on in enumerate(found)
    )
    slices = SliceFacts("shop", f"{name}-1", name, ports=(("http", "tcp", 8080),), endpoints=pods)
    world.put_service(CLUSTER, facts.key, facts)
    world.put_slice(CLUSTER, slices.key, slices)
    address = IPv4Address(_VIPS + number)
    spec = {"address": str(address), "holder": {"cluster": CLUSTER, "namespace": "shop", "service": name}}
    claim = parse(document("VirtualIP", vip_name(address), spec)).object
    assert isinstance(claim, VirtualIP), "a claim parses"
    world.put_vip(claim.name, claim)
