"""From the wire to facts: every value parsed once, every bad one a sentence in its own object's ``problems``.

Pure functions. They never raise for what a cluster says: a field that does not parse is left out and named, the object's
good fields stay usable. ``Projection`` says for a kind which wire type to decode and which function makes the facts.

The one confusing thing: absence. A pod CIDR that is not there yet is empty, not a problem; an endpoint condition that is
not there means what the API's reference says (ready and serving: true, terminating: false).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address, ip_network
from sys import intern
from typing import Any, Generic, TypeVar, get_args

from isthmus.kube import wire
from isthmus.kube.kinds import ENDPOINT_SLICES, NAMESPACES, NODES, SERVICES, KindRef
from isthmus.model.facts import Endpoint, NamespaceFacts, NodeFacts, ServiceFacts, ServicePort, SliceFacts
from isthmus.model.resources import IPAddress, IPNetwork, Protocol

__all__ = [
    "ADDRESSES_ANNOTATION",
    "NAMESPACE",
    "NODE",
    "POD_CIDRS_ANNOTATION",
    "POOL_ANNOTATION",
    "SERVED_CONDITION",
    "SERVICE",
    "SLICE",
    "Projection",
    "parse_namespace",
    "parse_node",
    "parse_service",
    "parse_slice",
]

F = TypeVar("F")

ADDRESSES_ANNOTATION = "isthmus.dev/addresses"
POOL_ANNOTATION = "isthmus.dev/pool"
POD_CIDRS_ANNOTATION = "isthmus.dev/pod-cidrs"
"""On a Node: further pod CIDRs of it, comma-separated, that no field of the Node can hold (the API takes one a family)."""

SERVED_CONDITION = "isthmus.dev/Served"
"""The type of our own condition in a Service's status."""
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_NODE_ANNOTATIONS = (
    "flannel.alpha.coreos.com/",
    "isthmus.dev/",
    "projectcalico.org/",
    "network.cilium.io/",
    "io.cilium.network",
    "k3s.io/",
    "k8s.ovn.org/node-primary-ifaddr",
    "k8s.ovn.org/node-subnets",
    "kube-router.io/pod-cidr",
    "rke2.io/node-args",
)
_TOO_LONG = 64 * 1024
_PROTOCOLS: dict[str, Protocol] = {name.upper(): name for name in get_args(Protocol)}
_FAMILIES = {"IPv4": 4, "IPv6": 6}


@dataclass(frozen=True, slots=True)
class Projection(Generic[F]):
    """How objects of one kind become facts: the wire type to decode, and the function from it to facts.

    ``wire`` is a Struct with ``metadata``, or ``dict`` for the object as it is.
    """

    kind: KindRef
    wire: Any
    facts: Callable[[Any], F]


def parse_node(node: wire.Node) -> NodeFacts:
    """Return the facts of a Node."""
    meta, problems = node.metadata, list[str]()
    spec, status = node.spec or wire.NodeSpec(), node.status or wire.NodeStatus()
    addresses = [
        _node_address(entry.address, problems) for entry in status.addresses or () if entry.type == "InternalIP"
    ]
    annotations = meta.annotations or {}
    more = [text.strip() for text in annotations.get(POD_CIDRS_ANNOTATION, "").split(",") if text.strip()]
    texts = spec.pod_cidrs or ([spec.pod_cidr] if spec.pod_cidr else [])
    cidrs = [_pod_cidr(text, problems) for text in texts]
    further: tuple[IPNetwork, ...] = _unique(_pod_cidr(text, problems) for text in more)
    return NodeFacts(
        name=intern(meta.name),
        uid=meta.uid or "",
        created=intern(meta.creation_timestamp or ""),
        addresses=_unique(addresses),
        pod_cidrs=_unique([*cidrs, *further]),
        labels=_shared(meta.labels),
        annotations={
            intern(key): text
            for key, text in annotations.items()
            if key.startswith(_NODE_ANNOTATIONS) and len(text) < _TOO_LONG
        },
        not_ready_since=_not_ready_since(status.conditions or (), problems),
        problems=tuple(problems),
        further=further,
        up=_up(status.conditions or ()),
    )


def parse_service(service: wire.Service) -> ServiceFacts:
    """Return the facts of a Service."""
    meta, problems = service.metadata, list[str]()
    spec, status = service.spec or wire.ServiceSpec(), service.status or wire.ServiceStatus()
    annotations = meta.annotations or {}
    asked = annotations.get(ADDRESSES_ANNOTATION)
    if asked is not None:
        source, texts = f"annotation {ADDRESSES_ANNOTATION}", [text.strip() for text in asked.split(",")]
    else:
        source, texts = "spec.loadBalancerIP", [spec.load_balancer_ip or ""]
    unreadable = list[str]()
    requested: tuple[IPAddress, ...] = _unique(_address(text, source, unreadable) for text in texts if text)
    problems += unreadable
    shown = status.load_balancer.ingress or () if status.load_balancer else ()
    served = next((entry for entry in status.conditions or () if entry.type == SERVED_CONDITION), None)
    return ServiceFacts(
        namespace=intern(meta.namespace or ""),
        name=intern(meta.name),
        uid=meta.uid or "",
        version=meta.resource_version or "",
        created=intern(meta.creation_timestamp or ""),
        type=spec.type or "ClusterIP",
        load_balancer_class=spec.load_balancer_class or None,
        ports=tuple(_service_ports(spec.ports or (), problems)),
        families=_families(spec, problems),
        requested=requested,
        unreadable_request=unreadable[0] if unreadable else None,
        ingress=_unique(_address(entry.ip, "status.loadBalancer", problems) for entry in shown if entry.ip),
        cluster_ips=_unique(_address(text, "spec.clusterIPs", problems) for text in _cluster_ips(spec)),
        pool=annotations.get(POOL_ANNOTATION, "").strip() or None,
        session_affinity=spec.session_affinity == "ClientIP",
        local_traffic_only=spec.external_traffic_policy == "Local",
        publish_not_ready=bool(spec.publish_not_ready_addresses),
        labels=_shared(meta.labels),
        deleting=meta.deletion_timestamp is not None,
        served=(intern(served.status), intern(served.reason), intern(served.message)) if served is not None else None,
        served_since=intern(served.last_transition_time or "") if served is not None else "",
        problems=tuple(problems),
    )


def parse_slice(found: wire.Slice) -> SliceFacts:
    """Return the facts of an EndpointSlice; one of names (FQDN) has a problem and nothing else."""
    meta, problems = found.metadata, list[str]()
    head: dict[str, Any] = {
        "namespace": intern(meta.namespace or ""),
        "name": meta.name,
        "service": intern((meta.labels or {}).get(SERVICE_NAME_LABEL, "")),
    }
    version = _FAMILIES.get(found.address_type)
    if version is None:
        return SliceFacts(**head, problems=(f"addressType {found.address_type!r} is not IPv4 or IPv6: skipped",))
    ports = tuple(
        (intern(port.name or ""), protocol, port.port)
        for port in found.ports or ()
        if port.port is not None and (protocol := _protocol(port, problems)) and _in_range(port, problems)
    )
    endpoints = tuple(
        endpoint for entry in found.endpoints or () if (endpoint := _endpoint(entry, version, problems)) is not None
    )
    return SliceFacts(**head, version=version, ports=ports, endpoints=endpoints, problems=tuple(problems))


def parse_namespace(namespace: wire.Namespace) -> NamespaceFacts:
    """Return the facts of a Namespace."""
    meta = namespace.metadata
    return NamespaceFacts(name=meta.name, uid=meta.uid or "", labels=_shared(meta.labels))


NODE: Projection[NodeFacts] = Projection(NODES, wire.Node, parse_node)
SERVICE: Projection[ServiceFacts] = Projection(SERVICES, wire.Service, parse_service)
SLICE: Projection[SliceFacts] = Projection(ENDPOINT_SLICES, wire.Slice, parse_slice)
NAMESPACE: Projection[NamespaceFacts] = Projection(NAMESPACES, wire.Namespace, parse_namespace)


_NO_LABELS: Mapping[str, str] = {}


def _shared(labels: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return ``labels`` with texts of which there is one in the process: most objects say the same, or each other's name."""
    return {intern(key): intern(value) for key, value in labels.items()} if labels else _NO_LABELS


def _unique(values: Iterable[F | None]) -> tuple[F, ...]:
    return tuple(dict.fromkeys(value for value in values if value is not None))


def _address(text: str, source: str, problems: list[str]) -> IPAddress | None:
    try:
        address = ip_address(text)
    except ValueError:
        problems.append(f"{source}: {text!r} is not an IP address")
        return None
    if address.version == 6 and address.scope_id is not None:
        problems.append(f"{source}: {text!r} has a zone, which means something on one host only")
        return None
    return address


def _node_address(text: str, problems: list[str]) -> IPAddress | None:
    address = _address(text, "InternalIP", problems)
    if address is not None and (address.is_unspecified or address.is_multicast or address.is_loopback):
        problems.append(f"InternalIP: {text} is no address that another host can reach")
        return None
    return address


def _pod_cidr(text: str, problems: list[str]) -> IPNetwork | None:
    try:
        network = ip_network(text)
    except ValueError as error:
        problems.append(f"podCIDR: {text!r} is not a network: {error}")
        return None
    if network.prefixlen == 0 or network.is_loopback or network.is_multicast:
        # A route for it would draw traffic that has nothing to do with pods, the default route's above all.
        problems.append(f"podCIDR: {text} cannot be a network of pods")
        return None
    return network


def _not_ready_since(conditions: Iterable[wire.Condition], problems: list[str]) -> float | None:
    for condition in conditions:
        if condition.type != "Ready" or condition.status == "True":
            continue
        text = condition.last_transition_time
        try:
            return datetime.fromisoformat(text or "").timestamp()
        except ValueError:
            # Taken as ready: without a time there is no telling a blip from a dead node, and keeping harms less.
            problems.append(f"condition Ready is {condition.status} since {text!r}, which is not a time")
    return None


def _up(conditions: Iterable[wire.Condition]) -> str:
    return next(
        (
            intern(one.reason or "")
            for one in conditions
            if one.type == "NetworkUnavailable" and one.status == "False"
        ),
        "",
    )


def _cluster_ips(spec: wire.ServiceSpec) -> list[str]:
    found = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
    return [
        text for text in found if text and text != "None"
    ]  # "None" is how a headless Service says that it has none


def _service_ports(ports: Iterable[wire.Port], problems: list[str]) -> Iterable[ServicePort]:
    for port in ports:
        protocol = _protocol(port, problems)
        if protocol and _in_range(port, problems):
            yield ServicePort(name=intern(port.name or ""), protocol=protocol, port=port.port or 0)


def _protocol(port: wire.Port, problems: list[str]) -> Protocol | None:
    protocol = _PROTOCOLS.get(port.protocol or "TCP")
    if protocol is None:
        problems.append(
            f"port {port.name or port.port}: protocol {port.protocol!r} is not TCP, UDP or SCTP: left out"
        )
    return protocol


def _in_range(port: wire.Port, problems: list[str]) -> bool:
    if port.port is None or not 1 <= port.port <= 65535:
        problems.append(f"port {port.name or port.port}: {port.port} is not a port number: left out")
        return False
    return True


def _families(spec: wire.ServiceSpec, problems: list[str]) -> tuple[int, ...]:
    if not spec.ip_families:
        return (6,) if ":" in (spec.cluster_ip or "") else (4,)
    found = []
    for text in spec.ip_families:
        if text in _FAMILIES:
            found.append(_FAMILIES[text])
        else:
            problems.append(f"ipFamilies: {text!r} is not IPv4 or IPv6: left out")
    return _unique(found)


def _endpoint(entry: wire.SliceEndpoint, version: int, problems: list[str]) -> Endpoint | None:
    if not entry.addresses:
        problems.append("an endpoint has no address: left out")
        return None
    address = _address(entry.addresses[0], "endpoint", problems)
    if address is None:
        return None
    if address.version != version:
        problems.append(f"endpoint: {address} is not IPv{version}, as the slice says: left out")
        return None
    conditions = entry.conditions or wire.EndpointConditions()
    return Endpoint(
        address=address,
        node=intern(entry.node_name) if entry.node_name else None,  # each endpoint would have a copy of its own
        ready=conditions.ready is not False,
        serving=conditions.serving is not False,
        terminating=conditions.terminating is True,
    )
